"""Converts exported models for other runtimes; compares their outputs and speed with TensorFlow's.

    python benchmarks/conversions.py                              demo, jhmdb and i3d, batch 1
    python benchmarks/conversions.py --model=i3d --batch=1,8 --output=benchmarks/results/conversions

Rows: the backbone alone, as a TensorFlow function; the signatures `serve_tensor` and
`serve_resized` of the SavedModel, on frames of the model's own size; `serve_resized` converted for
ONNX Runtime, TensorFlow Lite (built-in operators only) and OpenVINO, each by its own converter, as
in docs/serving.md. The I3D is that of `hollywood2` with `--size`. Weights are random, such that
activations stay near 1. `pip install -e '.[convert]'` brings the converters; the rows of those that
are missing are left out.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

from absl import flags

from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    from benchmarks.sheet import Sheet

MODELS = ("demo", "jhmdb", "i3d")
SIGNATURE = "serve_resized"
BARE, TENSOR, RESIZED = "backbone alone", "serve_tensor", SIGNATURE
WANTED = 0.9  # of the bare backbone's speed: both signatures of I3D
LIMIT = 1e-4  # largest error of a converted model
Clips = Any  # uint8 [B, T, h, w, 3]
Outputs = dict  # name -> array


def to_onnx(version: Path, file: Path) -> None:
    """Converts a version of a model for ONNX Runtime."""
    command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", str(version)]
    options = ["--signature_def", SIGNATURE, "--opset", "17", "--output", str(file)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])


def run_onnx(file: Path, threads: int) -> Callable[[Clips], Outputs]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda clips: dict(zip(names, session.run(names, {"frames": clips})))


def to_tflite(version: Path, file: Path) -> None:
    """Converts a version of a model for TensorFlow Lite, with its built-in operators alone."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(version), [SIGNATURE])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    file.write_bytes(converter.convert())


def run_tflite(file: Path, threads: int) -> Callable[[Clips], Outputs]:
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(file), num_threads=threads)
    runner = interpreter.get_signature_runner(SIGNATURE)  # resizes to any batch
    return lambda clips: runner(frames=clips)


def to_openvino(version: Path, file: Path) -> None:
    """Converts a version of a model for OpenVINO, by way of ONNX."""
    import openvino

    onnx = file.with_suffix(".onnx")
    to_onnx(version, onnx)
    openvino.save_model(openvino.convert_model(onnx), file, compress_to_fp16=False)


def run_openvino(file: Path, threads: int) -> Callable[[Clips], Outputs]:
    import openvino

    # Otherwise it computes in bfloat16 where the processor has it.
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    model = openvino.Core().compile_model(file, "CPU", options)
    return lambda clips: {
        output.get_any_name(): value for output, value in model([clips]).to_dict().items()
    }


# Runtime: the packages it needs, ending of its files, conversion, and what makes it run.
RUNTIMES: Mapping[str, tuple[tuple[str, ...], str, Callable, Callable]] = {
    "ONNX Runtime": (("tf2onnx", "onnxruntime"), ".onnx", to_onnx, run_onnx),
    "TensorFlow Lite": (("tensorflow",), ".tflite", to_tflite, run_tflite),
    "OpenVINO": (("tf2onnx", "openvino"), ".xml", to_openvino, run_openvino),
}


def is_installed(runtime: str) -> bool:
    """Whether all packages that a runtime and its converter need can be imported."""
    return all(importlib.util.find_spec(package) for package in RUNTIMES[runtime][0])


def largest_error(outputs: Outputs, expected: Outputs) -> float:
    """Returns the largest error; that of logits is relative to their largest value."""
    import numpy as np

    errors = []
    for name, value in expected.items():
        absolute = name.endswith(("probabilities", "attention"))
        scale = 1.0 if absolute else np.abs(value).max()
        errors.append(np.abs(outputs[name] - value).max() / scale)
    return float(max(errors))


