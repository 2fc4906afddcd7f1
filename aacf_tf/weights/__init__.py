"""Reads published weight files into the backbones."""

from aacf_tf.weights.loading import load_stream_weights, load_weights

__all__ = ["load_stream_weights", "load_weights"]
