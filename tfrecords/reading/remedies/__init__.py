"""Remedies against scene bias that change the pixels of a batch in training."""
