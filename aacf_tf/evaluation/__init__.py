"""Judges a model's outputs: its classes and its maps."""
