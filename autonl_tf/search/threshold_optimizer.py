"""The thresholds' optimizer: Adam whose state begins with the decision phase, and whose steps are bounded."""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras as keras

MOMENTUM, SQUARE_MOMENTUM = 0.9, 0.999


class ThresholdAdam(keras.optimizers.Optimizer):
    """For every threshold t with gradient g, at the k-th step whose rate is above 0:

        m <- 0.9 m + 0.1 g;    v <- 0.999 v + 0.001 g^2
        t <- t - rate * clip(m / (1 - 0.9^k) / sqrt(v / (1 - 0.999^k)), -1, 1)

    A step of rate 0 leaves everything as it is. No threshold therefore moves by more than the sum of the rates, and a
    constant gradient, however small, moves it by exactly that, whatever came before the rate rose above 0.

    Source: Adam. Deviations: 1. `keras.optimizers.Adam` counts and averages at rate 0 too; behind a warm-up of the
    search its bias correction was spent and v was the warm-up's, so that a threshold moved up to 2.7 times as far.
    2. The clip: Adam's own steps are up to 3.2 times the rate where gradients grow. 3. No epsilon: what it protects
    against, the clip does.
    """

    scale_free = True  # of gradients

    def __init__(self, learning_rate, name="ThresholdAdam"):
        super().__init__(name=name, jit_compile=False)
        self._learning_rate = self._build_learning_rate(learning_rate)

    def build(self, var_list) -> None:
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._built = True
        self._means = [self.add_variable_from_reference(v, "mean") for v in var_list]
        self._squares = [self.add_variable_from_reference(v, "mean_square") for v in var_list]
        self._counts = [self.add_variable_from_reference(v, "count", shape=()) for v in var_list]

    def update_step(self, gradient, variable) -> None:
        index = self._index_dict[self._var_key(variable)]
        mean, square, count = self._means[index], self._squares[index], self._counts[index]
        rate = tf.cast(self.learning_rate, variable.dtype)
        moving = rate > 0
        count.assign_add(tf.where(moving, 1.0, 0.0))
        mean.assign_add(tf.where(moving, (1 - MOMENTUM) * (gradient - mean), 0.0))
        square.assign_add(tf.where(moving, (1 - SQUARE_MOMENTUM) * (tf.square(gradient) - square), 0.0))
        size = tf.sqrt(square / _weight(SQUARE_MOMENTUM, count))
        direction = tf.clip_by_value(tf.math.divide_no_nan(mean / _weight(MOMENTUM, count), size), -1.0, 1.0)
        variable.assign_sub(tf.where(moving, rate * direction, 0.0))


def _weight(momentum: float, count: tf.Tensor) -> tf.Tensor:
    """1 - momentum^count, what the weights of `count` values in a moving average from 0 add up to."""
    return -tf.math.expm1(math.log(momentum) * count)
