"""Settings of the training of a completion network, and presets."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Tuple, get_args

from aacf_tf.recipes.fields import Bounds, check_fields
from tfrecords.utils.errors import UsageError

Optimizer = Literal["adam", "adadelta"]
Schedule = Literal["constant", "cosine"]
Fill = Literal["mean", "diffused"]
OPTIMIZERS, SCHEDULES, FILLS = map(get_args, (Optimizer, Schedule, Fill))
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

    size: Annotated[int, Bounds(16)] = 256
    width: Annotated[int, Bounds(2)] = 64
    fill: Fill = "mean"
    steps: Tuple[int, int, int] = (90_000, 10_000, 400_000)
    # With 1, batch normalization would see a single picture.
    batch_size: Annotated[int, Bounds(2)] = 96
    optimizer: Optimizer = "adadelta"
    learning_rate: float = 1.0
    schedule: Schedule = "constant"
    adversarial_weight: Annotated[float, Bounds(0)] = 4e-4
    spectral_norm: bool = False
    holes: Annotated[int, Bounds(1)] = 1
    hole_sides: Tuple[float, float] = (96 / 256, 128 / 256)
    zoom: Annotated[float, Bounds(1)] = 384 / 256
    held_out: Annotated[int, Bounds(1)] = 200
    seed: Annotated[int, Bounds(0, 2**31 - 1)] = 0

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
        check_fields(self, "--")
        if self.size % 8:
            raise UsageError(f"--size: expected a multiple of 8 pixels, received {self.size}.")
        if self.width % 2:
            raise UsageError(f"--width: expected an even number, received {self.width}.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UsageError(f"--learning_rate: expected above 0, received {self.learning_rate}.")
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
