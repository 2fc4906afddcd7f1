"""Pixels and maps in, pictures out, in numpy."""
