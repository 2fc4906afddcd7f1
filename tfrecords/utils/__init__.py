"""Errors, commands, progress, and files that are whole."""
