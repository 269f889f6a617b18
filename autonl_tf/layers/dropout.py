"""Dropout that draws the same for an image on any number of devices and after any number of restarts."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from autonl_tf.layers.arguments import below_one
from autonl_tf.layers.draws import uniform
from autonl_tf.layers.registering import registered


@registered
class Dropout(keras.layers.Layer):
    """Sets each element to 0 with probability `rate` in training and divides the rest by 1 - rate; [B, ...].

    Within `draws.drawing` what it drops follows from the seed, the step, the example's position in the global batch and
    the layer's name; elsewhere it is drawn anew at every call. Keras' own dropout keeps a random state that no
    checkpoint holds.

    Args:
      rate: within [0, 1).

    Raises:
      ValueError: another rate.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = below_one("Dropout", "rate", rate)

    def call(self, inputs, training=None):
        if not training or not self.rate:
            return inputs
        kept = uniform(self.name, tf.shape(inputs)) >= self.rate
        return tf.where(kept, inputs / (1 - self.rate), tf.zeros_like(inputs))

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}
