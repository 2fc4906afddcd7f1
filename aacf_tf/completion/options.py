"""Settings of the training of a completion network, and presets."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from tfrecords.utils.errors import UsageError

OPTIMIZERS = ("adam", "adadelta")
SCHEDULES = ("constant", "cosine")
FILLS = ("mean", "diffused")
PHASES = ("completion", "discriminators", "both")


@dataclass(frozen=True)
class Settings:
    """Settings of a training; the defaults are the paper's.

    Attributes:
        size: Side of the crops, pixels; a multiple of 8 (the local window has half of it).
        width: Channels of the networks' first layers, an even number.
        fill: Initial fill of a hole, see `networks.Completer`.
        steps: Training steps of each of `PHASES`.
        batch_size: Crops per step.
        optimizer: Optimizer of both networks.
        learning_rate: Initial learning rate.
        schedule: Schedule of the completion network's learning rate: constant, or a cosine to 0
            over all steps that train it.
        adversarial_weight: Weight of the adversarial loss beside the squared error, which is the
            mean over the pixels of the hole, colors 0..1.
        spectral_norm: Whether the discriminators use spectral instead of batch normalization.
        holes: Most rectangles per crop.
        hole_sides: Shortest and longest side of a hole, as shares of the crop's side.
        zoom: A crop's side is the picture's shorter side / (1 to `zoom`).
        held_out: Most pictures to compare on.
        seed: Seed of weights, crops and holes.
    """

    size: int = 256
    width: int = 64
    fill: str = "mean"
    steps: tuple[int, int, int] = (90_000, 10_000, 400_000)
    batch_size: int = 96
    optimizer: str = "adadelta"
    learning_rate: float = 1.0
    schedule: str = "constant"
    adversarial_weight: float = 4e-4
    spectral_norm: bool = False
    holes: int = 1
    hole_sides: tuple[float, float] = (96 / 256, 128 / 256)
    zoom: float = 384 / 256
    held_out: int = 200
    seed: int = 0

    @property
    def total_steps(self) -> int:
        """Training steps of all phases."""
        return sum(self.steps)

    def phase(self, step: int) -> str:
        """Returns the phase of a step, counted from 0."""
        ends = (self.steps[0], sum(self.steps[:2]))
        return PHASES[sum(step >= end for end in ends)]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data, for `config.json`."""
        plain = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}

    def check(self) -> None:
        """Checks the settings.

        Raises:
            UsageError: A setting cannot be used; names the flag, what was expected and received.
        """
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"--{name}: expected one of {', '.join(choices)}, "
                    f"received {getattr(self, name)!r}."
                )
        for name, low in _LEAST.items():
            if getattr(self, name) < low:
                raise UsageError(
                    f"--{name}: expected {low} or more, received {getattr(self, name)}."
                )
        if self.size % 8:
            raise UsageError(f"--size: expected a multiple of 8 pixels, received {self.size}.")
        if self.width % 2:
            raise UsageError(f"--width: expected an even number, received {self.width}.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UsageError(f"--learning_rate: expected above 0, received {self.learning_rate}.")
        for name in ("zoom", "adversarial_weight"):
            if not math.isfinite(getattr(self, name)):
                raise UsageError(
                    f"--{name}: expected a finite number, received {getattr(self, name)}."
                )
        if self.seed >= 1 << 31:
            raise UsageError(f"--seed: expected less than 2 ** 31, received {self.seed}.")
        if len(self.steps) != 3 or min(self.steps) < 0 or not self.total_steps:
            received = ",".join(map(str, self.steps))
            raise UsageError(
                f"--steps: expected three numbers, of the phases {', '.join(PHASES)}, such as "
                f"4000,200,800, received {received or 'none'}."
            )
        if len(self.hole_sides) != 2 or not 0 < self.hole_sides[0] <= self.hole_sides[1] < 1:
            received = ",".join(map(str, self.hole_sides))
            raise UsageError(
                "--hole_sides: expected the shortest and the longest side as shares of the crop's, "
                f"above 0 and below 1, such as 0.375,0.5, received {received or 'none'}."
            )


_CHOICES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "fill": FILLS}
_LEAST = {
    "size": 16,
    "width": 2,
    "batch_size": 2,  # with 1, batch normalization would see a single picture
    "adversarial_weight": 0,
    "holes": 1,
    "zoom": 1,
    "held_out": 1,
    "seed": 0,
}

PRESETS = {
    "paper": Settings(),
    # Half an hour on 2 cores. At a learning rate of 2e-3 it learns nothing in 500 steps: little of
    # the diffusion's error can be learned.
    "small": Settings(
        size=64,
        width=24,
        fill="diffused",
        steps=(9000, 500, 2500),
        batch_size=8,
        optimizer="adam",
        learning_rate=5e-4,
        schedule="cosine",
    ),
}
