"""Can a filled hole be seen? A classifier of filled photographs against untouched ones.

    python -m tfrecords.build --source=csv --input=clips.csv --stills=3 --output=data/stills
    python -m tfrecords.build ... --decoys --output=data/telea
    python -m tfrecords.build ... --decoys --filler=runs/completion/export/completion ...
    python benchmarks/fillings.py --untouched=data/stills --filled=data/telea,data/network

The directories hold the same photographs, with their people; in those of `--filled` a region away
from all people is filled (`--decoys`). Of each directory a network of its own learns, from scratch,
which of the two it sees: the backbone of the recipe `stills`, average pooling and one logit. Frames
of one clip are on one side of the division into training and test. Accuracy .5 and AUC .5: a
filling cannot be seen, so that no network can learn that a conjugate is one by its filling.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any, Sequence

import numpy as np
from absl import flags

from tfrecords.utils import commandline
from tfrecords.utils.atomic import write_json
from tfrecords.utils.errors import UsageError
from tfrecords.utils.progress import progress

HELD_OUT = 0.3  # share of the clips or photographs
SIZE = (128, 160)  # pixels: the recipe's shorter side, and a shape between 1:1 and 16:9
BATCH = 32  # of which half are filled
MIN_PICTURES = 20


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    flags.DEFINE_string("untouched", None, "Data set directory built without --decoys.")
    flags.DEFINE_list("filled", [], "Data set directories of the same pictures, with --decoys.")
    flags.DEFINE_integer("epochs", 12, "Of training.", 1)
    flags.DEFINE_integer("seed", 0, "Of weights and order.")
    flags.DEFINE_string("output", None, "File for all figures as JSON.")


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    options = flags.FLAGS
    if not options.untouched or not options.filled:
        raise UsageError("Expected --untouched=DIR and --filled=DIR,DIR..., received none.")
    untouched = read(options.untouched)
    results = {}
    for directory in options.filled:
        pairs = match(untouched, read(directory), directory)
        results[directory] = judge(*pairs, options.epochs, options.seed, directory)
        print(table(results), flush=True)
    if options.output:
        write_json(Path(options.output), results)


def read(directory: str) -> dict[str, np.ndarray]:
    """The pictures of `train` by their ids: uint8 [H, W, 3], of `SIZE`."""
    from tfrecords.reading.clips import read_dataset
    from tfrecords.reading.corruption import translate_errors
    from tfrecords.records.dataset import load_info

    load_info(directory).require_split("train")
    batches = read_dataset(directory, "train", 1, SIZE, 32, False, frozen_conjugates=1.0)
    found = {}
    with translate_errors(directory):
        for inputs, _, _ in batches:
            names = inputs["id"].numpy().astype(str)
            found.update(zip(names, inputs["clip"].numpy()[:, 0]))
    return found


def match(
    untouched: dict[str, np.ndarray], filled: dict[str, np.ndarray], directory: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids and pictures [N, H, W, 3], without and with a filling, of those that have one."""
    names = [n for n in sorted(untouched) if n in filled and (untouched[n] != filled[n]).any()]
    if len(names) < MIN_PICTURES:
        raise UsageError(
            f"--filled: expected {MIN_PICTURES} or more pictures of --untouched with a filling in "
            f"{directory}, received {len(names)}."
        )
    return names, np.stack([untouched[n] for n in names]), np.stack([filled[n] for n in names])


def held_out(names: Sequence[str]) -> np.ndarray:
    """Chooses the held-out rows, bool [N], by the clip's name before the frame's number."""
    digests = [hashlib.sha256(name.rpartition("#")[0].encode() or name.encode()) for name in names]
    return np.array([int(d.hexdigest()[:8], 16) < HELD_OUT * 2**32 for d in digests])


def judge(
    names: Sequence[str],
    untouched: np.ndarray,
    filled: np.ndarray,
    epochs: int,
    seed: int,
    title: str,
) -> dict[str, Any]:
    """Trains a classifier and tests it on the pictures held out.

    Returns:
        pictures, accuracy and auc on those held out; paired_accuracy: how often the filled one of
        a pair has the higher logit.
    """
    from sklearn.metrics import roc_auc_score

    test = held_out(names)
    predict = train(untouched[~test], filled[~test], epochs, seed, title)
    logits = np.stack([predict(pictures[test]) for pictures in (untouched, filled)])
    wanted = np.repeat([0, 1], test.sum())
    return {
        "pictures": int(test.sum()),
        "accuracy": float(((logits > 0) == [[False], [True]]).mean()),
        "auc": float(roc_auc_score(wanted, logits.ravel())),
        "paired_accuracy": float((logits[1] > logits[0]).mean()),
    }


def train(untouched: np.ndarray, filled: np.ndarray, epochs: int, seed: int, title: str) -> Any:
    """A function from pictures [N, H, W, 3] to logits [N], above 0: filled."""
    import tensorflow as tf
    from tensorflow import keras

    from aacf_tf.backbones import build_backbone
    from aacf_tf.recipes import load_recipe

    keras.utils.set_random_seed(seed)
    recipe = load_recipe("stills")
    backbone = build_backbone(recipe.backbone, **recipe.backbone_options)
    pooled = keras.layers.GlobalAveragePooling3D()(backbone.output)
    model = keras.Model(backbone.input, keras.layers.Dense(1)(pooled))
    steps = epochs * (len(untouched) // (BATCH // 2))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=2e-3, warmup_steps=steps // 10
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.05)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def step(pictures: tf.Tensor, wanted: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            value = loss(wanted, model(pictures[:, None], training=True))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables))

    rng = np.random.default_rng(seed)
    wanted = tf.constant([[0.0]] * (BATCH // 2) + [[1.0]] * (BATCH // 2))
    for _ in progress(range(epochs), desc=title, unit="epoch"):
        order = rng.permutation(len(untouched))
        for first in range(0, len(order) - BATCH // 2 + 1, BATCH // 2):
            chosen = order[first : first + BATCH // 2]
            # A picture and its filled twin in one batch: nothing else tells them apart.
            pictures = np.concatenate([untouched[chosen], filled[chosen]])
            step(tf.constant(pictures[:, :, :: rng.choice([1, -1])]), wanted)

    def predict(pictures: np.ndarray) -> np.ndarray:
        return model.predict(pictures[:, None], batch_size=BATCH, verbose=0)[:, 0]

    return predict


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown, a row a directory."""
    lines = [
        "| filled pictures | held out | accuracy | AUC | of a pair the filled one |",
        "|---|---|---|---|---|",
    ]
    for name, found in results.items():
        cells = [f"{found[key]:.3f}" for key in ("accuracy", "auc", "paired_accuracy")]
        lines.append(f"| {name} | {found['pictures']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
