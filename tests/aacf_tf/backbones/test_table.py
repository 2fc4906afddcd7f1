"""The documented end points are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest
from absl import flags

from aacf_tf.backbones import BACKBONES, build_backbone, table
from tfrecords.utils.errors import UsageError

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "backbones.md"


@pytest.mark.parametrize(
    "backbone",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "densenet161")) for name in BACKBONES],
)
def test_the_document_holds_the_table_of(backbone):
    assert table.table(backbone, table.SIZES[backbone]) in DOCUMENT.read_text(encoding="utf-8")


def test_the_document_counts_the_weights_of_small():
    count = sum(
        weights.shape.num_elements() for weights in build_backbone("small").trainable_weights
    )
    assert f"| `small` | the demo, little data | 2, 6, 6 | 64 | {count:,} |" in DOCUMENT.read_text(
        encoding="utf-8"
    )


def test_the_command_prints_one_table(capsys):
    values = table.define_flags(flags.FlagValues())
    values(["table", "--backbone=small", "--size=8,30,31"])
    table.main([], values)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| small at 8 x 30 x 31 |")
    assert lines[2] == "| `patches` | 8 x 10 x 11 x 27 | 1 x 3 x 3 | 1 x 3 x 3 | 0, 1, 1 |"
    assert len(lines) == 2 + 6


@pytest.mark.parametrize("size", ["8,30", "8,30,x", "8,0,30", ""])
def test_a_wrong_size_is_named(size):
    values = table.define_flags(flags.FlagValues())
    values(["table", f"--size={size}"])
    with pytest.raises(UsageError, match="--size: expected frames,height,width"):
        table.main([], values)


def test_unknown_backbones_and_options_are_named():
    with pytest.raises(ValueError, match=r"efficientnet_lite2, .*videoswin_base\. Received 'vgg'"):
        build_backbone("vgg")
    with pytest.raises(UsageError, match="'densenet161', received 'width'"):
        build_backbone("densenet161", width=3)
