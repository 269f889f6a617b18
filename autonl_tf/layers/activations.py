"""Activations by name, and channels taken apart and shuffled for grouped convolutions."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from autonl_tf.layers.arguments import whole
from autonl_tf.layers.registering import registered


def activation(kind: str, prefix: str) -> keras.layers.Layer:
    """swish, relu, relu6 or hswish as a layer named `prefix`_`kind`."""
    name = f"{prefix}_{kind}"
    if kind == "relu6":
        return keras.layers.ReLU(6.0, name=name)
    if kind == "hswish":
        return HardSwish(name=name)
    return Swish(name=name) if kind == "swish" else keras.layers.Activation(kind, name=name)


def swish(x: tf.Tensor) -> tf.Tensor:
    """x * sigmoid(x), any shape. As `tf.nn.silu`, but its gradient goes over memory four times instead of six."""
    return _swish(x)


@tf.custom_gradient
def _swish(x):
    def gradient(dy):
        # As there: the sigmoid is computed again, so that the forward pass need not keep it.
        with tf.control_dependencies([dy]):
            sigmoid = tf.sigmoid(x)
        # SigmoidGrad is dy * y * (1 - y) in one go.
        return dy * (sigmoid + tf.raw_ops.SigmoidGrad(y=sigmoid, dy=x))

    return x * tf.sigmoid(x), gradient


def hard_swish(x: tf.Tensor) -> tf.Tensor:
    """x * relu6(x + 3) / 6, any shape. Source: Howard et al., Searching for MobileNetV3, section 5.2."""
    return x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


FUNCTIONS = {"swish": swish, "relu": tf.nn.relu, "relu6": tf.nn.relu6, "hswish": hard_swish}


@registered
class Swish(keras.layers.Layer):
    """`swish` as a layer: tf_keras does not load an `.h5` file in which Activation has a function of ours."""

    def call(self, inputs):
        return swish(inputs)


@registered
class HardSwish(keras.layers.Layer):
    """`hard_swish` as a layer."""

    def call(self, inputs):
        return hard_swish(inputs)


@registered
class ChannelGroup(keras.layers.Layer):
    """Channels [start, start + size) of [B, H, W, C].

    Raises:
      ValueError: an argument that is not accepted, or fewer channels.
    """

    def __init__(self, start: int, size: int, **kwargs):
        super().__init__(**kwargs)
        self.start, self.size = whole("ChannelGroup", "start", start, 0), whole("ChannelGroup", "size", size)

    def build(self, input_shape):
        if self.start + self.size > input_shape[-1]:
            raise ValueError(
                f"ChannelGroup: start={self.start}, size={self.size}: accepted: within {input_shape[-1]} channels"
            )
        super().build(input_shape)

    def call(self, inputs):
        return inputs[..., self.start : self.start + self.size]

    def get_config(self):
        return {**super().get_config(), "start": self.start, "size": self.size}


@registered
class ChannelShuffle(keras.layers.Layer):
    """Deals the channels of [B, H, W, C] out among groups: output channel j * groups + i is input i * C / groups + j.

    Source: Zhang et al., ShuffleNet, section 3.1; FBNet uses it around its grouped convolutions.

    Args:
      groups: divides C.

    Raises:
      ValueError: it does not.
    """

    def __init__(self, groups: int, **kwargs):
        super().__init__(**kwargs)
        self.groups = whole("ChannelShuffle", "groups", groups)

    def build(self, input_shape):
        if input_shape[-1] % self.groups:
            raise ValueError(
                f"ChannelShuffle: groups={self.groups}: accepted: a divisor of the {input_shape[-1]} channels"
            )
        super().build(input_shape)

    def call(self, inputs):
        _, height, width, channels = inputs.shape
        x = tf.reshape(inputs, [-1, height, width, self.groups, channels // self.groups])
        return tf.reshape(tf.transpose(x, [0, 1, 2, 4, 3]), [-1, height, width, channels])

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}
