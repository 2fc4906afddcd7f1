"""Builds data sets: `python -m tfrecords.build`, or `build_dataset` from Python."""

from tfrecords.build.builder import build_dataset as build_dataset
from tfrecords.build.builder import summary as summary
