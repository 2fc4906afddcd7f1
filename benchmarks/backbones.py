"""Measures the inference speed of the backbones against PyTorch and the machine's own limit.

    python benchmarks/backbones.py                      I3D to Mixed_5c, 64x224x224, float32
    python benchmarks/backbones.py --backbone=i3d,densenet161 --size=16x112x112
    python benchmarks/backbones.py --precision=mixed_bfloat16 --threads=2 --output=backbones

Rows: the backbone as it is; with batch norms folded, as every export has it; folded, with
3x3x3 convolutions by Winograd's method where that is faster (`export_winograd`); and PyTorch, eager
and compiled, with channels second and last. In bfloat16 also the folded one in float32.
Weights are random, such that activations stay near 1.

GFLOP are those of the backbone as it is, counted from its layers; Winograd's method does the same
with a quarter of the multiplications, so that its share of the peak may exceed 100 %.
"""

from __future__ import annotations

import functools
import os
import re
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

from absl import flags

from aacf_tf.backbones import BACKBONES
from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    from tensorflow import keras

    from benchmarks.sheet import Sheet

Size = tuple  # frames, height, width
PRECISIONS = ("float32", "mixed_bfloat16")
AS_IT_IS, FOLDED, WINOGRAD, IN_FLOAT32 = "as it is", "folded", "Winograd", "folded, float32"
TORCH_NETWORKS = {"i3d": "I3D", "resnet3d34": "ResNet3D34", "densenet161": "DenseNet161"}
# Row -> options of torch.compile, or None for eager; and whether channels come last in memory.
TORCH_FORMS: Mapping[str, tuple[dict[str, bool] | None, bool]] = {
    "PyTorch eager": (None, False),
    "PyTorch eager, channels last": (None, True),
    "PyTorch compiled": ({}, False),
    "PyTorch compiled, frozen": ({"freezing": True}, False),
    "PyTorch compiled, frozen, channels last": ({"freezing": True}, True),
}
WANTED = 1.35  # times as fast as the fastest of PyTorch's rows: the folded network in float32
WANTED_GAIN = 1.2  # of Winograd's method over the folded network


def define_flags() -> None:
    """In a function, since every command has flags of its own."""
    from benchmarks import sheet

    flags.DEFINE_list("backbone", ["i3d"], f"Of {', '.join(BACKBONES)}.")
    flags.DEFINE_string("size", "64x224x224", "Of one clip: frames x height x width.")
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "Of the calculation.")
    flags.DEFINE_bool("memory", True, "Measure memory too, in a process for each row.")
    sheet.define_flags()


def main(arguments: Sequence[str]) -> None:
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    options = flags.FLAGS
    size = parse_size(options.size)
    for name in options.backbone:
        if name not in BACKBONES:
            known = ", ".join(BACKBONES)
            raise UsageError(f"--backbone: expected some of {known}, received {name!r}.")
    from benchmarks import machine, sheet

    machine.hold(options.threads)
    print(sheet.machine_line(), flush=True)
    sheets = []
    for name in options.backbone:
        sheets.append(
            run(name, size, options.precision, options.rounds, options.threads, options.memory)
        )
        print(f"\n{sheet.markdown(sheets[-1])}", flush=True)
    if options.output:
        sheet.write(options.output, sheets)


