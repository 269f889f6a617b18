"""Depthwise convolutions whose kernel gradient is fast on CPUs; the values are TensorFlow's.

oneDNN computes the gradient of a depthwise kernel quickly up to a width of three columns. It treats a wider kernel as a
dense convolution, 16 channels by 16 where one would do, which takes 1.4 to 2.1 times as long as the method here.
Columns j to j + 2 of a kernel's gradient are the gradient of a three-column kernel over the part of the input that
these columns have seen, so the gradient is put together from such strips. `benchmarks/train_throughput.py` measures it.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from autonl_tf.layers.registering import registered

STRIP = 3  # columns


@registered
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Keras' layer; in training by `depthwise_conv2d` where that does what the layer is to do."""

    def call(self, inputs, training=None):
        plain = not self.use_bias and self.dilation_rate == (1, 1) and self.data_format == "channels_last"
        # In inference a custom gradient would only stand between the convolution and what it can be fused with.
        if not training or not plain:
            return super().call(inputs)
        kernel = tf.convert_to_tensor(self.depthwise_kernel)
        return self.activation(depthwise_conv2d(inputs, kernel, self.strides[0], self.padding.upper()))


def depthwise_conv2d(x: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    """`tf.nn.depthwise_conv2d`: x [B, H, W, C], kernel [h, w, C, M], padding SAME or VALID -> [B, H', W', C * M].

    Where there is but the processor, and height and width are known, the gradient of a wide kernel is that of strips.
    """
    strides = [1, stride, stride, 1]
    accelerated = any(device.device_type != "CPU" for device in tf.config.list_logical_devices())
    if accelerated or None in x.shape[1:] or kernel.shape[1] <= STRIP:
        return tf.nn.depthwise_conv2d(x, kernel, strides, padding)

    @tf.custom_gradient
    def convolved(x, kernel):
        def gradient(dy):
            of_input = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(x), filter=kernel, out_backprop=dy, strides=strides, padding=padding
            )
            # Else the copies of x that strips are cut from would be made in the forward pass, and held from then on.
            with tf.control_dependencies([dy]):
                seen = tf.identity(x)
            return of_input, _kernel_gradient(seen, kernel, dy, stride, padding)

        return tf.nn.depthwise_conv2d(x, kernel, strides, padding), gradient

    return convolved(x, kernel)


def _kernel_gradient(x, kernel, dy, stride: int, padding: str):
    height, width, *channels = kernel.shape
    top = left = 0
    if padding == "SAME":
        top, left = _before(x.shape[1], height, stride), _before(x.shape[2], width, stride)
    rows, rows_around = _seen(x.shape[1], -top, stride * (dy.shape[1] - 1) + height)
    strips = []
    for first in range(0, width, STRIP):
        size = min(STRIP, width - first)
        columns, around = _seen(x.shape[2], first - left, stride * (dy.shape[2] - 1) + size)
        part = tf.pad(x[:, rows, columns], [[0, 0], rows_around, around, [0, 0]])
        strip = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=part,
            filter_sizes=[height, size, *channels],
            out_backprop=dy,
            strides=[1, stride, stride, 1],
            padding="VALID",
        )
        strips.append(strip)
    return tf.concat(strips, axis=1)


def _before(size: int, taps: int, stride: int) -> int:
    """SAME's padding before the first of `size` rows or columns."""
    outputs = -(-size // stride)
    return max((outputs - 1) * stride + taps - size, 0) // 2


def _seen(size: int, start: int, length: int) -> tuple[slice, list[int]]:
    """What of `size` rows or columns lies within [start, start + length), and how many zeros around it fill that up."""
    first = min(max(start, 0), size)
    last = max(first, min(start + length, size))
    before = min(max(-start, 0), length)
    return slice(first, last), [before, length - before - (last - first)]
