"""The format of records and of the data set directory."""
