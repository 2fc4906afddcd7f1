"""Poses in context, photographs with ground truth: who looks at the person, who at the place.

    python benchmarks/poses.py                       the recipe `stills` on conjugates by Telea
    python benchmarks/poses.py --decoys              the same filling in the photographs, too
    python benchmarks/poses.py --variants=all        every variant of VARIANTS, one after the other

The photographs are drawn, the conjugates made of them as a user's are (`people.py`). In `train` and
`test` the scene betrays the class in nine of ten, in `test_uniform` it says nothing, in `test_anti`
it is never that of the class. The recipe is `stills`, but for the size of the pictures, a backbone
of half the width and fewer epochs; average pooling is its first stage, which the variants of one
data set share.

A variant is a run directory, WORKDIR/VARIANT, as `train_main.py` writes it; what is there is not
done again, and one that was stopped goes on. Out come tables on the terminal and in WORKDIR:
poses.md, poses.json.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, Mapping, NamedTuple, Sequence

from absl import flags

from aacf_tf import recipes
from aacf_tf.recipes import Recipe
from tfrecords.utils import commandline
from tfrecords.utils.atomic import write_json, write_text
from tfrecords.utils.errors import UsageError


class Variant(NamedTuple):
    """Describes a variant: decoys in the photographs, changed fields of the recipe."""

    decoys: bool
    settings: Mapping[str, Any] = {}


# With the term, half of the second stage is for it and `presence` alone, as in the recipe `demo`.
DIFFERENCE = {"loss.difference": 1.0, "stages.1.pairs_first": 0.5}
VARIANTS = {
    "plain": Variant(False),
    "decoys": Variant(True),
    "difference": Variant(False, DIFFERENCE),
    "decoys_difference": Variant(True, DIFFERENCE),
    "decoys_difference_no_presence": Variant(True, {**DIFFERENCE, "loss.presence": 0.0}),
    "swap": Variant(False, {"data.swap": 0.67}),
}
# Of the recipe: smaller pictures and a smaller network, for two cores; and since scenes are all
# that average pooling learns, poses are left to the second stage: it has the more epochs, and the
# backbone the whole rate.
SIZE = {
    "data.height": 96,
    "data.width": 136,
    "data.crop": 0.92,
    "backbone_options": {"width": 96, "residual": True},
    "stages.0.epochs": 8,
    "stages.1.epochs": 20,
    "stages.1.backbone_rate": 1.0,
}
SPLITS = ("test", "test_uniform", "test_anti")
PLACES = ("pointing", "mass", "auc")
SHOWN = "test_uniform"  # where the maps are judged


def define_flags() -> None:
    """In a function, since every command has its own `--data`."""
    flags.DEFINE_bool("decoys", False, "The variant `decoys`, in place of `plain`.")
    names = f"all, or some of {', '.join(VARIANTS)}; without it plain, or with --decoys decoys."
    flags.DEFINE_list("variants", [], names)
    flags.DEFINE_string(
        "data", "data/poses", "Data sets DATA/plain, DATA/decoys; built if missing."
    )
    flags.DEFINE_string("workdir", "runs/poses", "Where runs and tables go.")
    flags.DEFINE_multi_string("set", [], "A field of the recipe in every variant: --set seed=1.")


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    options = flags.FLAGS
    names = options.variants or ["decoys" if options.decoys else "plain"]
    names = list(VARIANTS) if names == ["all"] else names
    settings = [text.partition("=")[::2] for text in options.set]
    chosen = {name: make_recipe(name, settings) for name in names}
    workdir = Path(options.workdir)

    from benchmarks import people

    for number, (name, recipe) in enumerate(chosen.items(), start=1):
        print(f"variant {number} of {len(chosen)}: {name}", flush=True)
        decoys = VARIANTS[name].decoys
        data = people.write(Path(options.data) / _kind(decoys), decoys)
        run_variant(recipe, data, workdir / name, workdir / "average" / _kind(decoys))
    results = collect(workdir)
    text = render(results)
    write_json(workdir / "poses.json", results)
    write_text(workdir / "poses.md", text + "\n")
    print(f"\n{text}\n\nresults  {workdir / 'poses'}.md, .json")


def make_recipe(name: str, settings: Sequence[tuple[str, str]] = ()) -> Recipe:
    """The recipe `stills` as a variant has it; settings: (field, value) for every variant.

    Raises:
        UsageError: no such variant, field or value.
    """
    from benchmarks import variants

    variants.check_name(name, VARIANTS)
    changes = (*SIZE.items(), *VARIANTS[name].settings.items(), *settings)
    recipe = variants.load("stills", changes)
    recipes.check(recipe)
    return recipe


def run_variant(recipe: Recipe, data: Path, workdir: Path, average: Path) -> None:
    """Trains, judges and reports a variant, or does what is left of it.

    Args:
        recipe: Recipe of the variant.
        data: its data set.
        workdir: its run directory.
        average: run directory of the first stage, which the variants of a data set share.

    Raises:
        UsageError: a directory holds a run with other settings or data.
    """
    from aacf_tf import pipeline
    from aacf_tf.runs.directory import claim
    from aacf_tf.runs.run import Run
    from benchmarks import variants

    # Swapping is for a head with factors; average pooling sees the photographs.
    pooling = dataclasses.replace(
        recipe,
        head="average",
        baseline="none",
        stages=recipe.stages[:1],
        data=dataclasses.replace(recipe.data, swap=0.0),
        loss=recipes.LossOptions(),
    )
    pipeline.run(pooling, data, average, mode="train")
    source = Run.open(pooling, data, average)
    target = Run.open(recipe, data, workdir)
    # Before checkpoints are there: beside them a run's config.json must be.
    claim(target, resume=True, new=True, chief=True)
    for folder in (Run.checkpoint_folder, Run.log_folder):
        variants.copy_folder(folder(source, recipe.stages[0]), folder(target, recipe.stages[0]))
    pipeline.run(recipe, data, workdir, mode="train")
    if not (workdir / "report" / "index.html").is_file():
        pipeline.run(recipe, data, workdir)


def collect(workdir: Path) -> dict[str, Any]:
    """Name -> splits of its metrics.json, of all variants that have been judged.

    Beside each data set's variants stands the average pooling that they begin with, as
    `average (plain)` or `average (decoys)`.
    """
    from aacf_tf.evaluation.metrics import BASELINE, read_metrics

    found: dict[str, Any] = {}
    for name, variant in VARIANTS.items():
        beside = f"average ({_kind(variant.decoys)})"
        folder = workdir / name
        for key, path in ((beside, folder / BASELINE), (name, folder)):
            metrics = read_metrics(path)
            if metrics:
                found.setdefault(key, {split: metrics["splits"][split] for split in SPLITS})
    return dict(sorted(found.items(), key=lambda item: not item[0].startswith("average")))


def render(results: Mapping[str, Any]) -> str:
    """Markdown: scores on the three tests, and where the maps lie."""
    scores, maps, prior = [], [], {}
    for name, splits in results.items():
        for score in ("action", "context", "combined"):
            if score in splits[SHOWN]:
                title = name if name.startswith("average") else f"{name}, {score}"
                cells = [splits[split][score] for split in SPLITS]
                scores.append(
                    [title, *(f"{c['top1']:.3f} / {_number(c['mean_ap'])}" for c in cells)]
                )
        place = splits[SHOWN]["localization"]
        prior = prior or place
        values = [place.get(f"action_{key}") for key in PLACES]
        values += [place.get(f"context_{key}") for key in PLACES[1:]]
        maps.append([name, *map(_number, values)])
    rival = [_number(prior.get(f"mean_mask_{key}")) for key in PLACES]
    maps.append(["(mean training mask)", *rival, "", ""])
    return "\n\n".join(
        [
            "Top-1 / mean AP",
            _table(["", *SPLITS], scores),
            f"Maps on {SHOWN} (the actor has {prior['mask_area']:.3f} of the cells)",
            _table(["", "pointing", "mass", "AUC", "context mass", "context AUC"], maps),
        ]
    )


def _kind(decoys: bool) -> str:
    return "decoys" if decoys else "plain"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
