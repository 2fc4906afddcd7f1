"""What training on conjugates loses if the actors' masks were found, not annotated.

    python benchmarks/mask_training.py --data=data/jhmdb --groups=JHMDB/index.csv --clips=63

Data and `--workdir` are those of `person_masks.py`: masks that it has found are not sought again;
the clips are those of its `--clips`, with and without `--others`.
The same clips stand in several data sets, their actor removed by annotated masks and by those of
each method, at 128 lines. AACF is trained on the frozen EfficientNet-Lite2 (variant `apart` of
`real.py`) on the same folds of source groups with the same seeds, `none` without any conjugate, and
judged on what was held out: mean AP of the scores `combined` and `action`, and how often the action
map is greatest on the annotated actor (pointing). Errors are those of a paired bootstrap over clips
(`answers.py`). A stopped command goes on.
"""

from __future__ import annotations

import datetime
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Mapping, Sequence

import numpy as np
from absl import flags

from tfrecords.utils import commandline
from tfrecords.utils.atomic import write_json, write_text
from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    from aacf_tf.recipes import Recipe
    from benchmarks.frozen import Material
    from benchmarks.pretrained import Grid, Measure
    from tfrecords.people.finder import Finder
    from tfrecords.records.clip_pair import ClipPair

ANNOTATED, NONE = "annotated", "none"
METHODS = ("mediapipe", "motion")
LINES = 128  # shorter side at which people are removed, as in a build
VARIANT = "apart"
COLUMNS = {
    "x": "mean AP",
    "x action": "mean AP, `action`",
    "pointing": "pointing",
    "auc": "AUC of the map",
}


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    flags.DEFINE_string("data", None, "Data set directory whose clips have annotated masks.")
    flags.DEFINE_string("groups", None, "Table with columns video, source_group, for the folds.")
    flags.DEFINE_string("workdir", "runs/person_masks", "Folder of masks, data, features, answers.")
    flags.DEFINE_list("methods", [*METHODS], f"Of {', '.join(METHODS)}.")
    flags.DEFINE_integer("clips", 0, "As of person_masks.py, with the others; 0: all.", 0)
    flags.DEFINE_integer("folds", 5, "Folds.", 2)
    flags.DEFINE_integer("seeds", 2, "Seeds of every model.", 1)
    flags.DEFINE_multi_string("set", [], "A field of the recipe: --set stages.0.epochs=10.")
    flags.DEFINE_string("output", None, "Writes OUTPUT.json and OUTPUT.md.")


def main(arguments: Sequence[str]) -> None:
    """Runs the command; see the module's docstring."""
    options = flags.FLAGS
    if arguments or not options.data or not set(options.methods) <= set(METHODS):
        raise UsageError(
            f"Expected --data=DIR, --methods among {', '.join(METHODS)} and no other arguments, "
            f"received {options.data}, {','.join(options.methods)} and {arguments}."
        )
    from benchmarks import folds, machine, person_masks, pretrained, sheet
    from tfrecords.people.finder import open_finder

    workdir = Path(options.workdir)
    chosen = person_masks.choose(options.data, options.clips)
    if options.clips:
        chosen |= person_masks.choose(options.data, options.clips, others=True)
    finders: dict[str, Finder | None] = {ANNOTATED: None}
    finders.update({name: open_finder(name)[0] for name in options.methods})
    places = {
        kind: write_kind(options.data, chosen, finder, workdir) for kind, finder in finders.items()
    }
    grids = {
        kind: pretrained.Grid(
            setting="frozen",
            data=places.get(kind, places[ANNOTATED]),
            workdir=workdir / "training",
            groups=folds.read_groups(options.groups),
            folds=options.folds,
            seeds=options.seeds,
            settings=[text.partition("=")[::2] for text in options.set],
        )
        for kind in (*places, NONE)
    }
    found = train(grids)
    title = f"**Training on removed actors** ({len(chosen)} clips, {options.folds} folds, "
    title += f"{options.seeds} seeds)"
    text = "\n".join([sheet.machine_line(), "", title, "", *table(found)])
    print(text)
    if options.output:
        figures = {
            kind: {key: [float(v[0]), float(v[1:].std(ddof=1))] for key, v in values.items()}
            for kind, values in found.items()
        }
        content = {"machine": machine.describe(), "date": datetime.date.today().isoformat()}
        content.update(clips=len(chosen), folds=options.folds, seeds=options.seeds, kinds=figures)
        write_json(Path(f"{options.output}.json"), content)
        write_text(Path(f"{options.output}.md"), text + "\n")


