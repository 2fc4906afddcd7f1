"""Defines the losses and the training step of each phase.

    completion       the mean squared error in the holes
    discriminators   cross-entropy: real pictures against completed ones; the completion network
                     stands still
    both             both at once; the completion network's loss is its squared error and
                     `adversarial_weight` times - log p(real) of its pictures. (The paper writes
                     log(1 - p); its gradient vanishes where the discriminators are sure.)

The discriminators see the picture with its hole filled. A real picture is seen through the window
of its neighbor in the batch: with its own window, the position alone would tell the two apart if
there are several holes.
"""

from __future__ import annotations

import tensorflow as tf
from tensorflow import keras

from aacf_tf.completion.networks import Completer, build_discriminators
from aacf_tf.completion.options import PHASES, Settings

LOSSES = ("squared_error", "adversarial", "discriminators")


class Trainee(tf.Module):
    """The networks, their optimizers, and a training step for each phase.

    Attributes:
        completer: Completer with the completion network.
        discriminators: Model of `build_discriminators`.
        optimizers: Optimizers of the completion network and of the discriminators.
        steps: Phase -> tf.function (image, mask, window) -> loss by name (`LOSSES`), float32
            scalars, 0 for a loss that the phase does not have. Arguments as `draws.Batch`.
    """

    def __init__(self, settings: Settings, colour: tuple[float, float, float]):
        super().__init__()
        self.completer = Completer(settings.width, settings.fill, settings.size, colour)
        self.discriminators = build_discriminators(
            settings.width, settings.size, settings.spectral_norm
        )
        rate = settings.learning_rate
        if settings.schedule == "cosine":
            trained = settings.steps[0] + settings.steps[2]
            rate = keras.optimizers.schedules.CosineDecay(rate, max(1, trained))
        make = {"adam": keras.optimizers.Adam, "adadelta": keras.optimizers.Adadelta}
        rates = (rate, settings.learning_rate)
        self.optimizers = [make[settings.optimizer](learning_rate) for learning_rate in rates]
        for optimizer, network in zip(self.optimizers, self._networks()):
            optimizer.build(network.trainable_variables)
        self._half, self._weight = settings.size // 2, settings.adversarial_weight
        self.steps = {phase: tf.function(self._step_of(phase)) for phase in PHASES}

    def _networks(self) -> tuple[keras.Model, keras.Model]:
        return self.completer.network, self.discriminators

    def _step_of(self, phase: str):
        paints, judges = phase != "discriminators", phase != "completion"

        def step(image: tf.Tensor, mask: tf.Tensor, window: tf.Tensor) -> dict[str, tf.Tensor]:
            image = tf.cast(image, tf.float32) / 255
            mask = tf.cast(mask, tf.float32)[..., None]
            verdict = adversarial = tf.constant(0.0)
            with tf.GradientTape(persistent=True) as tape:
                painted = self.completer(image, mask, training=paints)
                error = squared_error(painted, image, mask)
                if judges:
                    completed = mask * painted + (1 - mask) * image
                    real, fake = self._judge(image, completed, window)
                    adversarial = tf.reduce_mean(tf.nn.softplus(-fake))
                    verdict = tf.reduce_mean(tf.nn.softplus(-real) + tf.nn.softplus(fake))
                loss = error + self._weight * adversarial
            losses, acting = (loss, verdict), (paints, judges)
            for which, network in enumerate(self._networks()):
                if acting[which]:
                    variables = network.trainable_variables
                    gradients = tape.gradient(losses[which], variables)
                    self.optimizers[which].apply_gradients(zip(gradients, variables))
            return dict(zip(LOSSES, (error, adversarial, verdict)))

        return step

    def _judge(
        self, image: tf.Tensor, completed: tf.Tensor, window: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns logits of the real and of the completed pictures, [B, 1] each, in one pass."""
        both = tf.concat([image, completed], 0)
        windows = tf.concat([tf.roll(window, 1, 0), window], 0)
        local = cut_windows(both, windows, self._half)
        return tuple(tf.split(self.discriminators([both, local], training=True), 2))


def squared_error(painted: tf.Tensor, image: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the mean squared error over all pixels and colors of the holes.

    Args:
        painted, image: Images, float32 [B, H, W, 3].
        mask: Mask, float32 [B, H, W, 1], 1 in the hole.

    Returns:
        float32 scalar.
    """
    return tf.reduce_sum(mask * (painted - image) ** 2) / (3 * tf.reduce_sum(mask))


def cut_windows(image: tf.Tensor, corner: tf.Tensor, side: int) -> tf.Tensor:
    """Cuts squares out of images.

    Args:
        image: Image, float32 [B, H, W, 3].
        corner: Corners, int32 [B, 2], top and left; the squares lie inside.
        side: Side of the squares, pixels.

    Returns:
        float32 [B, side, side, 3].
    """
    steps = tf.range(side)
    rows = tf.gather(image, corner[:, :1] + steps, axis=1, batch_dims=1)
    return tf.gather(rows, corner[:, 1:] + steps, axis=2, batch_dims=1)
