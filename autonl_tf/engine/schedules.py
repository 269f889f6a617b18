"""Learning-rate schedules by step, computed in float32 as the official training did."""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras as keras

from autonl_tf.errors import UserError


def scale_learning_rate(rate_per_256: float, batch_size: int) -> float:
    """The peak learning rate for a batch of `batch_size` images: `rate_per_256 * batch_size / 256`."""
    return rate_per_256 * (batch_size / 256.0)


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then half a cosine down to zero at the end of the run.

    With peak p, n the step (from 0), w = warmup_steps, T = total_steps: `rate(n) = p * (n + 1) / (w + 1)` for n < w,
    else `p / 2 * (1 + cos(pi * (n - w) / (T - w)))`. Source: Loshchilov and Hutter, SGDR, without restarts.

    Raises:
      UserError: a rate or a length out of range.
    """

    def __init__(self, base_learning_rate: float, total_steps: int, warmup_steps: int = 0):
        if base_learning_rate <= 0 or total_steps < 1 or warmup_steps < 0:
            raise UserError(
                "learning rate and steps must be positive, the warm-up not negative: got "
                f"{base_learning_rate}, {total_steps}, {warmup_steps}"
            )
        self.base_learning_rate, self.total_steps, self.warmup_steps = base_learning_rate, total_steps, warmup_steps

    def __call__(self, step) -> tf.Tensor:
        """Scalar step, any integer type -> scalar float32."""
        n = tf.cast(step, tf.float32)
        warming = (n + 1.0) / (self.warmup_steps + 1.0)
        share = tf.clip_by_value((n - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1), 0.0, 1.0)
        return self.base_learning_rate * tf.minimum(warming, 0.5 * (1.0 + tf.cos(math.pi * share)))

    def get_config(self) -> dict:
        return dict(vars(self))


class WarmupStaircase(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then a decay in steps.

    With peak p, n the step (from 0), w = warmup_steps, else int(warmup_epochs * steps_per_epoch):
    `rate(n) = p * n / w` for n < w, else `p * decay_rate ** floor(n / (decay_epochs * steps_per_epoch))`.
    The decay counts from step 0, warm-up included. Source: the recipe of the official training.

    Args:
      base_learning_rate: p, for the whole batch (see `scale_learning_rate`).
      steps_per_epoch: images of an epoch / images of a step, not rounded.

    Raises:
      UserError: a rate or a length out of range.
    """

    def __init__(
        self,
        base_learning_rate: float,
        steps_per_epoch: float,
        warmup_epochs: float,
        decay_epochs: float = 2.4,
        decay_rate: float = 0.97,
        warmup_steps: int | None = None,
    ):
        if base_learning_rate <= 0 or steps_per_epoch <= 0 or decay_epochs <= 0 or not 0 < decay_rate <= 1:
            raise UserError(
                "learning rate, steps per epoch, decay epochs must be positive, decay rate within (0, 1]: "
                f"got {base_learning_rate}, {steps_per_epoch}, {decay_epochs}, {decay_rate}"
            )
        if warmup_epochs < 0:
            raise UserError(f"warm-up epochs must not be negative: got {warmup_epochs}")
        self.base_learning_rate = base_learning_rate
        self.steps_per_epoch = steps_per_epoch
        self.warmup_epochs = warmup_epochs
        self.warmup_steps = int(warmup_epochs * steps_per_epoch) if warmup_steps is None else warmup_steps
        self.decay_epochs = decay_epochs
        self.decay_rate = decay_rate

    def __call__(self, step) -> tf.Tensor:
        """Scalar step, any integer type -> scalar float32."""
        n = tf.cast(step, tf.float32)
        peak = tf.constant(self.base_learning_rate, tf.float32)
        periods = tf.floor(n / tf.constant(self.decay_epochs * self.steps_per_epoch, tf.float32))
        decayed = peak * tf.pow(tf.constant(self.decay_rate, tf.float32), periods)
        if self.warmup_steps == 0:
            return decayed
        # In this order, which the official graph was optimized to: the rates are equal to the last bit.
        warming = (peak / tf.constant(self.warmup_steps, tf.float32)) * n
        return tf.where(n < self.warmup_steps, warming, decayed)

    def get_config(self) -> dict:
        return dict(vars(self))
