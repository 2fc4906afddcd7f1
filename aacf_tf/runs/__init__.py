"""A recipe on a data set in a working directory, and the machine it runs on."""