def write_kind(data: str, chosen: set[str], finder: Finder | None, workdir: Path) -> Path:
    """Writes the clips with their actors removed by one kind of mask, unless they are there.

    Args:
        data: Data set directory.
        chosen: Ids of its clips.
        finder: Method; None: by annotated masks.
        workdir: Folder of the masks and of what is written.
    """
    from benchmarks import person_masks
    from tfrecords import write_dataset
    from tfrecords.records.dataset import INFO_FILE, digest, load_info
    from tfrecords.utils.progress import progress

    kind = finder.name if finder else ANNOTATED
    directory = workdir / "data" / f"{kind}-{len(chosen)}-{digest(data)[:12]}"
    if not (directory / INFO_FILE).is_file():
        pairs = progress(person_masks.read(data, chosen), total=len(chosen), desc=kind, unit="clip")

        def removed() -> Iterator[ClipPair]:
            for pair in pairs:
                assert pair.mask is not None
                mask = person_masks.find(finder, pair.clip, workdir)[0] if finder else pair.mask
                yield remove(pair, mask)

        labels = load_info(data).labels
        write_dataset(directory, {"train": removed()}, labels, num_shards=1, source=kind)
    return directory


def remove(pair: ClipPair, mask: np.ndarray) -> ClipPair:
    """Returns a clip at `LINES` with its actor removed by a mask; its own mask stays.

    Without anybody to remove there is no conjugate, as in a build.
    """
    from tfrecords.conjugates.remove_person import remove_person
    from tfrecords.media import video

    height, width = pair.clip.shape[1:3]
    scale = LINES / min(height, width)
    size = round(height * scale), round(width * scale)

    def small(maps: np.ndarray) -> np.ndarray:
        return np.stack([video.resize(one.astype(np.uint8) * 255, size) > 127 for one in maps])

    assert pair.mask is not None
    clip = np.stack([video.resize(frame, size) for frame in pair.clip])
    conjugate = remove_person(clip, small(mask))
    found = None if np.array_equal(conjugate, clip) else conjugate
    return replace(pair, clip=clip, mask=small(pair.mask), conjugate=found)


def train(grids: Mapping[str, Grid]) -> dict[str, dict[str, np.ndarray]]:
    """Trains and judges at every fold; returns kind -> figure -> values of `answers.resample`."""
    from aacf_tf.models.factory import make_backbone
    from aacf_tf.runs.run import Run
    from benchmarks import folds, frozen, pretrained

    found = {}
    for kind, grid in grids.items():
        recipe = pretrained.make_recipe(grid, VARIANT)
        pretrained.claim(grid, kind, recipe)
        run = Run.open(recipe, grid.data, grid.folder / "features" / grid.data.name)
        material = frozen.read_material(run, None, "train", run.workdir / "train.npz")
        if kind == NONE:
            material = material._replace(paired=np.zeros_like(material.paired))
        files = [name.partition("@")[0] for name in material.id]  # FILE, or FILE@START-END
        own = [grid.groups.get(file, file) for file in files]
        fold_of = folds.assign_folds(own, material.targets.astype(str).tolist(), grid.folds)
        classes = len(run.info.labels)
        measure = _measure(material, fold_of, classes, make_backbone)
        pretrained.train_all(grid, {kind: recipe}, grid.cells(), measure)
        found.update(pretrained.summarize(grid, {kind: recipe}, grid.cells()))
    return found


def _measure(material: Material, fold_of: np.ndarray, classes: int, make_backbone) -> Measure:
    from benchmarks import frozen
    from benchmarks.answers import Answers, judge

    def measure(recipe: Recipe, place: str, folder: Path) -> Answers:
        held = fold_of == int(place.removeprefix("fold"))
        rows, tested = np.flatnonzero(~held), np.flatnonzero(held)
        model = frozen.train_head(recipe, classes, material, rows, make_backbone(recipe))
        outputs = frozen.predict(model, material, tested, classes, s=False)
        return judge(outputs, outputs, {}, recipe.mask_threshold)

    return measure


def table(found: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    """Returns the lines of the Markdown table: each kind, then each less the annotated one."""
    from benchmarks.answers import spread

    rows = dict(found)
    for kind, values in found.items():
        if kind != ANNOTATED:
            less = {key: values[key] - found[ANNOTATED][key] for key in COLUMNS}
            rows[f"{kind} - {ANNOTATED}"] = less
    lines = [f"| masks | {' | '.join(COLUMNS.values())} |", "|" + "---|" * (len(COLUMNS) + 1)]
    for name, values in rows.items():
        lines.append(f"| {name} | {' | '.join(spread(values[key]) for key in COLUMNS)} |")
    return lines


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
