"""Reads other people's files of weights into our backbones."""

from aacf_tf.weights.loading import load_stream_weights, load_weights

__all__ = ["load_stream_weights", "load_weights"]
