"""Networks, one a file: each builds its Keras model from pixels up to an end point."""
