"""Convolutions in 3-D, direct and by Winograd, and the modules built of them."""