def parse_size(text: str) -> Size:
    """Parses `64x224x224` as (64, 224, 224).

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
    name: str, size: Size, precision: str, rounds: int, threads: int, memory: bool = False
) -> Sheet:
    """Measures one backbone on one clip."""
    from benchmarks import machine, sheet

    makers = {
        AS_IT_IS: functools.partial(forward, name, size, precision, AS_IT_IS),
        FOLDED: functools.partial(forward, name, size, precision, FOLDED),
    }
    if precision == "float32":
        makers[WINOGRAD] = functools.partial(forward, name, size, precision, WINOGRAD)
    else:
        makers[IN_FLOAT32] = functools.partial(forward, name, size, "float32", FOLDED)
    notes = [_errors(makers, name, size)]
    if name in TORCH_NETWORKS:
        notes += machine.missing_peers()
        makers.update(torch_rows(name, size, precision, threads))
    gflop = sum(count_flop(build(name, "float32"), (1, *size, 3)).values()) / 1e9
    candidates = {sheet.PEAK: sheet.peak("bfloat16" if "bfloat16" in precision else "float32")}
    candidates.update(
        {row: sheet.Candidate(make, gflop, memory=memory) for row, make in makers.items()}
    )
    result = sheet.measure(
        f"{name} {'x'.join(map(str, size))}",
        candidates,
        rounds=rounds,
        threads=threads,
        settings={"batch": 1, "precision": precision},
        wanted={(WINOGRAD, FOLDED): WANTED_GAIN, (FOLDED, IN_FLOAT32): 1.0},
        notes=notes,
    )
    peers = [row for row in result.rows if row in TORCH_FORMS]
    if peers:
        fastest = min(peers, key=lambda row: statistics.median(result.rows[row].milliseconds))
        for row in (FOLDED, WINOGRAD):
            if row in result.rows:
                pair = (result.rows[r].milliseconds for r in (fastest, row))
                value = statistics.median(a / b for a, b in zip(*pair))
                least = WANTED if (row, precision) == (FOLDED, "float32") else 1.0
                result.ratios.append(sheet.Ratio(row, fastest, value, least))
    return result


def count_flop(model: keras.Model, shape: Sequence[int]) -> dict[str, int]:
    """Counts what a model's convolutions and matrix products cost, layer by layer.

    Args:
        model: Network of one input.
        shape: Shape of that input, batch included.

    Returns:
        Name of an operation, the layer's name in front -> floating point operations, two for each
        multiplication with its addition, padding included.
    """
    import tensorflow as tf

    call = tf.function(lambda pixels: model(pixels, training=False))
    graph = call.get_concrete_function(tf.TensorSpec(shape, model.input.dtype)).graph
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


@functools.cache
def build(name: str, precision: str) -> keras.Model:
    """Builds a backbone with random weights that keep activations near 1, always the same."""
    import numpy as np
    from tensorflow import keras

    from aacf_tf.backbones import build_backbone

    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        backbone = build_backbone(name)
    finally:
        keras.mixed_precision.set_global_policy(before)
    draw = np.random.default_rng(0)
    for variable in backbone.variables:
        values = draw.standard_normal(variable.shape, np.float32)
        if "kernel" in variable.name:
            values *= np.sqrt(2 / np.prod(variable.shape[:-1]), dtype=np.float32)
        elif "gamma" in variable.name or "variance" in variable.name:
            values = 0.5 + np.abs(values)
        else:
            values *= 0.2
        variable.assign(values)
    return backbone


def clip_of(size: Size) -> Any:
    """Returns a clip of noise, uint8 [1, T, H, W, 3], always the same."""
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, [1, *size, 3], np.uint8)


@functools.cache  # for the errors and for the times
def forward(name: str, size: Size, precision: str, form: str) -> Callable[[], Any]:
    """Returns inference of one clip by a backbone in one of its forms."""
    import tensorflow as tf

    from aacf_tf.backbones.batch_norm import fold_batch_norm
    from aacf_tf.backbones.winograd import use_winograd

    model = build(name, precision)
    if form != AS_IT_IS:
        model = fold_batch_norm(model)
    if form == WINOGRAD:
        model, _ = use_winograd(model, size)
    clip = tf.constant(clip_of(size))
    call = tf.function(functools.partial(model, training=False)).get_concrete_function(clip)
    return functools.partial(call, clip)


def torch_rows(
    name: str, size: Size, precision: str, threads: int
) -> dict[str, Callable[[], Callable[[], Any]]]:
    """Returns the rows of PyTorch that can run here, as what makes each."""
    import shutil

    from benchmarks import machine

    if not machine.has_torch():
        return {}
    return {
        row: functools.partial(torch_forward, name, size, precision, threads, row)
        for row, (options, _) in TORCH_FORMS.items()
        if options is None or shutil.which("g++")
    }


def torch_forward(
    name: str, size: Size, precision: str, threads: int, row: str
) -> Callable[[], Any]:
    """Returns inference of one clip by the same network in PyTorch, in one of `TORCH_FORMS`."""
    import torch

    from benchmarks import torch_networks

    torch.set_num_threads(threads)
    if os.environ.get("ATEN_CPU_CAPABILITY") == "avx2":
        torch._inductor.config.cpp.simdlen = 256  # the compiler has a switch of its own
    options, channels_last = TORCH_FORMS[row]
    network = torch_networks.randomize(getattr(torch_networks, TORCH_NETWORKS[name])(), 0)
    pixels = torch.from_numpy(clip_of(size)).permute(0, 4, 1, 2, 3) / 127.5 - 1  # (B, C, T, H, W)
    layout = torch.channels_last_3d
    if name == "densenet161":
        pixels, layout = pixels[0].transpose(0, 1), torch.channels_last  # frames are its batch
    layout = layout if channels_last else torch.contiguous_format
    network, pixels = network.to(memory_format=layout), pixels.contiguous(memory_format=layout)

    def last_map(pixels: torch.Tensor) -> torch.Tensor:
        return [*network(pixels).values()][-1]

    function = last_map if options is None else torch.compile(last_map, options=options)

    def call() -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"):
            return function(pixels)

    call()  # compiles; the memory that takes is not counted
    return call


def _errors(makers: Mapping[str, Callable[[], Callable[[], Any]]], name: str, size: Size) -> str:
    """Returns a sentence with the error of each form against the backbone as it is in float32."""
    import numpy as np

    expected = forward(name, size, "float32", AS_IT_IS)().numpy()
    errors = {}
    for row, make in makers.items():
        found = make()().numpy().astype(np.float32)
        errors[row] = np.abs(found - expected).max() / np.abs(expected).max()
    listed = ", ".join(f"{row} {error:.1e}" for row, error in errors.items())
    return f"Largest error of the last map, relative to its largest value in float32: {listed}."


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
