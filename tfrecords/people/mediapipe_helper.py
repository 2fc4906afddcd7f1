"""Says where people are in frames that come through a pipe; runs in an environment of its own.

A program of its own, started by `finder` with an interpreter that has MediaPipe: it imports nothing
of this project, and nothing of MediaPipe enters the project's environment.

    it says first       {"mediapipe": "0.10.21"}, a line of JSON
    it is asked         {"shape": [T, H, W]}, a line, then T * H * W * 3 bytes: RGB frames
    it answers          {"shape": [T, H, W]}, a line, then T * H * W bytes: how likely each pixel is
                        a person's, 0..255; or {"error": "..."}, a line

It ends when its input ends. Every frame is looked at by itself, so that a clip has the same answer
whatever came before it. The networks see 256 pixels a side at most, whatever the size of a frame.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, BinaryIO, Callable


def make_detector() -> Callable[[Any], Any]:
    """Returns a function from a frame, uint8 [H, W, 3], to likelihoods, uint8 [H, W]."""
    import mediapipe
    import numpy as np

    solutions = mediapipe.solutions
    networks = [
        solutions.selfie_segmentation.SelfieSegmentation(model_selection=0),  # of squares
        solutions.selfie_segmentation.SelfieSegmentation(model_selection=1),  # of landscapes
        solutions.pose.Pose(static_image_mode=True, model_complexity=1, enable_segmentation=True),
    ]

    def detect(frame: Any) -> Any:
        likely = np.zeros(frame.shape[:2], np.float32)
        for network in networks:
            mask = network.process(frame).segmentation_mask
            if mask is not None:  # of the pose: nobody was found
                likely = np.maximum(likely, mask)
        return np.rint(255 * np.clip(likely, 0, 1)).astype(np.uint8)

    return detect


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers until the requests end."""
    import mediapipe
    import numpy as np

    def say(content: Any, data: bytes = b"") -> None:
        answers.write(json.dumps(content).encode() + b"\n" + data)
        answers.flush()

    detect = make_detector()
    say({"mediapipe": getattr(mediapipe, "__version__", "")})
    while True:
        line = requests.readline()
        if not line:
            return
        shape = (*json.loads(line)["shape"], 3)
        data = requests.read(shape[0] * shape[1] * shape[2] * 3)
        try:
            frames = np.frombuffer(data, np.uint8).reshape(shape)
            found = np.stack([detect(frame) for frame in frames])
        except Exception as error:  # of every kind: the next clip may be fine
            say({"error": f"{type(error).__name__}: {' '.join(str(error).split())}"})
        else:
            say({"shape": found.shape}, found.tobytes())


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules are not meant for others to import
    _answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not come between
    serve(sys.stdin.buffer, _answers)
