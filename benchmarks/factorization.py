"""Attention pooling beside other ways to compute it and the limit of the machine's memory.

    python benchmarks/factorization.py                      64 maps of 1408 positions, 1024 channels
    python benchmarks/factorization.py --shape=32x200x192 --threads=2 --output=pooling

Two tables, forward and with the gradients by logits and features. All rows compute the same: a
softmax over the positions of each map, then the weighted sum of the features. Rows are
`keras_layers.attention_pooling`, as it is and compiled by XLA; multiply-and-sum and einsum with
TensorFlow's own gradients; and, if PyTorch is installed, multiply-and-sum, a batched matrix product
(`bmm`) and `scaled_dot_product_attention` with the logits as its bias, eager and compiled.

The operation does one multiply-add a number that it reads, so that memory is its limit: forward one
read of the features, with gradients one more and one write of the features' gradient. These are
rows of their own (a maximum over all features; a constant), measured in the same rounds. PyTorch
takes fresh memory from the system at every call, and the limit does not.

Memory is that of a call beyond its inputs; the gradient by the features alone is as large as they
are, which is the last line of the second table.
"""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np
from absl import flags

from tfrecords.utils import commandline
from tfrecords.utils.errors import UsageError

OURS, MULTIPLY, LIMIT = "attention_pooling", "multiply-and-sum", "limit of memory"
TENSORFLOW = (OURS, f"{OURS}, XLA", MULTIPLY, "einsum")
TORCH = ("bmm", MULTIPLY, "scaled_dot_product_attention")
FASTER, SHARE = 4.5, 0.4  # than multiply-and-sum; of the limit
MEMORY = 1.1  # times the features' size, at most, with gradients


class Size(NamedTuple):
    """Sizes of the operands: batch, positions, channels and number of maps."""

    batch: int
    positions: int
    channels: int
    maps: int

    @property
    def feature_bytes(self) -> int:
        return 4 * self.batch * self.positions * self.channels

    @property
    def gflop(self) -> float:
        """Cost of the forward product; the gradients are two more as large."""
        return 2e-9 * self.batch * self.positions * self.channels * self.maps


def define_flags() -> None:
    """Defines the command's flags."""
    from benchmarks import sheet

    sheet.define_flags()
    flags.DEFINE_string("shape", "64x1408x1024", "Features: batch x positions x channels.")
    flags.DEFINE_integer("maps", 2, "Attention maps.", 1)
    flags.DEFINE_bool("memory", True, "Measure memory, each row in a process of its own.")


def main(arguments: Sequence[str]) -> None:
    """The command; see the module's docstring."""
    if arguments:
        raise UsageError(f"Expected flags only (see --help), received {arguments[0]!r}.")
    options = flags.FLAGS
    from benchmarks import machine, sheet

    size = parse_size(options.shape, options.maps)
    machine.hold(options.threads)
    print(sheet.machine_line(), flush=True)
    sheets = []
    for gradients in (False, True):
        sheets.append(run(size, gradients, options.rounds, options.threads, options.memory))
        print(f"\n{sheet.markdown(sheets[-1])}", flush=True)
    if options.output:
        sheet.write(options.output, sheets)


def parse_size(text: str, maps: int) -> Size:
    """Parses BATCHxPOSITIONSxCHANNELS.

    Raises:
        UsageError: it is not three positive numbers.
    """
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){2}", text):
        raise UsageError(
            f"--shape: expected batch x positions x channels, 64x1408x1024; received {text!r}."
        )
    return Size(*map(int, text.split("x")), maps)


def run(size: Size, gradients: bool, rounds: int, threads: int, memory: bool) -> Any:
    """Measures all rows of one table; returns its `sheet.Sheet`."""
    from benchmarks import machine, sheet

    cost = size.gflop * (3 if gradients else 1)
    candidates = {
        name: sheet.Candidate(functools.partial(make, name, size, gradients), cost, memory)
        for name in rows()
    }
    candidates[LIMIT] = sheet.Candidate(functools.partial(make_limit, size, gradients))
    found = sheet.measure(
        "With gradients" if gradients else "Forward",
        candidates,
        rounds=rounds,
        threads=threads,
        settings={"features": list(size[:3]), "maps": size.maps, "precision": "float32"},
        wanted={(OURS, MULTIPLY): FASTER, (OURS, LIMIT): SHARE},
        notes=machine.missing_peers(),
    )
    if gradients and found.rows[OURS].bytes is not None:
        share = found.rows[OURS].bytes / size.feature_bytes
        found.notes.append(
            f"{OURS} takes {share:.2f} times the memory of the features' gradient "
            f"(wanted: at most {MEMORY:g})."
        )
    return found


