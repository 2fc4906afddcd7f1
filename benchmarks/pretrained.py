"""A grid of heads and remedies on an ImageNet backbone, for `real.py`: folds first, the test once.

    frozen  heads on the features of the frozen backbone (`frozen.py`), seconds a model
    tuned   fine-tuning, whole, on the data set of each place (`folds.write_place`)

A place is `fold0` ..., held out of the training records, or `official`, the test split. Every
variant is trained at every fold with every seed; the best of AACF by the folds, and the variants of
average pooling that it is compared with, are then trained on all training records and judged on the
test split, once. A model that has been judged is not trained again.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Sequence

import numpy as np
from tensorflow import keras

from aacf_tf import recipes
from aacf_tf.recipes import Recipe
from aacf_tf.recipes.pretrained import FINE_TUNING, HEADS_ALONE
from benchmarks import folds, frozen, variants, versions
from benchmarks.answers import Answers, combine, ensemble, figures, judge, resample, spread
from tfrecords.records.dataset import digest, load_info
from tfrecords.utils.atomic import write_json, write_text
from tfrecords.utils.errors import UsageError
from tfrecords.utils.progress import progress

# Said in full where the recipe might change: a variant is what is written here.
_SWAP = {"data.swap": 0.5, "loss.average_on": "mix"}
_APART = {"loss.form": "apart", "loss.average_on": "clips", "data.swap": 0.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "average": {**_APART, "head": "average"},
    "average_swap": {**_APART, **_SWAP, "head": "average"},
    "average_uniform": {**_APART, "head": "average_uniform"},
    "attention": {**_APART, "head": "attention"},
    # The loss of the recipes as they are without `--weights`.
    "scratch": {"loss.form": "scratch", "loss.difference": 0.0, "score": "action"},
    "apart": _APART,
    "apart_plain": {**_APART, "loss.difference": 0.0, "loss.uniform": 0.0},
    "apart_swap": {**_APART, **_SWAP},
    "apart_swap_clips": {**_APART, "data.swap": 0.5},
    # Remedies of others, on average pooling; the first two need motion.
    "fame": {**_APART, "head": "average", "data.fame": 0.5},
    "background_erasing": {**_APART, "head": "average", "loss.background_erasing": 1.0},
    "stillmix": {**_APART, "head": "average", "data.stillmix": 0.5},
    "human_mask": {**_APART, "head": "average", "loss.human_mask": 0.5},
}
QUICK = ("average", "average_swap", "scratch", "apart", "apart_swap")
RIVALS = ("average", "average_swap")
BOTH = "average + average_swap"  # two models of average pooling beside AACF's two experts
# (v, w) of za + v zg + w zc.
WEIGHTS = [(v, w) for v in (0.0, 0.5, 1.0, 2.0) for w in (0.0, 0.1, 0.2, 0.5)]
CHOSEN_AFTERWARDS = ("score", "average_weight", "context_weight")
COLUMNS = ("x", "x1", "s", "s1", "follow", "pointing", "auc", "far pointing", "far auc")
SETTINGS = ("frozen", "tuned")
BACKBONE = "efficientnet_lite2"
# Height and width: what two cores fine-tune in minutes; what is left of memory for maps of clips.
_TUNED_SIZE, _CLIPS_SIZE, _PHOTOGRAPHS_SIZE = (129, 161), (193, 257), (257, 321)


@dataclasses.dataclass(frozen=True)
class Grid:
    """What is trained, and where to.

    Attributes:
        setting: One of SETTINGS.
        data: Data set directory, photographs or clips.
        workdir: Folder of features, models, answers and tables.
        groups: File -> source group.
        folds: Number of folds.
        seeds: Number of seeds.
        settings: (field, value) of the recipe in every variant.
    """

    setting: str
    data: Path
    workdir: Path
    groups: Mapping[str, str]
    folds: int
    seeds: int
    settings: Sequence[tuple[str, str]] = ()

    @property
    def folder(self) -> Path:
        """Folder of the setting's answers and tables."""
        return self.workdir / self.setting

    def answers(self, name: str, place: str, seed: int) -> Path:
        """Returns the file of one model's answers."""
        return self.folder / "answers" / name / f"{place}-seed{seed}.npz"

    def cells(self, place: str | None = None) -> list[tuple[str, int]]:
        """Returns (place, seed) of all folds, or of one place."""
        places = [place] if place else [f"fold{n}" for n in range(self.folds)]
        return [(one, seed) for seed in range(self.seeds) for one in places]


