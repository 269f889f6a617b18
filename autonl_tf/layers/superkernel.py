"""The superkernel: one depthwise kernel that holds every kernel size and every expansion ratio.

Kernel sizes k_0 < k_1 < ... nest as a core and rings around it; expansion ratios as consecutive groups of channels.
Source: Single-Path NAS. Deviations, each explained where the gates are used (`layers/gated.py`):

1. Its gates compare Frobenius norms with thresholds; the supernet compares root mean squares relative to the
   initialiser's standard deviation, so that one threshold means the same in every block. `squared_sums` serves both.
2. It masks closed channels in the kernel; the supernet masks them in the following batch norm.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras

from autonl_tf.layers.arguments import ascending, one_of, whole
from autonl_tf.layers.depthwise import depthwise_conv2d
from autonl_tf.layers.gates import cumulative_masks
from autonl_tf.layers.initializers import FanOutNormal, fan_out_stddev
from autonl_tf.layers.registering import registered


def ring_indicators(sizes: tuple[int, ...]) -> np.ndarray:
    """[rings, k, k, 1, 1]: 1 on the core (ring 0) or on ring j of a k x k kernel, k the largest of `sizes`."""
    largest = sizes[-1]
    distance = np.maximum.outer(*[np.abs(np.arange(largest) - largest // 2)] * 2)
    rings, inner = [], -1
    for size in sizes:
        rings.append((distance <= size // 2) & (distance > inner))
        inner = size // 2
    return np.stack(rings).astype(np.float32)[..., None, None]


def squared_sums(kernel: tf.Tensor, sizes: tuple[int, ...]) -> tf.Tensor:
    """Sum of squares of [k, k, C, 1] over each ring's taps: [rings, C]."""
    return tf.reduce_sum(tf.square(tf.cast(kernel, tf.float32)) * ring_indicators(sizes), axis=[1, 2, 4])


def masked_kernel(kernel: tf.Tensor, sizes: tuple[int, ...], gates: list[tf.Tensor]) -> tf.Tensor:
    """The [k, k, C, 1] kernel with ring j zero unless gates 1 to j are open."""
    rings = ring_indicators(sizes)
    mask = rings[0] + sum(ring * gate for ring, gate in zip(rings[1:], cumulative_masks(gates), strict=True))
    return kernel * tf.cast(mask, kernel.dtype)


@registered
class SuperkernelDepthwiseConv2D(keras.layers.Layer):
    """A depthwise convolution whose kernel size is chosen by gates, [B, H, W, C] to [B, H', W', C].

    Args:
      kernel_sizes: candidates, ascending, odd.
      stride: in height and width.
      padding: where there is a stride, "same" or "symmetric", as in an architecture's header.

    Raises:
      ValueError: an argument that is not accepted.

    Call arguments:
      inputs: [B, H, W, C].
      gates: one scalar a kernel size after the first, in order.
    """

    def __init__(self, kernel_sizes: tuple[int, ...], stride: int = 1, padding: str = "same", **kwargs):
        super().__init__(**kwargs)
        what = type(self).__name__
        self.kernel_sizes = ascending(what, "kernel_sizes", kernel_sizes)
        if not all(size % 2 for size in self.kernel_sizes):
            raise ValueError(f"{what}: kernel_sizes={kernel_sizes!r}: accepted: odd ones, which have a centre")
        self.stride = whole(what, "stride", stride)
        self.padding = one_of(what, "padding", padding, ("same", "symmetric"))

    def build(self, input_shape):
        side = self.kernel_sizes[-1]
        # Masked as it is stored, then cast to the compute type.
        self.depthwise_kernel = self.add_weight(
            name="depthwise_kernel",
            shape=[side, side, input_shape[-1], 1],
            initializer=FanOutNormal(),
            experimental_autocast=False,
        )
        self.built = True

    def call(self, inputs, gates):
        kernel = tf.cast(masked_kernel(self.depthwise_kernel, self.kernel_sizes, gates), inputs.dtype)
        if self.padding == "same" or self.stride == 1:
            return depthwise_conv2d(inputs, kernel, self.stride, "SAME")
        sides = [self.kernel_sizes[-1] // 2] * 2
        return depthwise_conv2d(tf.pad(inputs, [[0, 0], sides, sides, [0, 0]]), kernel, self.stride, "VALID")

    def ring_values(self) -> list[tf.Tensor]:
        """RMS of each ring's weights over the initialiser's standard deviation: 1 at initialisation."""
        sums = tf.reduce_sum(squared_sums(self.depthwise_kernel, self.kernel_sizes), axis=1)
        taps = self._taps() * self.depthwise_kernel.shape[2]
        return [self._relative(sums[ring], taps[ring]) for ring in range(1, len(taps))]

    def group_values(self, groups: list[int], gates: list[tf.Tensor]) -> list[tf.Tensor]:
        """The same of each group of the channels, over the taps that `gates` leave on: 1 at initialisation.

        It counts active taps only, so that a closing ring does not lower every group's value and close them too.
        """
        active = tf.stack([tf.ones([]), *cumulative_masks([tf.stop_gradient(gate) for gate in gates])])
        sums = tf.linalg.matvec(squared_sums(self.depthwise_kernel, self.kernel_sizes), active, transpose_a=True)
        taps = tf.reduce_sum(active * self._taps())
        return [
            self._relative(tf.reduce_sum(group), taps * size)
            for group, size in zip(tf.split(sums, groups), groups, strict=True)
        ]

    def _taps(self) -> np.ndarray:
        return ring_indicators(self.kernel_sizes).sum(axis=(1, 2, 3, 4))

    def _relative(self, squares: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        return tf.sqrt(squares / count) / fan_out_stddev(self.depthwise_kernel.shape)

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_sizes": self.kernel_sizes,
            "stride": self.stride,
            "padding": self.padding,
        }