def rows() -> list[str]:
    """Returns the names of all rows that can run on this machine, without the limit."""
    from benchmarks import machine

    names = [*TENSORFLOW]
    if machine.has_torch():
        names += [f"PyTorch {name}" for name in TORCH]
        if not machine.missing_peers():
            names += [f"PyTorch {name}, compiled" for name in TORCH]
    return names


def make(name: str, size: Size, gradients: bool) -> Callable[[], Any]:
    """Builds the call of a row.

    Returns:
        A call that gives `pooled` and, with gradients, those by logits and by features.
    """
    build = _make_torch if name.startswith("PyTorch ") else _make_tensorflow
    return build(name, size, gradients)


def make_limit(size: Size, gradients: bool) -> Callable[[], Any]:
    """Builds what no implementation can go below: reads and writes of the features' size."""
    import tensorflow as tf

    features = tf.constant(_operands(size)[1])

    @tf.function
    def read(features: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(features)

    @tf.function
    def write(value: tf.Tensor) -> tf.Tensor:
        return tf.fill(features.shape, value)

    def cross() -> tf.Tensor:
        value = read(features)
        return write(read(features)) if gradients else value

    return cross


def _operands(size: Size) -> list[np.ndarray]:
    """Draws logits, features and the gradient by the pooled features."""
    batch, positions, channels, maps = size
    draw = np.random.default_rng(0)
    shapes = (batch, maps, positions), (batch, positions, channels), (batch, maps, channels)
    return [draw.standard_normal(shape, np.float32) for shape in shapes]


def _make_tensorflow(name: str, size: Size, gradients: bool) -> Callable[[], Any]:
    import tensorflow as tf

    from keras_layers import attention_pooling

    def multiply(logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        weights = tf.nn.softmax(logits, axis=-1)
        return tf.reduce_sum(weights[..., None] * features[:, None], axis=2)

    def einsum(logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return tf.einsum("bmn,bnd->bmd", tf.nn.softmax(logits, axis=-1), features)

    def ours(logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return attention_pooling(logits, features)[0]

    pool = {MULTIPLY: multiply, "einsum": einsum}.get(name, ours)

    @tf.function(jit_compile=name.endswith("XLA"))
    def call(logits: tf.Tensor, features: tf.Tensor, direction: tf.Tensor) -> Any:
        if not gradients:
            return pool(logits, features)
        with tf.GradientTape() as tape:
            tape.watch([logits, features])
            pooled = pool(logits, features)
        return pooled, *tape.gradient(pooled, [logits, features], direction)

    return functools.partial(call, *map(tf.constant, _operands(size)))


def _make_torch(name: str, size: Size, gradients: bool) -> Callable[[], Any]:
    import torch

    logits, features, direction = map(torch.from_numpy, _operands(size))

    def bmm(logits: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        return torch.bmm(torch.softmax(logits, -1), features)

    def multiply(logits: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        return (torch.softmax(logits, -1)[..., None] * features[:, None]).sum(2)

    def scaled(logits: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        # Queries and keys of zeros: the bias alone is what the softmax sees.
        queries, keys = (logits.new_zeros([size.batch, n, 8]) for n in (size.maps, size.positions))
        return torch.nn.functional.scaled_dot_product_attention(
            queries, keys, features, attn_mask=logits
        )

    operation = name.removeprefix("PyTorch ").removesuffix(", compiled")
    pool = dict(zip(TORCH, (bmm, multiply, scaled)))[operation]
    if name.endswith("compiled"):
        pool = torch.compile(pool)

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return pool(logits, features)

    def both() -> tuple[torch.Tensor, ...]:
        inputs = logits.detach().requires_grad_(), features.detach().requires_grad_()
        pooled = pool(*inputs)
        return pooled.detach(), *torch.autograd.grad(pooled, inputs, direction)

    return both if gradients else forward


if __name__ == "__main__":
    # Run as a file it finds its neighbours all the same.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    define_flags()
    commandline.run(main, __doc__)