Measure = Callable[[Recipe, str, Path], Answers]


def make_recipe(grid: Grid, name: str) -> Recipe:
    """Returns the recipe of a variant: `stills` or `default` for pretrained weights, changed.

    The setting chooses the stage and the size, which all frames are stretched to.

    Raises:
        UsageError: There is no such variant, or it does not fit the setting or the data.
    """
    variants.check_name(name, VARIANTS)
    photographs = _are_photographs(grid.data)
    base = recipes.override(
        recipes.load_recipe("stills" if photographs else "default"), "backbone", BACKBONE
    )
    recipe = dataclasses.replace(recipes.pretrained(base), weights="imagenet", baseline="none")
    tuned = grid.setting == "tuned"
    recipe = dataclasses.replace(recipe, stages=(FINE_TUNING if tuned else HEADS_ALONE,))
    size = _TUNED_SIZE if tuned else _PHOTOGRAPHS_SIZE if photographs else _CLIPS_SIZE
    # All pictures of one size: a batch then takes more than one in tests, too.
    changes: dict[str, Any] = {"data.resize": "stretch", "data.height": size[0]}
    changes.update({"data.width": size[1], "data.views": None, "data.map_crop": None})
    if not photographs:
        changes["data.frames"] = 8
        # Untrained for it, a network that is frozen does not see what it gets from other frames.
        changes["backbone_options"] = {"shift": 0.125} if tuned else {}
    for path, value in (*changes.items(), *VARIANTS[name].items(), *grid.settings):
        recipe = recipes.override(recipe, path, value)
    if recipe.head != "aacf":
        recipe = dataclasses.replace(recipe, score="combined")
    recipes.check(recipe)
    changing = [name for name in ("swap", *versions.REMEDIES) if _has(recipe, name)]
    if not tuned and len(changing) > 1:
        raise UsageError(
            "--set: expected one of swap and the remedies in a variant on frozen features, which "
            f"hold each alone, received {' and '.join(changing)}."
        )
    return recipe


def choices(grid: Grid) -> list[str]:
    """Returns the variants that the setting and the data allow."""
    possible = []
    for name in VARIANTS:
        try:
            make_recipe(grid, name)
        except UsageError:
            continue
        possible.append(name)
    return possible


def run(grid: Grid, names: Sequence[str]) -> None:
    """Trains, selects, tests, and writes and prints the tables; what is there is not done again."""
    prepared = {name: make_recipe(grid, name) for name in names}
    for name, recipe in prepared.items():
        claim(grid, name, recipe)
    composed = folds.compose(grid.data, grid.workdir / "composed", grid.groups, grid.folds)
    measure = (measure_frozen if grid.setting == "frozen" else measure_tuned)(grid, composed)
    train_all(grid, prepared, grid.cells(), measure)
    found = summarize(grid, prepared, grid.cells())
    chosen = select(found)
    lines = [_title(grid, "folds"), table(found), _weights(grid, prepared), differences(found)]
    lines.append(f"Selected by the folds: {', '.join(chosen)}")
    official = {name: prepared[name] for name in chosen}
    train_all(grid, official, grid.cells(folds.OFFICIAL), measure)
    tested = summarize(grid, official, grid.cells(folds.OFFICIAL))
    lines += [_title(grid, "official test"), table(tested), differences(tested)]
    text = "\n\n".join(lines)
    everything = {"folds": found, "official": tested}
    write_json(
        grid.folder / "results.json",
        {
            part: {
                name: {key: [float(v[0]), float(v[1:].std(ddof=1))] for key, v in values.items()}
                for name, values in rows.items()
            }
            for part, rows in everything.items()
        },
    )
    write_text(grid.folder / "results.md", text + "\n")
    print(f"\n{text}\n\nresults  {grid.folder / 'results'}.json, .md")


