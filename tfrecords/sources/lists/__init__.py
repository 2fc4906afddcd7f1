"""Sources whose clips are whole files or spans that a list names, or the folders they lie in."""
