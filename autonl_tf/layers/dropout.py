"""Dropout whose random state is part of a checkpoint, so that a resumed run goes on as an uninterrupted one would."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras


@keras.saving.register_keras_serializable("autonl")
class Dropout(keras.layers.Layer):
    """Sets each element to 0 with probability `rate` in training and divides the rest by 1 - rate; any shape.

    Keras' own dropout keeps its random state out of checkpoints. Here it is a generator that the model tracks, seeded
    by TensorFlow's global seed; under a strategy every replica draws its own stream.

    Args:
      rate: within [0, 1).

    Raises:
      ValueError: a rate out of range.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"dropout rate {rate} is out of range; accepted: from 0, below 1")
        self.rate = rate

    def build(self, input_shape):
        if self.rate:
            with tf.init_scope():
                seed = int(tf.random.uniform([], maxval=2**31 - 1, dtype=tf.int32))
                self.generator = tf.random.Generator.from_seed(seed)
        super().build(input_shape)

    def call(self, inputs, training=None):
        if not training or not self.rate:
            return inputs
        kept = self.generator.uniform(tf.shape(inputs)) >= self.rate
        return tf.where(kept, inputs / (1 - self.rate), tf.zeros_like(inputs))

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}