def train_all(
    grid: Grid,
    prepared: Mapping[str, Recipe],
    cells: Iterable[tuple[str, int]],
    measure: Measure,
) -> None:
    """Trains and judges every variant at every cell, those that are missing."""
    wanted = [(name, *cell) for cell in cells for name in prepared]
    missing = [one for one in wanted if not grid.answers(*one).is_file()]
    for name, place, seed in progress(missing, desc=f"{grid.setting} models", unit="model"):
        keras.backend.clear_session()
        recipe = dataclasses.replace(prepared[name], seed=seed)
        folder = grid.folder / "runs" / f"{name}-{place}-seed{seed}"
        measure(recipe, place, folder).save(grid.answers(name, place, seed))


def measure_frozen(grid: Grid, composed: Path) -> Measure:
    """Returns the measure of the setting `frozen`, on features that it reads or computes."""
    from aacf_tf.models.factory import make_backbone
    from aacf_tf.runs.run import Run

    recipe = make_recipe(grid, "average")
    source = Run.open(recipe, grid.data, grid.folder)
    material = {
        split: frozen.read_material(source, composed, split, grid.folder / f"{split}.npz")
        for split in folds.SPLITS
    }
    notes, labels = folds.read_notes(composed), load_info(grid.data).labels
    fold_of = np.array([notes["folds"][name] for name in material["train"].id])

    def measure(recipe: Recipe, place: str, folder: Path) -> Answers:
        split, rows, tested = "test", np.arange(len(fold_of)), np.arange(len(material["test"].id))
        if place != folds.OFFICIAL:
            held = fold_of == int(place.removeprefix("fold"))
            split, rows, tested = "train", np.flatnonzero(~held), np.flatnonzero(held)
        backbone = make_backbone(recipe)
        remedy = next((name for name in versions.REMEDIES if _has(recipe, name)), None)
        maps = None
        if remedy:
            path = grid.folder / f"{remedy}.npy"
            maps = frozen.read_changed(source, composed, remedy, material["train"], path)
        model = frozen.train_head(recipe, len(labels), material["train"], rows, backbone, maps)
        outputs = [
            frozen.predict(model, material[split], tested, len(labels), s) for s in (False, True)
        ]
        return judge(*outputs, _scenes(notes, split, labels), recipe.mask_threshold)

    return measure


def measure_tuned(grid: Grid, composed: Path) -> Measure:
    """Returns the measure of the setting `tuned`: trains a run, and judges and removes it."""
    from aacf_tf.evaluation import predictions
    from aacf_tf.runs.run import Run
    from aacf_tf.training import loop, restoring

    notes, labels = folds.read_notes(composed), load_info(grid.data).labels

    def measure(recipe: Recipe, place: str, folder: Path) -> Answers:
        data = folds.write_place(grid.data, composed, place, grid.workdir / "places" / place)
        current = Run.open(recipe, data, folder)
        loop.train(current)  # resumes
        model = restoring.restore(current, recipe.stages[-1])
        forward = predictions.compile_forward(current, model)
        outputs = [
            predictions.predict_split(current, model, name, forward) for name in ("test", "test_s")
        ]
        split = "test" if place == folds.OFFICIAL else "train"
        answers = judge(*outputs, _scenes(notes, split, labels), recipe.mask_threshold)
        shutil.rmtree(folder)  # 100 MB of checkpoints
        return answers

    return measure


def summarize(
    grid: Grid, prepared: Mapping[str, Recipe], cells: Sequence[tuple[str, int]]
) -> dict[str, dict[str, np.ndarray]]:
    """Returns variant -> figure -> values of `resample`; with both of RIVALS also BOTH."""
    answers = {
        name: [_weighed(grid, name, recipe, cell) for cell in cells]
        for name, recipe in prepared.items()
    }
    found = {name: resample(answers[name], recipe.score) for name, recipe in prepared.items()}
    if {*RIVALS} <= {*answers}:
        pairs = zip(*(answers[name] for name in RIVALS))
        both = resample([ensemble(*pair) for pair in pairs], "combined")
        maps = ("pointing", "mass", "auc")
        found[BOTH] = {k: v for k, v in both.items() if not k.endswith(maps)}
    return found


