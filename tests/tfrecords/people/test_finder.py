"""The pipe to MediaPipe, on a stand-in for it; the choice of a method; what is made of the answers.

The stand-in is a package `mediapipe` in a folder of PYTHONPATH: whatever is bright is a person.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from tfrecords.media.video import UnreadableError
from tfrecords.people import command, environment, finder
from tfrecords.people.finder import MediaPipe, Motion, find_people, open_finder
from tfrecords.utils.errors import UsageError, UserError

STAND_IN = """
import os
from types import SimpleNamespace

import numpy as np

__version__ = "0.10.21"
print("noise that must not come between")


class Network:
    def __init__(self, **options):
        self.is_pose = "enable_segmentation" in options

    def process(self, frame):
        if (frame == 13).all():
            raise RuntimeError("an unlucky frame")
        if (frame == 17).all():
            os._exit(9)
        bright = (frame.mean(-1) > 200).astype(np.float32)
        half = frame.shape[1] // 2  # the pose sees what is on the left, or nobody
        bright[:, half:] *= not self.is_pose
        bright[:, :half] *= self.is_pose
        seen = bright.any() or not self.is_pose
        return SimpleNamespace(segmentation_mask=bright if seen else None)


solutions = SimpleNamespace(
    selfie_segmentation=SimpleNamespace(SelfieSegmentation=Network),
    pose=SimpleNamespace(Pose=Network),
)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> Path:
    """The module; this interpreter has it, by name."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "mediapipe.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv(environment.PYTHON, sys.executable)
    return folder / "mediapipe.py"


def film(count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Two bright squares, left and right, and their mask."""
    mask = np.zeros((count, 60, 80), bool)
    mask[:, 20:40, 10:30] = mask[:, 20:40, 50:70] = True
    return np.where(mask[..., None], 240, 30).astype(np.uint8).repeat(3, -1), mask


def test_people_are_found_by_the_likelier_of_both(stand_in):
    frames, mask = film()
    opened, said = open_finder("auto")
    assert isinstance(opened, MediaPipe) and opened.version == "0.10.21"
    assert said == f"--people=auto: by MediaPipe 0.10.21, {opened.python}."
    found, origin = find_people(opened, "a.mp4", frames)
    assert origin == "auto:mediapipe" and found.shape == mask.shape and found.dtype == bool
    assert (found & mask).sum() / (found | mask).sum() > 0.9
    assert find_people(opened, "a.mp4", frames // 2) == (None, "")
    with pytest.raises(UnreadableError, match="RuntimeError: an unlucky frame") as caught:
        find_people(opened, "a.mp4", np.full_like(frames, 13))
    assert caught.value.file == "a.mp4"
    np.testing.assert_array_equal(opened.find(frames), found)  # the process lives on
    with ThreadPoolExecutor(3) as pool:
        for one in pool.map(opened.find, [frames] * 6):
            np.testing.assert_array_equal(one, found)
    with pytest.raises(UserError) as death:
        find_people(opened, "b.mp4", np.full_like(frames, 17))
    assert str(death.value).startswith("b.mp4: The helper that finds people, ")
    assert "the same command continues" in str(death.value)
    opened.close()


BROKEN = {
    "no package": "raise ModuleNotFoundError(\"No module named 'mediapipe'\")",
    "no networks": "__version__ = '1'",
    "says nothing": "import os; os._exit(0)",
    "a signal": "import os; os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_interpreter_without_it_is_answered_by_one_sentence(kind, stand_in):
    stand_in.write_text(BROKEN[kind])
    message = {"no package": "No module named 'mediapipe'", "a signal": "signal 9"}.get(kind, "")
    with pytest.raises(UserError, match=message) as caught:
        open_finder("mediapipe")
    sentence = str(caught.value)
    assert sentence.startswith(f"Expected MediaPipe in {sys.executable} (python -m tfrecords.peop")
    assert "Traceback" not in sentence and "\n" not in sentence
    opened, said = open_finder("auto")
    assert isinstance(opened, Motion)
    assert said.startswith("--people=auto: by motion, since MediaPipe cannot be had: Expected ")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("/no/such/python", "AACF_PEOPLE_PYTHON to name a Python interpreter, received /no/such"),
        (os.devnull, "AACF_PEOPLE_PYTHON to name a Python interpreter, received /dev/null"),
        ("cat", "Expected MediaPipe in .*cat"),
        ("true", "Expected MediaPipe in .*true"),
        ("", "Expected an environment of MediaPipe in .*people .* received none"),
    ],
)
def test_a_missing_interpreter_is_named(named, message, tmp_path, monkeypatch):
    monkeypatch.setenv(environment.PYTHON, named)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(UserError, match=message):
        open_finder("mediapipe")


