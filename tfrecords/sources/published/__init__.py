"""Published data sets, as they are distributed."""
