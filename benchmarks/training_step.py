"""Measures a training step against the same step in PyTorch.

    python benchmarks/training_step.py                     all networks, all precisions
    python benchmarks/training_step.py --networks=i3d --precisions=float32 --rounds=11
    python benchmarks/training_step.py --output=benchmarks/results/training_step

A step is a backbone that learns, average pooling, a linear classifier, cross entropy and Adam with
coupled weight decay, on random pixels. The TensorFlow row is the function that `model.fit` calls,
with its metrics and the norm of the gradient; the PyTorch rows hold the same layers, loss and
optimizer, channels last, as they are (eager) and compiled, with the fused form of Adam, which is
the fastest that PyTorch offers. Where there is no PyTorch, or no C++ compiler for the compiled row,
rows are left out with a word.

`mixed_bfloat16` is measured by default where the processor has instructions for it (avx512_bf16,
amx), as `--precision=auto` of training takes it there; its table answers what it gains.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Sequence

if __name__ == "__main__":  # run as a file it finds its neighbours all the same
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from absl import flags

from benchmarks import machine, sheet
from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError

if TYPE_CHECKING:
    import torch

    from aacf_tf.models.action_model import ActionModel

CLASSES = 21
WEIGHT_DECAY = 1e-4
PRECISIONS = ("float32", "mixed_bfloat16")


class Network(NamedTuple):
    """A backbone at the size at which it trains.

    Attributes:
        backbone: Name of the backbone, and its options.
        peer: class of `benchmarks.torch_networks`.
        shape: Shape of a batch, `[B, T, H, W, C]`.
        mean, deviation: that the pixels are scaled by.
        wanted: Target speed-up over PyTorch.
    """

    backbone: str
    options: dict[str, Any]
    peer: str
    shape: tuple[int, int, int, int, int]
    mean: float
    deviation: float
    wanted: float


NETWORKS = {
    "i3d": Network("i3d", {}, "I3D", (2, 16, 112, 112, 3), 127.5, 127.5, 1.5),
    # 16 pairs: clips and conjugates are one batch.
    "demo": Network("small", {"width": 64}, "Small", (32, 12, 40, 40, 3), 115.4, 58.1, 1.3),
    "jhmdb": Network(
        "small",
        {"width": 192, "residual": True},
        "Small",
        (32, 12, 64, 80, 3),
        115.4,
        58.1,
        1.3,
    ),
}


def define_flags() -> None:
    """Defines the command's flags."""
    flags.DEFINE_list("networks", [*NETWORKS], f"Of {', '.join(NETWORKS)}.")
    flags.DEFINE_list(
        "precisions", [], f"Of {', '.join(PRECISIONS)}; none: those that pay on this processor."
    )
    flags.DEFINE_bool("memory", True, "Measure memory, each row in a process of its own: slow.")
    flags.DEFINE_bool(
        "compiled", True, "Measure torch.compile too, which crashes where AVX2 is emulated."
    )
    sheet.define_flags()


def main(arguments: Sequence[str]) -> None:
    """The command; see the module's docstring."""
    options = flags.FLAGS
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    for flag, known in (("networks", NETWORKS), ("precisions", PRECISIONS)):
        for name in getattr(options, flag):
            if name not in known:
                raise UsageError(f"--{flag}: expected some of {', '.join(known)}, not {name!r}.")
    machine.hold(options.threads)
    from aacf_tf.runs.devices import resolve_precision

    precisions = options.precisions or [*dict.fromkeys(("float32", resolve_precision("auto")))]
    print(sheet.machine_line(), flush=True)
    sheets = []
    for name in options.networks:
        for precision in precisions:
            figures = measure(name, precision, options.rounds, options.threads, options.memory)
            sheets.append(figures)
            print(f"\n{sheet.markdown(sheets[-1])}", flush=True)
    if options.output:
        sheet.write(options.output, sheets)


def measure(name: str, precision: str, rounds: int, threads: int, memory: bool) -> sheet.Sheet:
    """Returns the figures of one network in one precision."""
    network = NETWORKS[name]
    gflop = count_gflop(network)
    own, short = f"TensorFlow, {precision}", precision.replace("mixed_", "")
    candidates = {sheet.PEAK: sheet.peak(short)}
    wanted = {}
    for row in dict.fromkeys((own, "TensorFlow, float32")):
        make = functools.partial(tensorflow_step, name, row.split()[1])
        candidates[row] = sheet.Candidate(make, gflop, memory and row == own)
    if precision != "float32":
        wanted[own, "TensorFlow, float32"] = 1.0
    if machine.has_torch():
        compiled = flags.FLAGS.compiled and not machine.missing_peers()
        for row in ("PyTorch eager", "PyTorch compiled")[: 2 if compiled else 1]:
            make = functools.partial(torch_step, name, precision, "compiled" in row)
            candidates[f"{row}, {precision}"] = sheet.Candidate(make, gflop, memory)
            wanted[own, f"{row}, {precision}"] = network.wanted
    clips, *size, _ = network.shape
    return sheet.measure(
        f"Training step, {name}",
        candidates,
        rounds=rounds,
        threads=threads,
        settings={
            "network": f"{network.backbone} {network.options or ''}".strip(),
            "clips": f"{clips} of {'x'.join(map(str, size))}",
            "precision": precision,
        },
        wanted=wanted,
        notes=machine.missing_peers(),
    )


