r"""Real videos, J-HMDB: who classifies, who goes by the scene, and where the maps lie.

    python -m tfrecords.build --source=csv --input=clips.csv --output=data/jhmdb \
        --conjugate=remove_person                          (photographs: --stills=2 as well)
    python benchmarks/real.py --data=data/jhmdb            the claim from scratch: three variants
    python benchmarks/real.py --data=data/jhmdb --variants=all         every head and option
    python benchmarks/real.py --setting=frozen --data=data/stills --groups=clips.csv
    python benchmarks/real.py --setting=tuned --data=data/stills --groups=clips.csv
    python benchmarks/real.py --quick --data=data/stills --groups=clips.csv

`scratch` trains without pretrained weights on the official split (`scratch.py`). `frozen` and
`tuned` stand on EfficientNet-Lite2 with ImageNet weights (`pretrained.py`): heads and remedies in a
grid, on photographs or on clips of 8 frames with temporal shift, whichever the data are; selected
by folds of source groups, the test split judged once for what was selected. `--quick` is `frozen`
with five variants and one seed.

What has been measured is not trained again: a stopped command goes on. Out come tables on the
terminal and in WORKDIR.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Sequence

from absl import flags

from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError

SCRATCH = "scratch"


def define_flags() -> None:
    """In a function, since every command has its own `--data`."""
    from benchmarks import pretrained

    settings = (SCRATCH, *pretrained.SETTINGS)
    flags.DEFINE_string("data", "data/jhmdb", "Data set directory, with masks and removed actors.")
    flags.DEFINE_string("workdir", "runs/real", "Where runs, test sets and tables go.")
    flags.DEFINE_enum("setting", SCRATCH, settings, "What the backbone begins with and learns.")
    flags.DEFINE_list("variants", None, "all, or names of variants, in this order.")
    flags.DEFINE_multi_string("set", [], "A field of the recipe in every variant: --set seed=1.")
    flags.DEFINE_string("groups", None, "Table with columns video, source_group, for the folds.")
    flags.DEFINE_integer("folds", 5, "Folds of the training records.", lower_bound=2)
    flags.DEFINE_integer("seeds", 2, "Seeds of every model.", lower_bound=1)
    flags.DEFINE_bool("quick", False, "Five variants on frozen features, one seed.")


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    from benchmarks import folds, pretrained, scratch

    options = flags.FLAGS
    data, workdir = Path(options.data), Path(options.workdir)
    settings = [text.partition("=")[::2] for text in options.set]
    if options.setting == SCRATCH and not options.quick:
        names = options.variants or list(scratch.DEFAULT)
        names = list(scratch.VARIANTS) if names == ["all"] else names
        scratch.run(data, workdir, names, settings)
        return
    grid = pretrained.Grid(
        setting="frozen" if options.quick else options.setting,
        data=data,
        workdir=workdir,
        groups=folds.read_groups(options.groups),
        folds=options.folds,
        seeds=1 if options.quick else options.seeds,
        settings=settings,
    )
    names = options.variants or (list(pretrained.QUICK) if options.quick else ["all"])
    pretrained.run(grid, pretrained.choices(grid) if names == ["all"] else names)


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same; the workers inherit the path.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
