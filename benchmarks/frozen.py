"""Trains heads on the features of a frozen backbone, for `real.py`: seconds a model.

The backbone runs once over every clip, its conjugate, and its actor in other scenes; the maps of
all stay in memory and serve every fold, variant and seed. Training draws between a clip and its
versions in other scenes where `data.swap` asks for it, and between it and what a remedy makes of it
(`versions.py`) in a recipe with one; no crops, no mirroring.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow import keras

from aacf_tf.evaluation import classification, localization
from aacf_tf.evaluation.predictions import SplitOutputs
from aacf_tf.models.factory import build_model
from aacf_tf.recipes import Recipe, plan_stage
from aacf_tf.runs.devices import keras_policy, resolve_precision
from aacf_tf.runs.run import Run
from aacf_tf.training.optimizers import make_optimizer
from aacf_tf.training.restoring import begin_backbone
from benchmarks import versions
from benchmarks.folds import TWINS, read_notes
from tfrecords.reading.remedies.batch import ERASED, MASKED
from tfrecords.utils.atomic import replacing
from tfrecords.utils.progress import progress

BATCH = 32
_LEAST_DEVIATION = 1e-3  # of a channel, as in training


class Material(NamedTuple):
    """The features of a split, N records in order.

    Attributes:
        id: Names, str `[N]`.
        targets: Class ids, int `[N]`.
        clip, conjugate, s: Maps of the clip, its conjugate, and its actor in the scene of another
            class, float16 `[N, t, h, w, D]`.
        twins: Maps of its actor in other scenes, float16 `[N, TWINS, t, h, w, D]`.
        partners: Whose scenes these are, int `[N, TWINS]`; -1: there is no such version.
        in_s: Whether it is in S, bool `[N]`.
        paired: Whether it has a conjugate, bool `[N]`; without one the clip stands in for it.
        coverage: Share of each cell that is the actor's, `[N, t, h, w]`.
        masked: Whether the actor is known, bool `[N]`.
    """

    id: np.ndarray
    targets: np.ndarray
    clip: np.ndarray
    conjugate: np.ndarray
    s: np.ndarray
    twins: np.ndarray
    partners: np.ndarray
    in_s: np.ndarray
    paired: np.ndarray
    coverage: np.ndarray
    masked: np.ndarray


def read_material(run: Run, composed: Path | None, split: str, path: Path) -> Material:
    """Reads the features of a split, or computes them and writes them to `path`.

    Args:
        run: Run whose recipe has a frozen backbone, on the source data.
        composed: Directory of `folds.compose`; None: without actors in other scenes.
        split: `train` or `test`.
        path: File of the features, .npz.
    """
    if not path.is_file():
        made = _compute(run, composed, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **made._asdict())
    with np.load(path) as arrays:
        return Material(**arrays)


def _compute(run: Run, composed: Path | None, split: str) -> Material:
    stage = run.recipe.stages[-1]
    model, forward = _open(run)

    def maps(source: Run, name: str, *streams: str) -> Iterator[tuple[dict[str, Any], Any]]:
        batches = source.batches(name, stage, training=False, masks=True)
        total = -(-source.info.splits[name]["clips"] // source.plan(stage).test_batch_size)
        for inputs, targets, _ in progress(batches, total=total, desc=f"features {name}"):
            found = {stream: forward(inputs[stream]).numpy() for stream in streams}
            found["id"] = inputs["id"].numpy().astype(str)
            if source is run:
                coverage = localization.cell_coverage(
                    inputs["mask"], found["clip"].shape[1:4], model.strides()
                ).numpy()
                found["coverage"] = coverage
                found["masked"] = inputs["has_mask"].numpy() & (coverage > 0).any((1, 2, 3))
                found["targets"] = targets.numpy()
                found["paired"] = inputs["has_conjugate"].numpy()
            yield found

    def joined(source: Run, name: str, *streams: str) -> dict[str, np.ndarray]:
        parts = list(maps(source, name, *streams))
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    found = joined(run, split, "clip", "conjugate")
    shape, none = found["clip"].shape, np.full(len(found["clip"]), -1)
    if composed is None:
        twins = np.zeros((shape[0], 0, *shape[1:]), "f2")
        partners = np.zeros((shape[0], 0), int)
        return Material(s=twins, in_s=none >= 0, twins=twins, partners=partners, **found)
    others = Run.open(run.recipe, composed, run.workdir)
    place = {name: n for n, name in enumerate(found["id"])}
    notes = read_notes(composed)
    versions = [f"{split}_s"] + [f"train_twin{n}" for n in range(TWINS) if split == "train"]
    stacks, partners = [], []
    for name in versions:
        stack = np.zeros_like(found["clip"])
        whose = none.copy()
        other = joined(others, name, "clip")
        rows = [place[one] for one in other["id"]]
        stack[rows] = other["clip"]
        whose[rows] = [place[notes[name][one]["scene"]] for one in other["id"]]
        stacks.append(stack)
        partners.append(whose)
    return Material(
        s=stacks[0],
        in_s=partners[0] >= 0,
        twins=np.stack(stacks[1:], 1) if stacks[1:] else np.zeros((shape[0], 0, *shape[1:]), "f2"),
        partners=np.stack(partners[1:], 1) if stacks[1:] else np.zeros((shape[0], 0), int),
        **found,
    )


def read_changed(
    run: Run, composed: Path, remedy: str, material: Material, path: Path
) -> np.ndarray:
    """Reads the features of the training clips as a remedy changes them, or computes them.

    Args:
        run, composed: As for `read_material`.
        remedy: One of `versions.REMEDIES`.
        material: Features of the clips.
        path: File of the features, .npy.

    Returns:
        float16 `[N, t, h, w, D]`, which stays on disk.
    """
    if not path.is_file():
        _, forward = _open(run)
        batches = run.batches("train", run.recipe.stages[-1], training=False, masks=True)
        frames, masks = zip(*((x["clip"].numpy(), x["mask"].numpy()) for x, _, _ in batches))
        notes = read_notes(composed)["folds"]
        of = np.array([notes[name] for name in material.id])
        clips = versions.change(
            remedy, np.concatenate(frames), np.concatenate(masks), of, material.targets,
            material.clip, run.recipe.pooled_length,
        )  # fmt: skip
        starts = progress(range(0, len(clips), BATCH), desc=f"features {remedy}")
        found = np.concatenate([forward(clips[n : n + BATCH]).numpy() for n in starts])
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.save(file, found)
    # Of clips each is a gigabyte, and in memory those of earlier variants did not seem to be freed.
    return np.load(path, mmap_mode="r")


def _open(run: Run) -> tuple[keras.Model, Any]:
    """Returns a run's model, and the function from frames to maps, float16, of its backbone."""
    with keras_policy(resolve_precision(run.recipe.precision)):
        model = run.build(run.recipe.stages[-1], backbone=begin_backbone(run, None))
    forward = tf.function(
        lambda frames: tf.cast(model.backbone(frames, training=False), tf.float16),
        reduce_retracing=True,
    )
    return model, forward