def test_motion_needs_nothing(monkeypatch):
    monkeypatch.setenv(environment.PYTHON, "/no/such/python")
    opened, said = open_finder("motion")
    assert said == "" and opened.name == "motion"
    frames = np.full((6, 40, 48, 3), 70, np.uint8)
    assert find_people(opened, "a.mp4", frames) == (None, "")
    for t in range(6):
        frames[t, 12:24, 4 + 5 * t : 16 + 5 * t] = 250
    mask, origin = find_people(opened, "a.mp4", frames)
    assert origin == "auto:motion" and mask.any()
    assert find_people(None, "a.mp4", frames) == (None, "")


def test_a_person_missed_in_one_frame_is_found_in_the_next():
    likely = np.zeros((5, 24, 32), np.uint8)
    likely[2, 6:18, 8:24] = 200
    mask = finder.likely_mask(likely, (12, 16))
    assert mask.shape == (5, 12, 16)
    reach = finder.NEIGHBOURS
    assert mask.any((1, 2)).tolist() == [abs(t - 2) <= reach for t in range(5)]
    assert not finder.likely_mask(likely // 4, (12, 16)).any()


@pytest.mark.parametrize("shape", [(2, 60, 80), (1, 480, 320), (1, 240, 240)])
def test_frames_are_seen_at_240_lines(shape):
    height, width = finder.scaled(np.zeros((*shape, 3), np.uint8)).shape[1:3]
    assert min(height, width) == 240 and height / width == pytest.approx(shape[1] / shape[2])


def run(*arguments: str) -> None:
    values = command.define_flags(flags.FlagValues())
    command.main(values(["people", *arguments])[1:], values)


def test_the_command_says_what_answers(stand_in, capsys):
    run()
    assert capsys.readouterr().out == f"MediaPipe 0.10.21 answers, by {sys.executable}.\n"
    for wrong, message in (
        (["x"], "flags only .* received 'x'"),
        (["--python=python3"], "Expected --install with --python=python3"),
        (["--install", "--python=cat"], r"Python 3\.9 to 3\.12, received cat, which is no interp"),
    ):
        with pytest.raises(UsageError, match=message):
            run(*wrong)


def test_the_environment_is_made_by_two_commands(tmp_path, monkeypatch, capsys):
    """A stand-in for Python: makes the folder, notes how it is called, fails offline."""
    called = tmp_path / "calls"
    script = f"""#!/bin/sh
if [ "$1" = -c ]; then echo "3 12"; exit; fi
echo "$@" >> {called}
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; exit; fi
echo "ERROR: No matching distribution found" >&2; echo "hint: none" >&2; exit 1
"""
    python = tmp_path / "python"
    python.write_text(script)
    python.chmod(0o755)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv(environment.PYTHON, raising=False)
    place = tmp_path / "data" / "aacf_tf" / "people"
    for _ in range(2):  # what a failure left is completed
        with pytest.raises(UserError, match=r"made: .*: ERROR: No matching distribution found\.$"):
            run("--install", f"--python={python}")
    lines = called.read_text().splitlines()
    assert lines[0] == f"-m venv {place}" and len(lines) == 3
    assert lines[1].endswith("mediapipe==0.10.21") and lines[1] == lines[2]
    python.write_text(script.replace("3 12", "3 13"))
    with pytest.raises(UsageError, match=r"to name Python 3\.9 to 3\.12, received .*Python 3\.13"):
        run("--install", f"--python={python}")


@pytest.mark.slow
def test_mediapipe_itself_is_a_function_of_the_clip():
    try:
        opened, _ = open_finder("mediapipe")
    except UserError as error:
        pytest.skip(f"MediaPipe is not there: {error}")
    frames = np.random.default_rng(0).integers(0, 256, (2, 60, 80, 3)).astype(np.uint8)
    first = opened.find(frames)
    assert first.shape == (2, 60, 80) and first.dtype == bool
    opened.find(np.full((1, 90, 50, 3), 128, np.uint8))
    np.testing.assert_array_equal(opened.find(frames), first)
