"""Looks at videos, photographs or a table of them before anything is built."""