def train_head(
    recipe: Recipe,
    classes: int,
    material: Material,
    rows: np.ndarray,
    backbone: keras.Model,
    changed: np.ndarray | None = None,
) -> keras.Model:
    """Trains the head of a recipe's last stage on some rows of the features.

    Args:
        recipe: Recipe whose stage freezes the backbone.
        classes: Number of classes, K.
        material: Features of the training records.
        rows: Rows to train on.
        backbone: Network of the recipe's kind; its weights do not matter.
        changed: For a recipe with a remedy, the maps of `read_changed`.
    """
    stage = recipe.stages[-1]
    keras.utils.set_random_seed(recipe.seed)
    batch = min(stage.batch_size, len(rows))
    a_epoch = max(1, len(rows) // batch)
    plan = plan_stage(recipe, stage, a_epoch * stage.epochs)
    model = build_model(recipe, classes, stage=stage, backbone=backbone, steps=plan.steps)
    if model.head.standardized:
        pooled = material.clip[rows].astype(np.float32).mean((1, 2, 3))
        model.head.mean.assign(pooled.mean(0))
        model.head.deviation.assign(np.maximum(pooled.std(0), _LEAST_DEVIATION))
    model.compile(optimizer=make_optimizer(plan, model), weighted_metrics=[])

    def batches() -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]:
        random = np.random.default_rng(recipe.seed)
        ones = np.ones(batch, np.float32)
        for _ in range(stage.epochs):
            order = random.permutation(rows)[: a_epoch * batch].reshape(a_epoch, batch)
            for chosen in order:
                inputs, targets = _draw(material, chosen, plan.swap, random)
                if changed is not None:
                    maps = np.array(changed[chosen])
                    _apply(inputs, recipe, material.masked[chosen], maps, random)
                yield inputs, targets, ones

    example = next(batches())
    signature = tf.nest.map_structure(lambda v: tf.TensorSpec(v.shape, v.dtype), example)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    model.fit(dataset.prefetch(2), steps_per_epoch=plan.steps, epochs=1, verbose=0)
    return model


