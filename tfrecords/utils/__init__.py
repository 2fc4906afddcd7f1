"""Errors, commands, progress bars, atomic files and remote paths."""
