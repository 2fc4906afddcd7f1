"""What a model of a modality takes."""

from __future__ import annotations

# Of each modality: the clip's names in a batch, and the channels of their pixels.
STREAM_INPUTS = {"rgb": ("clip",), "flow": ("clip",), "two_stream": ("clip", "flow")}
CHANNELS = {"rgb": (3,), "flow": (2,), "two_stream": (3, 2)}
