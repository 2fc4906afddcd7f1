"""Surfaces of models: checkpoints, weight files, requests to a served model."""

from __future__ import annotations

import dataclasses
import re
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing.data import LABELS, make_pairs
from fuzzing.media import make_images
from fuzzing.surface import Reader, Surface
from torch_writer import TorchFiles
from weight_tools import WeightTools

from tfrecords.utils.errors import UserError

FRAMES = 4
DATA = ".data-00000-of-00001"


def _recipe() -> Any:
    from aacf_tf.recipes import load_recipe

    recipe = load_recipe("demo")
    data = dataclasses.replace(
        recipe.data, frames=FRAMES, height=24, width=24, fps=0.0, resize="stretch"
    )
    options = {"data": data, "backbone_options": {"width": 4}, "hidden": 4}
    return dataclasses.replace(recipe, precision="float32", **options)


def _model() -> Any:
    from tensorflow import keras

    from aacf_tf import build_model

    keras.utils.set_random_seed(0)
    return build_model(_recipe(), len(LABELS))


# ---- checkpoints and weight files ----------------------------------------------------------------


def _make_checkpoints(folder: Path) -> None:
    import tensorflow as tf

    from aacf_tf.runs.checkpoints import parts

    model = _model()
    epoch = tf.Variable(1, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(epoch=epoch, **parts(model))
    tf.train.CheckpointManager(checkpoint, str(folder), 1).save(checkpoint_number=1)
    state = folder / "checkpoint"  # it tells the time
    state.write_text(re.sub(r"(timestamps?): [\d.]+", r"\1: 1.0", state.read_text()))
    WeightTools.write_checkpoint(folder / "names", WeightTools.by_name(model.backbone))


def _open_checkpoints(seeds: Path, folder: Path) -> Reader:
    import tensorflow as tf

    from aacf_tf.runs import checkpoints
    from aacf_tf.weights import checkpoint_folder
    from aacf_tf.weights.own_runs import load_attention

    model = _model()
    whole = tf.train.Checkpoint(**checkpoints.parts(model))

    def read(path: Path) -> Any:
        home = folder / "run"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        for seed in seeds.iterdir():
            (home / seed.name).symlink_to(seed)
        (home / path.name).unlink()
        shutil.copy(path, home / path.name)
        if path.name == "checkpoint":
            checkpoint_folder.newest(home)
            checkpoint_folder.tidy(home)
            return _load(model.backbone, home)
        prefix = str(home / path.name.partition(".")[0])
        if path.name.startswith("ckpt"):
            checkpoints.epochs_in(prefix)
            checkpoints.read(whole, prefix)
            load_attention(model.head, prefix)
        return _load(model.backbone, Path(prefix))

    return read


def _make_weights(folder: Path) -> None:
    backbone = _model().backbone
    values = WeightTools.by_name(backbone)
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, value in values.items():
        layers.setdefault(name.rpartition("/")[0], {})[f"{name}:0"] = value
    WeightTools.write_h5(folder / "named.h5", layers)
    backbone.save_weights(folder / "own.weights.h5")
    state: Any = WeightTools.torch_state(values)
    torch = TorchFiles()
    attack = TorchFiles.Call(TorchFiles.Global("os", "system"), ("touch executed",))
    torch.save(folder / "zip.pth", {"state_dict": state, "arch": "small"})
    torch.save(folder / "attack.pth", {"state_dict": {**state, "a": attack}})
    torch.save(folder / "legacy.pth", state, "legacy")
    for path in (folder / "zip.pth", folder / "attack.pth"):  # members tell the time
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, body in members.items():
                archive.writestr(zipfile.ZipInfo(name), body)
    np.savez(folder / "arrays.npz", **{name.replace("/", "."): v for name, v in values.items()})


def _open_weights(seeds: Path, folder: Path) -> Reader:
    backbone = _model().backbone
    return lambda path: _load(backbone, path)


def _load(backbone: Any, path: Path) -> Any:
    """Loads a file into a backbone; of other frameworks' files, which do not fit it, all values."""
    from aacf_tf.weights import files, load_weights

    if path.suffix == ".h5":  # to recognise it takes as long as to read it
        return load_weights(backbone, path)
    kind, place = files.recognise(path)
    if kind in (files.PYTORCH, files.TENSORFLOW):
        return files.read_file(kind, place)
    return load_weights(backbone, path)


# ---- a served model ------------------------------------------------------------------------------


def _make_wire(folder: Path) -> None:
    from aacf_tf.serving.export import export
    from tfrecords.records import codec

    export(_model(), _recipe(), LABELS, folder / "model")
    make_images(folder)
    for path in (*folder.glob("*.tif"), *folder.glob("*.bmp"), *folder.glob("*.webp")):
        path.unlink()  # of formats that are refused, one is enough
    record = codec.encode(make_pairs(1)[0], {label: n for n, label in enumerate(LABELS)}, "PNG")
    (folder / "example.record").write_bytes(record)


def _open_wire(seeds: Path, folder: Path) -> Reader:
    import tensorflow as tf

    saved = tf.saved_model.load(str(seeds / "model" / "1"))
    serve, serve_examples = (
        saved.signatures[name] for name in ("serving_default", "serve_examples")
    )
    good = (seeds / "a.png").read_bytes()

    def read(path: Path) -> Any:
        data = path.read_bytes()
        # One request in eight has frames too many, too few, or none.
        odd = {0: (1, FRAMES + 1), 8: (2, FRAMES - 1), 16: (0, FRAMES), 24: (FRAMES,)}
        shape = odd.get(zlib.crc32(data) % 32, (1 + zlib.crc32(data) % 2, FRAMES))
        frames = np.full(shape, good, object)
        frames.flat[:1] = data
        try:
            if path.suffix == ".record":
                shape, outputs = (1, FRAMES), serve_examples(examples=tf.constant([data]))
            else:
                outputs = serve(frames=tf.constant(frames, tf.string))
        except tf.errors.InvalidArgumentError as error:  # which the server sends to its client
            raise UserError(error.message.splitlines()[0]) from error
        assert shape[1:] == (FRAMES,), f"frames of the shape {shape} are answered"
        for name, value in outputs.items():
            assert len(value) == shape[0], f"{name}: {len(value)} answers for {shape[0]} clips"
            assert np.isfinite(value).all(), f"{name} is not finite"

    return read


CHECKPOINTS = Surface(_make_checkpoints, _open_checkpoints)
WEIGHTS = Surface(_make_weights, _open_weights)
WIRE = Surface(_make_wire, _open_wire)
