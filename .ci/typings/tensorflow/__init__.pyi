# What pyright brings for TensorFlow rejects `tensor[..., None]` and much else that is right.
from typing import Any

def __getattr__(name: str) -> Any: ...
