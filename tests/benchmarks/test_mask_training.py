"""Training on actors removed by found masks beside annotated ones: the clips, the table, a run."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from absl import flags

from benchmarks import mask_training
from tfrecords import ClipPair, write_dataset


def square(n: int, frames: int = 8) -> ClipPair:
    """A bright square that moves to the right or down in a dim scene."""
    scene = np.random.default_rng(n).integers(0, 90, (10, 12, 3)).astype(np.uint8)
    clip = np.repeat(scene.repeat(16, 0).repeat(16, 1)[None], frames, 0)
    mask = np.zeros((frames, 160, 192), bool)
    for t in range(frames):
        y, x = (40, 10 + 15 * t) if n % 2 else (10 + 10 * t, 60)
        mask[t, y : y + 40, x : x + 40] = True
    clip[mask] = 240
    return ClipPair(f"{n}.avi@0.000-1.000", clip, None, ("down", "right")[n % 2 :][:1], mask=mask)


def test_an_actor_is_removed_at_the_size_of_a_build():
    pair = square(1)
    made = mask_training.remove(pair, pair.mask)
    assert made.clip.shape == made.conjugate.shape == (8, 128, 154, 3)
    assert made.mask.shape == (8, 128, 154) and made.mask.mean() == pytest.approx(0.052, abs=0.003)
    assert made.clip[made.mask].min() > 150 > made.conjugate.max()
    nobody = mask_training.remove(pair, np.zeros_like(pair.mask))
    assert nobody.conjugate is None and (nobody.mask == made.mask).all()


def test_differences_stand_below_the_kinds():
    values = {"annotated": [0.5, 0.4, 0.6], "motion": [0.4, 0.3, 0.5]}
    found = {
        kind: dict.fromkeys(mask_training.COLUMNS, np.array(draws))
        for kind, draws in values.items()
    }
    lines = mask_training.table(found)
    assert lines[2].startswith("| annotated | 0.500 ±0.141 |")
    assert lines[4].startswith("| motion - annotated | -0.100 ±0.000 |") and len(lines) == 5
    assert {line.count("|") for line in lines} == {len(mask_training.COLUMNS) + 2}


@pytest.mark.slow
def test_a_whole_run(tmp_path, monkeypatch, capsys):
    write_dataset(tmp_path / "data", {"train": map(square, range(12))}, ["down", "right"])
    groups = "\n".join(f"{n}.avi,{n // 4}" for n in range(12))
    (tmp_path / "groups.csv").write_text(f"video,source_group\n{groups}\n")
    values = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", values)
    for name in ("string", "list", "integer", "multi_string", "bool"):
        define = getattr(flags, f"DEFINE_{name}")
        monkeypatch.setattr(
            flags,
            f"DEFINE_{name}",
            lambda *given, define=define: define(*given, flag_values=values),
        )
    mask_training.define_flags()
    small = ["backbone=small", 'backbone_options={"width": 8}', "weights=", "data.height=32"]
    small += ["data.width=32", "data.crop=1", "stages.0.epochs=1", "stages.0.batch_size=4"]
    places = {"data": "data", "groups": "groups.csv", "workdir": "work", "output": "result"}
    arguments = [f"--{name}={tmp_path / place}" for name, place in places.items()]
    arguments += ["--methods=motion", "--folds=2", "--seeds=1"]
    values([sys.argv[0], *arguments, *(f"--set={text}" for text in small)])
    mask_training.main([])
    printed = capsys.readouterr().out
    kinds = json.loads((tmp_path / "result.json").read_text())["kinds"]
    assert set(kinds) == {"annotated", "motion", "none"}
    assert all(0 <= kinds[kind]["x"][0] <= 1 and "auc" in kinds[kind] for kind in kinds)
    assert "| none - annotated | " in printed and "(12 clips, 2 folds, 1 seeds)" in printed
