"""Draws pictures from pixels and maps, in numpy."""