@functools.cache
def export_model(name: str, size: tuple[int, int, int], directory: Path) -> tuple[Any, Path]:
    """Exports a model with random weights; returns its backbone, folded, and the version."""
    import numpy as np
    from tensorflow import keras

    from aacf_tf import build_model
    from aacf_tf.backbones.batch_norm import fold_batch_norm
    from aacf_tf.recipes import load_recipe
    from aacf_tf.serving.export import export

    recipe = load_recipe("hollywood2" if name == "i3d" else name)
    if name == "i3d":
        frames, height, width = size
        data = dataclasses.replace(recipe.data, frames=frames, height=height, width=width)
        recipe = dataclasses.replace(recipe, data=data, modality="rgb")
    keras.utils.set_random_seed(0)
    labels = [f"class {n}" for n in range(12)]
    model = build_model(recipe, len(labels))
    draw = np.random.default_rng(0)
    for variable in model.variables:
        if "kernel" in variable.name:
            scale = np.sqrt(2 / np.prod(variable.shape[:-1]))
            variable.assign(draw.normal(0, scale, variable.shape))
        elif "gamma" in variable.name or "variance" in variable.name:
            variable.assign(draw.uniform(0.5, 1.5, variable.shape))
        elif variable.dtype.is_floating:
            variable.assign(draw.normal(0, 0.2, variable.shape))
    return fold_batch_norm(model.backbone), export(model, recipe, labels, directory / name)


def run(
    name: str, batch: int, size: tuple[int, int, int], rounds: int, threads: int, directory: Path
) -> Sheet:
    """Measures one model with one size of batch."""
    import numpy as np
    import tensorflow as tf

    from benchmarks import sheet

    backbone, version = export_model(name, size, directory)
    signatures = tf.saved_model.load(str(version)).signatures
    shape = signatures[SIGNATURE].structured_input_signature[1]["frames"].shape[1:]
    clips = np.random.default_rng(1).integers(0, 256, [batch, *shape], np.uint8)
    constant = tf.constant(clips)
    alone = tf.function(functools.partial(backbone, training=False)).get_concrete_function(constant)
    expected = {key: value.numpy() for key, value in signatures[RESIZED](frames=constant).items()}
    calls: dict[str, Callable[[], Any]] = {BARE: functools.partial(alone, constant)}
    for signature in (TENSOR, RESIZED):
        calls[signature] = functools.partial(signatures[signature], frames=constant)
    notes = []
    for runtime, (packages, suffix, convert, start) in RUNTIMES.items():
        if not is_installed(runtime):
            notes.append(f"{runtime}: {' or '.join(packages)} is not installed.")
            continue
        file = directory / f"{name}-{runtime.replace(' ', '-')}{suffix}"
        if not file.is_file():
            convert(version, file)
        calls[runtime] = functools.partial(start(file, threads), clips)
        error = largest_error(calls[runtime](), expected)
        notes.append(f"{runtime}: largest error {error:.1e} (wanted: at most {LIMIT:g}).")
    wanted = {(row, BARE): WANTED for row in (TENSOR, RESIZED)} if name == "i3d" else {}
    return sheet.measure(
        f"{name} {'x'.join(map(str, shape[:3]))}, batch {batch}",
        {row: sheet.Candidate(functools.partial(_same, call)) for row, call in calls.items()},
        rounds=rounds,
        threads=threads,
        settings={"batch": batch},
        wanted=wanted,
        notes=notes,
    )


def _same(call: Callable[[], Any]) -> Callable[[], Any]:
    return call


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    from benchmarks import sheet

    flags.DEFINE_list("model", [*MODELS], f"Of {', '.join(MODELS)}.")
    flags.DEFINE_list("batch", ["1"], "Clips in a call.")
    flags.DEFINE_string("size", "16x112x112", "Of one clip of I3D: frames x height x width.")
    sheet.define_flags(rounds=5)


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    options = flags.FLAGS
    if unknown := {*options.model} - {*MODELS}:
        raise UsageError(f"--model: expected some of {MODELS}, received {min(unknown)!r}.")
    if not all(batch.isdigit() and int(batch) for batch in options.batch):
        raise UsageError(f"--batch: expected numbers of clips, received {options.batch}.")
    from benchmarks import machine, sheet
    from benchmarks.backbones import parse_size

    size = parse_size(options.size)
    machine.hold(options.threads)
    print(sheet.machine_line(), flush=True)
    sheets = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.model:
            for batch in map(int, options.batch):
                sheets.append(run(name, batch, size, options.rounds, options.threads, Path(folder)))
                print(f"\n{sheet.markdown(sheets[-1])}", flush=True)
    if options.output:
        sheet.write(options.output, sheets)


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