def select(found: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    """Returns average pooling's variants, and AACF's with the greatest mean AP on X and S."""
    ours = [name for name in found if name.startswith("apart")]
    best = sorted(ours, key=lambda name: -(found[name]["x"][0] + found[name]["s"][0]))
    return [name for name in RIVALS if name in found] + best[:1]


def table(found: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Formats a table of all variants: served score, action and combined, maps."""
    extra = ("x action", "x combined", "x average", "s action")
    columns = [*COLUMNS, *extra]
    rows = [
        [name, *(spread(values[key]) if key in values else "" for key in columns)]
        for name, values in found.items()
    ]
    return _markdown(["", *columns], rows)


def differences(found: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Formats each variant less each of average pooling's, paired, with standard errors."""
    rows = []
    for name, values in found.items():
        for rival in (*RIVALS, BOTH):
            if name in (*RIVALS, BOTH) or rival not in found:
                continue
            other = found[rival]
            known = [key in values and key in other for key in COLUMNS]
            cells = [spread(values[k] - other[k]) if yes else "" for k, yes in zip(COLUMNS, known)]
            rows.append([f"{name} - {rival}", *cells])
    return _markdown(["", *COLUMNS], rows) if rows else ""


def _weights(grid: Grid, prepared: Mapping[str, Recipe]) -> str:
    """Formats mean AP on X, on S and follow for other weights of `combined`."""
    rows = []
    for name, recipe in prepared.items():
        if recipe.head != "aacf" or recipe.loss.form != "apart":
            continue
        cells = [Answers.load(grid.answers(name, *cell)) for cell in grid.cells()]
        for v, w in WEIGHTS:
            weighed = [combine(answers, v, w) for answers in cells]
            measured = [figures(a, np.arange(len(a.clip)), "combined") for a in weighed]
            means = [np.mean([found[key] for found in measured]) for key in ("x", "s", "follow")]
            rows.append([name, f"{v:g}", f"{w:g}", *(f"{value:.3f}" for value in means)])
    if not rows:
        return ""
    head = ["", "v", "w", "x", "s", "follow"]
    return "`combined` as za + v zg + w zc\n\n" + _markdown(head, rows)


def _weighed(grid: Grid, name: str, recipe: Recipe, cell: tuple[str, int]) -> Answers:
    """Returns answers with `combined` as the recipe weighs it now."""
    answers = Answers.load(grid.answers(name, *cell))
    if recipe.head != "aacf":
        return answers
    apart = recipe.loss.form == "apart"
    return combine(answers, recipe.average_weight, recipe.context_weight if apart else 1.0)


def _has(recipe: Recipe, remedy: str) -> bool:
    """Returns whether a recipe changes clips by `swap` or by one of `versions.REMEDIES`."""
    return bool(getattr(recipe.data, remedy, 0) or getattr(recipe.loss, remedy, 0))


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _title(grid: Grid, where: str) -> str:
    kind = "photographs" if _are_photographs(grid.data) else "clips"
    return (
        f"**{grid.setting}, {kind}, {where}**, mean AP (x1, s1: top-1) of the served score, "
        f"{grid.seeds} seeds, {grid.folds} folds"
    )


def _are_photographs(data: Path) -> bool:
    return load_info(data).fps == 1.0


def _scenes(notes: Mapping[str, Any], split: str, labels: Sequence[str]) -> dict[str, int]:
    return {name: labels.index(of["label"]) for name, of in notes[f"{split}_s"].items()}


def claim(grid: Grid, name: str, recipe: Recipe) -> None:
    """Notes what a variant's answers are of; UsageError if others are there."""
    path = grid.folder / "answers" / name / "config.json"
    trained = {k: v for k, v in recipes.to_dict(recipe).items() if k not in CHOSEN_AFTERWARDS}
    content = {"recipe": trained, "data": digest(grid.data)}
    content = json.loads(json.dumps(content))
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != content:
        raise UsageError(
            f"--workdir: expected answers with these settings and data in {path.parent}, received "
            "other ones; remove that folder or give another --workdir."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
