"""How fast the backbones run here, measured against this machine's own matrix product.

    python benchmarks/backbones.py                      I3D to Mixed_5c, 64x224x224, float32
    python benchmarks/backbones.py --backbone=i3d,densenet161 --size=16x112x112
    python benchmarks/backbones.py --precision=mixed_bfloat16 --threads=4 --output=backbones.json

For each backbone: its cost in GFLOP, counted from its layers (a multiply-add is 2; convolutions and
matrix products alone), then one row for the product of two large matrices, for the backbone as it
is, with batch norms folded, and for the same network in PyTorch where PyTorch is installed. Each
round times every row once, one after the other, so that all see the same state of the machine: a
row's share of the peak is the median over the rounds of its rate by that of the product beside it.
Only an otherwise idle machine gives figures worth noting.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

from absl import flags

from aacf_tf.backbones import BACKBONES
from tfrecords import commandline
from tfrecords.errors import UsageError
from tfrecords.files import write_json

if TYPE_CHECKING:
    import tensorflow as tf
    import torch
    from tensorflow import keras

PRECISIONS = ("float32", "mixed_bfloat16")
PEAK = "matrix product"
# Of the square matrices, and products in a row: 232 GFLOP, about as long as I3D at 64x224x224.
# Larger matrices and other shapes are no faster.
PEAK_SIZE, PEAK_TIMES = 3072, 4
TORCH_NETWORKS = {"i3d": "I3D", "resnet3d34": "ResNet3D34", "densenet161": "DenseNet161"}


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    text, number = flags.DEFINE_string, flags.DEFINE_integer
    flags.DEFINE_list("backbone", ["i3d"], f"Of {', '.join(BACKBONES)}.")
    text("size", "64x224x224", "Of one clip: frames x height x width.")
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "Of the calculation.")
    number("rounds", 7, "Of which the median counts.", 1)
    number("threads", os.cpu_count() or 1, "For one layer; layers come one after the other.", 1)
    text("output", None, "File for all figures as JSON.")


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    options = flags.FLAGS
    size = parse_size(options.size)
    for name in options.backbone:
        if name not in BACKBONES:
            known = ", ".join(BACKBONES)
            raise UsageError(f"--backbone: expected some of {known}, received {name!r}.")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    print(
        f"one clip of {options.size}, {options.precision}, {options.threads} of {os.cpu_count()} "
        f"cores, TensorFlow {tf.__version__}",
        flush=True,
    )
    results = {}
    for name in options.backbone:
        results[name] = run(name, size, options.precision, options.rounds, options.threads)
        print(f"\n{table(name, results[name])}", flush=True)
    if options.output:
        settings = {name: getattr(options, name) for name in ("size", "precision", "threads")}
        write_json(Path(options.output), {**settings, "backbones": results})


def parse_size(text: str) -> tuple[int, int, int]:
    """`64x224x224` -> (64, 224, 224).

    Raises:
        UsageError: no such three numbers.
    """
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){2}", text):
        raise UsageError(
            f"--size: expected frames x height x width, 64x224x224; received {text!r}."
        )
    frames, height, width = map(int, text.split("x"))
    return frames, height, width


def run(
    name: str, size: tuple[int, int, int], precision: str, rounds: int, threads: int
) -> dict[str, Any]:
    """One backbone's figures.

    Returns:
        gflop: of one clip; rows: name -> milliseconds, one a round, gflops (10^9 a second, median)
        and, but for the matrix product, share of its rate (median).
    """
    import tensorflow as tf
    from tensorflow import keras

    from aacf_tf.backbones import build_backbone
    from aacf_tf.backbones.folding import fold_batch_norm
    from benchmarks.timing import measure

    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        backbone = build_backbone(name)
        folded = fold_batch_norm(backbone)
    finally:
        keras.mixed_precision.set_global_policy(before)
    shape = (1, *size, backbone.input_shape[-1])
    clip = tf.cast(tf.random.stateless_uniform(shape, [0, 0], 0, 256, tf.int32), tf.uint8)
    flop = sum(count_flop(backbone, shape).values())
    candidates = {
        PEAK: _matrix_product(tf.bfloat16 if "bfloat16" in precision else tf.float32),
        f"{name} as it is": _forward(backbone, clip),
        f"{name} folded": _forward(folded, clip),
    }
    candidates.update(_torch_forward(name, clip, precision, threads))
    seconds = {row: times.wall for row, times in measure(candidates, rounds).items()}
    flops = {**dict.fromkeys(candidates, flop), PEAK: PEAK_TIMES * 2 * PEAK_SIZE**3}
    rates = {row: [flops[row] / second / 1e9 for second in seconds[row]] for row in candidates}
    rows = {}
    for row, values in rates.items():
        rows[row] = {
            "milliseconds": [round(1000 * second, 3) for second in seconds[row]],
            "gflops": statistics.median(values),
        }
        if row != PEAK:
            shares = [value / peak for value, peak in zip(values, rates[PEAK])]
            rows[row]["share"] = statistics.median(shares)
    return {"gflop": flop / 1e9, "rows": rows}


def count_flop(model: keras.Model, shape: Sequence[int]) -> dict[str, int]:
    """What a model's convolutions and matrix products cost, layer by layer.

    Args:
        model: of one input.
        shape: of that input, batch included.

    Returns:
        Name of an operation, the layer's name in front -> floating point operations, two for each
        multiplication with its addition, padding included.
    """
    import tensorflow as tf

    forward = tf.function(lambda pixels: model(pixels, training=False))
    graph = forward.get_concrete_function(tf.TensorSpec(shape, model.input.dtype)).graph
    counts = {}
    for operation in graph.get_operations():
        if operation.type in ("Conv2D", "Conv3D"):
            kernel = operation.inputs[1].shape  # [..., channels in, channels out]
            terms = kernel[:-1].num_elements()
        elif operation.type == "MatMul":
            terms = operation.inputs[0].shape[-2 if operation.get_attr("transpose_a") else -1]
        else:
            continue
        counts[operation.name] = 2 * operation.outputs[0].shape.num_elements() * terms
    return counts


def table(name: str, result: Mapping[str, Any]) -> str:
    """The figures of `run` as a Markdown table."""
    rounds = len(result["rows"][PEAK]["milliseconds"])
    lines = [
        f"**{name}**, {result['gflop']:.2f} GFLOP, {rounds} interleaved rounds\n",
        "| | ms: min / median / max | GFLOP/s | of the peak |",
        "|---|---|---|---|",
    ]
    for row, figures in result["rows"].items():
        times = figures["milliseconds"]
        spread = " / ".join(f"{f(times):.1f}" for f in (min, statistics.median, max))
        share = f"{100 * figures['share']:.1f} %" if "share" in figures else ""
        lines.append(f"| {row} | {spread} | {figures['gflops']:.1f} | {share} |")
    return "\n".join(lines)


def _matrix_product(dtype: tf.DType) -> Callable[[], Any]:
    """The fastest thing a machine does with numbers of that type."""
    import tensorflow as tf

    shape = (PEAK_SIZE, PEAK_SIZE)
    a, b = (tf.cast(tf.random.stateless_normal(shape, [0, seed]), dtype) for seed in (0, 1))

    def product() -> None:
        for _ in range(PEAK_TIMES):
            tf.linalg.matmul(a, b)

    return product


def _forward(model: keras.Model, clip: tf.Tensor) -> Callable[[], Any]:
    import tensorflow as tf

    forward = tf.function(lambda pixels: model(pixels, training=False))
    return lambda: forward(clip)


def _torch_forward(
    name: str, clip: tf.Tensor, precision: str, threads: int
) -> dict[str, Callable[[], Any]]:
    """The same network in PyTorch on the same pixels; nothing where PyTorch is not installed.

    As it is and, where PyTorch finds a C++ compiler, compiled with its weights frozen, which folds
    batch norms and was the fastest of what PyTorch offers.
    """
    if name not in TORCH_NETWORKS or not importlib.util.find_spec("torch"):
        return {}
    import torch

    from benchmarks import torch_networks

    torch.set_num_threads(threads)
    network = getattr(torch_networks, TORCH_NETWORKS[name])().eval()
    pixels = torch.from_numpy(clip.numpy()).permute(0, 4, 1, 2, 3) / 127.5 - 1  # (B, C, T, H, W)
    if name == "densenet161":
        pixels = pixels[0].transpose(0, 1)  # frames are its batch: (T, C, H, W)

    def last_map(pixels: torch.Tensor) -> torch.Tensor:
        return [*network(pixels).values()][-1]

    networks = {f"PyTorch {torch.__version__}": last_map}
    if shutil.which("g++"):
        compiled = torch.compile(last_map, options={"freezing": True})
        networks[f"PyTorch {torch.__version__} compiled"] = compiled

    def forward(function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"):
            return function(pixels)

    return {row: functools.partial(forward, function) for row, function in networks.items()}


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
