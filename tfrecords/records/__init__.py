"""The format: names, one pair, its bytes, its directory."""
