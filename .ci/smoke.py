"""The main job of the installed package, away from the clone, on a data set of seconds.

    cd EMPTY_FOLDER && python CLONE/.ci/smoke.py [FOLDER]

Trains AACF and the baseline for an epoch, evaluates, exports, reports, and draws maps over a video,
by the commands that `pip install` has put beside this Python. FOLDER is one in which another Python
has done so: its export is served here, and its run continued from the first epoch to the end, with
the same numbers.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
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


def continue_run(folder: Path) -> None:
    """Serves and continues what `folder` holds; the files in it stay as they are."""
    shutil.copytree(folder, "other")
    run("aacf-attend", "--model=other/run/export/aacf", "--input=clips", "--output=other.csv")
    last = list(Path("other/run/checkpoints/main").glob("ckpt-8.*"))  # after two epochs
    assert last
    for file in last:
        file.unlink()
    run(*(flag.replace("=data", "=other/data") for flag in TRAIN), "--workdir=other/run")
    # Accuracies would jump where two scores are nearly equal, which the Pythons round differently.
    scores = [
        np.array(re.findall(r"-?\d+\.\d+", path.read_text()), float)
        for path in (folder / "scores.csv", Path("other.csv"))
    ]
    losses = [
        [epoch["loss"] for epoch in json.loads((logs / "history.json").read_text())]
        for logs in (folder / "run/logs/main", Path("other/run/logs/main"))
    ]
    np.testing.assert_allclose(*scores, atol=1e-3)
    np.testing.assert_allclose(*losses, atol=1e-3)


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
Path("clips").mkdir()
with av.open("clips/clip.mkv", "w") as container:
    stream = container.add_stream("ffv1", rate=6)
    stream.height, stream.width, stream.pix_fmt = 24, 24, "bgr0"
    for image in splits["test"][0].clip:
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    container.mux(stream.encode())
TRAIN = (
    *("aacf-train", "--data=data", "--recipe=demo", "--batch_size=4", "--precision=float32"),
    *("--frames=6", "--height=24", "--width=24", "--set=backbone_options.width=8"),
    *("--epochs=2", "--set=keep=2"),
)
run(*TRAIN, "--workdir=run")
run("aacf-attend", "--model=run/export/aacf", "--video=clips/clip.mkv", "--output=maps.mp4")
run("aacf-attend", "--model=run/export/aacf", "--input=clips", "--output=scores.csv")
metrics = json.loads(Path("run/metrics.json").read_text())
assert metrics["splits"]["test"]["clips"] == 8, metrics
for name in ("run/report/index.html", "run/export/aacf/1/saved_model.pb", "maps.mp4"):
    assert Path(name).stat().st_size, name
for other in sys.argv[1:]:
    continue_run(Path(other))
print(f"The installed package works on Python {platform.python_version()}.")