def count_gflop(network: Network) -> float:
    """Returns the cost of a step's convolutions: forward, and the gradients of both arguments.

    The first convolution has no gradient of its input, the pixels.
    """
    from aacf_tf.backbones import build_backbone
    from benchmarks.backbones import count_flop

    backbone = build_backbone(network.backbone, **network.options)
    first, *others = count_flop(backbone, network.shape).values()
    return (2 * first + 3 * sum(others)) / 1e9


def batch(network: Network) -> tuple[Any, Any]:
    """Returns pixels uint8 `[B, T, H, W, C]` and labels int32 `[B]`, of numpy."""
    import numpy as np

    draw = np.random.default_rng(0)
    labels = draw.integers(0, CLASSES, network.shape[0], np.int32)
    return draw.integers(0, 256, network.shape, np.uint8), labels


# ---- TensorFlow's half --------------------------------------------------------------------------


def tensorflow_model(name: str, precision: str = "float32") -> ActionModel:
    """Returns the network with the head `average`, compiled as a stage of a recipe is."""
    from tensorflow import keras

    from aacf_tf import recipes
    from aacf_tf.models.factory import build_model
    from aacf_tf.training.optimizers import make_optimizer

    network = NETWORKS[name]
    keras.mixed_precision.set_global_policy(precision)
    stage = recipes.Stage(
        "step", head="average", milestones=((0.0, 1.0),), warmup=0, weight_decay=WEIGHT_DECAY
    )
    recipe = dataclasses.replace(
        recipes.load_recipe("demo"),
        backbone=network.backbone,
        backbone_options=network.options,
        stages=(stage,),
    )
    model = build_model(recipe, CLASSES, stage=stage, steps=1000)
    model.compile(
        optimizer=make_optimizer(recipes.plan_stage(recipe, stage, 1000), model),
        weighted_metrics=[],
    )
    return model


def tensorflow_step(name: str, precision: str) -> Callable[[], float]:
    """Returns a training step, which returns its loss."""
    import tensorflow as tf

    model = tensorflow_model(name, precision)
    pixels, labels = batch(NETWORKS[name])
    # Batched as the reader does it: the size of a batch is not known when the step is traced.
    data = tf.data.Dataset.from_tensor_slices(({"clip": pixels}, labels)).repeat()
    batches = iter(data.batch(len(labels)).prefetch(1))
    train = model.make_train_function()
    return lambda: float(train(batches)["loss"])


# ---- PyTorch's half -----------------------------------------------------------------------------


def torch_network(name: str) -> torch.nn.Module:
    """Returns the network and its classifier, channels last, in training mode."""
    import torch
    from torch import nn

    from benchmarks import torch_networks

    network = NETWORKS[name]
    backbone = getattr(torch_networks, network.peer)(**network.options)
    depth = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm3d)][-1].num_features

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone
            self.classifier = nn.Linear(depth if network.peer == "Small" else 1024, CLASSES)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            scaled = (pixels.float() - network.mean) / network.deviation
            maps = [*self.backbone(scaled).values()][-1]
            return self.classifier(maps.mean((2, 3, 4)))

    return Classifier().to(memory_format=torch.channels_last_3d).train()


def torch_step(name: str, precision: str, compiled: bool) -> Callable[[], float]:
    """Returns a training step, which returns its loss."""
    import torch
    from torch.nn import functional as F

    network = torch_network(name)
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.Adam(
        [{"params": kernels, "weight_decay": WEIGHT_DECAY}, {"params": others}], fused=True
    )
    torch._dynamo.reset()  # or it takes the sizes of the network before for one that varies
    forward = torch.compile(network, dynamic=False) if compiled else network
    pixels, labels = (torch.from_numpy(array) for array in batch(NETWORKS[name]))
    pixels, labels = pixels.permute(0, 4, 1, 2, 3), labels.long()

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"):
            scores = forward(pixels)
        loss = F.cross_entropy(scores.float(), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    define_flags()
    commandline.run(main, __doc__)
