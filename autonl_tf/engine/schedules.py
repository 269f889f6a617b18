"""Learning-rate schedules by step, computed in float32 as the official training did."""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras as keras


def scale_learning_rate(rate_per_256: float, batch_size: int) -> float:
    """The peak learning rate for a batch of `batch_size` images: `rate_per_256 * batch_size / 256`."""
    return rate_per_256 * (batch_size / 256.0)


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then half a cosine down to zero at the end of the run.

    With peak p, n the step (from 0), w = warmup_steps, T = total_steps: `rate(n) = p * (n + 1) / (w + 1)` for n < w,
    else `p / 2 * (1 + cos(pi * (n - w) / (T - w)))`. Source: Loshchilov and Hutter, SGDR, without restarts.
    """

    def __init__(self, base_learning_rate: float, total_steps: int, warmup_steps: int):
        self.base_learning_rate, self.total_steps, self.warmup_steps = base_learning_rate, total_steps, warmup_steps

    def __call__(self, step) -> tf.Tensor:
        """Scalar step, any integer type -> scalar float32."""
        n = tf.cast(step, tf.float32)
        warming = (n + 1.0) / (self.warmup_steps + 1.0)
        share = tf.clip_by_value((n - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1), 0.0, 1.0)
        return self.base_learning_rate * tf.minimum(warming, 0.5 * (1.0 + tf.cos(math.pi * share)))


class WarmupStaircase(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then a decay in steps.

    With peak p, n the step (from 0), w = warmup_steps: `rate(n) = p * n / w` for n < w, else
    `p * decay_rate ** floor(n / (decay_epochs * steps_per_epoch))`. The decay counts from step 0, warm-up included.
    Source: the recipe of the official training.

    Args:
      base_learning_rate: p, for the whole batch (see `scale_learning_rate`).
      steps_per_epoch: images of an epoch / images of a step, not rounded.
    """

    def __init__(
        self,
        base_learning_rate: float,
        steps_per_epoch: float,
        warmup_steps: int,
        decay_epochs: float = 2.4,
        decay_rate: float = 0.97,
    ):
        self.base_learning_rate, self.steps_per_epoch = base_learning_rate, steps_per_epoch
        self.warmup_steps, self.decay_epochs, self.decay_rate = warmup_steps, decay_epochs, decay_rate

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