def _draw(
    material: Material, rows: np.ndarray, swap: float, random: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns a batch: clips, or in a share `swap` of it their actors in other scenes."""
    features, scenes = material.clip[rows], rows
    inputs: dict[str, np.ndarray] = {}
    if swap:
        twin = random.integers(0, TWINS, len(rows))
        whose = material.partners[rows, twin]
        swapped = (random.random(len(rows)) < swap) & (whose >= 0)
        features[swapped] = material.twins[rows[swapped], twin[swapped]]
        scenes = np.where(swapped, whose, rows)
        inputs.update(swapped=swapped, context_target=material.targets[scenes])
    inputs.update(
        features=features,
        conjugate_features=material.conjugate[scenes],
        has_conjugate=material.paired[scenes],
    )
    return inputs, material.targets[rows]


def _apply(
    inputs: dict[str, np.ndarray],
    recipe: Recipe,
    masked: np.ndarray,
    changed: np.ndarray,
    random: np.random.Generator,
) -> None:
    """Applies a recipe's remedy to a batch as `apply_remedies` does, by the maps `changed`."""
    if share := recipe.data.fame or recipe.data.stillmix:
        chosen = random.random(len(changed)) < share
        inputs["features"][chosen] = changed[chosen]
        inputs["has_conjugate"] = inputs["has_conjugate"] & ~chosen
    if recipe.loss.background_erasing:
        inputs[ERASED] = changed
    if recipe.loss.human_mask:
        inputs.update({MASKED: changed, "person": masked})


def predict(model: keras.Model, material: Material, rows: np.ndarray, labels: int, s: bool) -> Any:
    """Returns the outputs on some rows of the features, of X or of S.

    Args:
        model: Model of `train_head`.
        material: Features of the records.
        rows: Rows to predict.
        labels: Number of classes.
        s: Whether to predict S, those rows of it that there are.
    """
    if s:
        rows = rows[material.in_s[rows]]
    source = material.s if s else material.clip
    call = tf.function(lambda maps: model({"features": maps}), reduce_retracing=True)
    parts = [
        {name: value.numpy() for name, value in call(source[rows[n : n + BATCH]]).items()}
        for n in range(0, len(rows), BATCH)
    ]
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    evidence = outputs.get("action_attention")
    if evidence is None:
        evidence = localization.normalize_map(outputs["class_activation"]).numpy()
    return SplitOutputs(
        id=material.id[rows],
        targets=np.eye(labels, dtype=bool)[material.targets[rows]],
        evidence=evidence,
        masked=material.masked[rows],
        coverage=material.coverage[rows],
        scores={
            score: classification.to_probabilities(outputs[f"{score}_scores"], labels, False)
            for score in classification.SCORES
            if f"{score}_scores" in outputs
        },
    )
