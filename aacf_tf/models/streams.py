"""Inputs of a model by modality."""

from __future__ import annotations

# Names of the clips in a batch, and channels of their pixels.
STREAM_INPUTS = {"rgb": ("clip",), "flow": ("clip",), "two_stream": ("clip", "flow")}
CHANNELS = {"rgb": (3,), "flow": (2,), "two_stream": (3, 2)}
