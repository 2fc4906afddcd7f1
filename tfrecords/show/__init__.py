"""Shows the content of a data set directory: `python -m tfrecords.show`."""
