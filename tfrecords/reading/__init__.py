"""Reads records as batches."""
