"""The conventional non-local block, embedded Gaussian: what LightNL is measured against.

For x [B, H, W, C], c = int(C * ratio), s = stride:

    theta = W_theta x                          [B, H*W, c]
    phi   = maxpool_s(W_phi x)                 [B, n', c], n' = ceil(H / s) * ceil(W / s)
    g     = maxpool_s(W_g x)                   [B, n', c]
    y     = softmax(theta phi^T) g             softmax over the n' positions
    out   = x + BN(W_out y)                    gamma starts at zero: it starts as the identity

All W are 1x1 convolutions; theta, phi and g have biases. Source: Wang et al., Non-local Neural Networks, CVPR 2018,
sections 3.2 and 3.3, in two dimensions.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from autonl_tf.layers.arguments import feature_map, share, whole
from autonl_tf.layers.initializers import FanOutNormal
from autonl_tf.layers.light_nl import batch_norm, flatten_positions
from autonl_tf.layers.registering import registered


@registered
class EmbeddedProduct(keras.layers.Layer):
    """softmax(theta phi^T) g, without weights.

    Call arguments:
      inputs: theta [B, H, W, c], phi and g [B, H', W', c], sizes static.

    Returns:
      [B, H, W, c]. Products and softmax run in float32 whatever the compute type.
    """

    def call(self, inputs):
        theta, phi, g = (flatten_positions(tf.cast(x, tf.float32)) for x in inputs)
        affinity = tf.nn.softmax(tf.matmul(theta, phi, transpose_b=True), axis=-1)
        y = tf.reshape(tf.matmul(affinity, g), [-1, *inputs[0].shape[1:]])
        return tf.cast(y, inputs[0].dtype)


def apply_embedded(
    x,
    ratio: float,
    stride: int,
    prefix: str = "",
    sync_batch_norm: bool = False,
    policy: keras.mixed_precision.Policy | None = None,
):
    """What the block adds to x [B, H, W, C], of the same shape, as ordinary Keras layers named `prefix`...

    They compute by `policy`; None: the global one.

    Raises:
      ValueError: a ratio or stride that is not accepted, H, W or C unknown, or no channel left.
    """
    channels = feature_map("non-local block", x.shape)[-1]
    ratio, stride = share("non-local block", "ratio", ratio), whole("non-local block", "stride", stride)
    inner = int(channels * ratio)
    if inner < 1:
        raise ValueError(f"non-local block: ratio {ratio} of {channels} channels leaves no channel")
    last = {"data_format": "channels_last"}

    def convolution(filters: int, name: str, use_bias: bool = True):
        options = {"use_bias": use_bias, "kernel_initializer": FanOutNormal(), "dtype": policy, **last}
        return keras.layers.Conv2D(filters, 1, name=f"{prefix}{name}", **options)

    theta, phi, g = (convolution(inner, name)(x) for name in ("theta", "phi", "g"))
    if stride > 1:
        phi = keras.layers.MaxPooling2D(stride, padding="same", name=f"{prefix}phi_pool", dtype=policy, **last)(phi)
        g = keras.layers.MaxPooling2D(stride, padding="same", name=f"{prefix}g_pool", dtype=policy, **last)(g)
    y = EmbeddedProduct(name=f"{prefix}product", dtype=policy)([theta, phi, g])
    y = convolution(channels, "out", use_bias=False)(y)
    return batch_norm(f"{prefix}bn", sync_batch_norm, "zeros", policy)(y)


@registered
class EmbeddedNonLocal(keras.layers.Layer):
    """The conventional non-local block in one layer, to put into any Keras network: [B, H, W, C] to the same.

    It starts as the identity. `get_config` round-trips. H, W and C must be static. What is inside computes by the
    layer's own dtype policy.

    Args:
      ratio: channels inside as a share of C; above 0, at most 1. Source's: 0.5.
      stride: of the max-pooling of phi and g. Source's: 2; 1 does not pool.

    Raises:
      ValueError: a ratio or stride that is not accepted, H, W or C unknown, or no channel left.
    """

    def __init__(self, ratio: float = 0.5, stride: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.ratio = share("EmbeddedNonLocal", "ratio", ratio)
        self.stride = whole("EmbeddedNonLocal", "stride", stride)

    def build(self, input_shape):
        inputs = keras.Input(input_shape[1:], dtype=self.compute_dtype)
        branch = apply_embedded(inputs, self.ratio, self.stride, policy=self.dtype_policy)
        self.branch = keras.Model(inputs, branch)
        super().build(input_shape)

    def call(self, inputs, training=None):
        return inputs + self.branch(inputs, training=training)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "ratio": self.ratio, "stride": self.stride}
