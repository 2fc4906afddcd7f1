"""What is in a data set directory: `python -m tfrecords.show`."""
