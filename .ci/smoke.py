"""The main job of the installed package, away from the clone, on a data set of seconds.

    cd EMPTY_FOLDER && python CLONE/.ci/smoke.py

Trains AACF and the baseline for an epoch, evaluates, exports, reports, and draws maps over a video,
by the commands that `pip install` has put beside this Python.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import av
import numpy as np

import tfrecords
from tfrecords import ClipPair, write_dataset

random = np.random.default_rng(0)


def pair(name: str, label: str) -> ClipPair:
    """Returns a square that moves right or down over a still scene, and the scene alone."""
    scene = random.integers(0, 60, (6, 24, 24, 3)).astype(np.uint8)
    clip, mask = scene.copy(), np.zeros((6, 24, 24), bool)
    for t in range(6):
        y, x = (4, 2 + 3 * t) if label == "right" else (2 + 3 * t, 4)
        clip[t, y : y + 5, x : x + 5], mask[t, y : y + 5, x : x + 5] = 220, True
    return ClipPair(name, clip, scene, (label,), 6.0, mask)


def run(command: str, *arguments: str) -> None:
    """Runs one of the package's commands, which must succeed."""
    print("+", command, *arguments, flush=True)
    subprocess.run([str(Path(sys.executable).with_name(command)), *arguments], check=True)


assert Path(__file__).resolve().parents[1] not in Path(tfrecords.__file__).resolve().parents
splits = {
    split: [pair(f"{split}-{n}", ("down", "right")[n % 2]) for n in range(count)]
    for split, count in {"train": 16, "validation": 4, "test": 8}.items()
}
write_dataset("data", splits, labels=["down", "right"])
with av.open("clip.mkv", "w") as container:
    stream = container.add_stream("ffv1", rate=6)
    stream.height, stream.width, stream.pix_fmt = 24, 24, "bgr0"
    for image in splits["test"][0].clip:
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    container.mux(stream.encode())
run(
    "aacf-train",
    *("--data=data", "--recipe=demo", "--workdir=run", "--epochs=1", "--batch_size=4"),
    *("--frames=6", "--height=24", "--width=24", "--set=backbone_options.width=8"),
)
run("aacf-attend", "--model=run/export/aacf", "--video=clip.mkv", "--output=maps.mp4")
metrics = json.loads(Path("run/metrics.json").read_text())
assert metrics["splits"]["test"]["clips"] == 8, metrics
for name in ("run/report/index.html", "run/export/aacf/1/saved_model.pb", "maps.mp4"):
    assert Path(name).stat().st_size, name
print(f"The installed package works on Python {platform.python_version()}.")
