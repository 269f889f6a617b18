"""The conventional non-local block, what LightNL is measured against.

For x [B, H, W, C], n = H*W positions, c = C // 2:

    theta, phi, g = 1x1 convolutions of x to c channels     [B, n, c] each
    y   = softmax(theta phi^T) g                             [B, n, c]
    out = x + BN(Conv1x1(y))

Source: Wang et al., Non-local Neural Networks (CVPR 2018), the embedded Gaussian form with its bottleneck of two and
without its subsampling.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from autonl_tf.layers.light_nl import BN_EPSILON, BN_MOMENTUM, flatten_positions


@keras.saving.register_keras_serializable("autonl")
class NonLocal(keras.layers.Layer):
    """The block above, [B, H, W, C] to the same; H and W static. It starts as the identity (gamma zero).

    Raises:
      ValueError: H, W or C unknown, or fewer than 2 channels.
    """

    def build(self, input_shape):
        _, height, width, channels = input_shape
        if None in (height, width, channels) or channels < 2:
            raise ValueError(f"NonLocal needs a static height and width and 2 channels; got {tuple(input_shape)}")
        for name in ("theta", "phi", "g"):
            setattr(self, name, keras.layers.Conv2D(channels // 2, 1, name=name))
        self.out = keras.layers.Conv2D(channels, 1, use_bias=False, name="out")
        self.bn = keras.layers.BatchNormalization(
            momentum=BN_MOMENTUM, epsilon=BN_EPSILON, gamma_initializer="zeros", name="bn"
        )
        super().build(input_shape)

    def call(self, inputs, training=None):
        theta, phi, g = (flatten_positions(layer(inputs)) for layer in (self.theta, self.phi, self.g))
        weights = tf.nn.softmax(tf.matmul(theta, phi, transpose_b=True))
        _, height, width, channels = inputs.shape
        y = tf.reshape(tf.matmul(weights, g), [-1, height, width, channels // 2])
        return inputs + self.bn(self.out(y), training=training)

    def compute_output_shape(self, input_shape):
        return input_shape


def non_local_macs(height: int, width: int, channels: int) -> int:
    """Multiply-adds of `NonLocal` on [H, W, C], a convolution and a matrix product counted as in `arch.cost`."""
    positions, inner = height * width, channels // 2
    return 4 * positions * channels * inner + 2 * positions**2 * inner
