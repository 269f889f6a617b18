"""LightNL, the paper's lightweight non-local block (section 3.1).

For x [B, H, W, C], c = int(C * ratio), s = stride:

    theta = x[:, :, :, :c]            [B, H*W, c]
    g     = x[:, ::s, ::s, :]         [B, H'*W', C]
    phi   = g[..., :c]                [B, H'*W', c]
    y     = theta phi^T g / (H * W)
    out   = x + BN(DepthwiseConv3x3(y))

No softmax, no projections. Source: the AutoNL release for TensorFlow; its PyTorch port scales y by W / H instead.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch.cost import affinity_first
from autonl_tf.layers.arguments import feature_map, share, whole
from autonl_tf.layers.initializers import light_nl_depthwise
from autonl_tf.layers.precision import wide_dtype
from autonl_tf.layers.registering import registered

BN_MOMENTUM = 0.99
BN_EPSILON = 1e-3


def subsample(x: tf.Tensor, stride: int) -> tf.Tensor:
    """x[:, ::stride, ::stride, :] of [B, H, W, C], as a 1x1 depthwise convolution with ones.

    Bit for bit the slice, but the mobile CPU delegate takes a convolution and never a strided slice.
    """
    if stride == 1:
        return x
    ones = tf.ones([1, 1, x.shape[-1], 1], x.dtype)
    return tf.nn.depthwise_conv2d(x, ones, [1, stride, stride, 1], "VALID")


def flatten_positions(x: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] to [B, H*W, C]."""
    _, height, width, channels = x.shape
    return tf.reshape(x, [-1, height * width, channels])


def batch_norm(
    name: str, synchronized: bool = False, gamma: str = "ones", dtype=None
) -> keras.layers.BatchNormalization:
    """The release's; with gamma "zeros" the one behind which a non-local block, at first the identity, is added."""
    options = {"gamma_initializer": gamma, "synchronized": synchronized, "name": name, "dtype": dtype}
    return keras.layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, **options)


@registered
class LightNLProduct(keras.layers.Layer):
    """The weightless product of LightNL: y = theta phi^T g / (H * W), [B, H, W, C] to [B, H, W, C].

    The order of the two products is fixed at build time, on static H and W: the cheaper by the release's count. With
    n' = (H // s) * (W // s), (theta phi^T) g when H*W*n'*C*(1 + ratio) < H*W*C^2*ratio + n'*C^2*ratio.
    Products and sums run in float32 at least, whatever the compute type, since y is cubic in x. A layer of type
    float32 also gives y in float32, which is how `light_nl_layers` makes it under mixed precision.

    Args:
      ratio: c = int(C * ratio) channels in theta and phi; above 0, at most 1.
      stride: spatial stride of g and phi.

    Raises:
      ValueError: a ratio or stride that is not accepted or larger than the map, H, W or C unknown, or no channel left.
    """

    def __init__(self, ratio: float = 1.0, stride: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.ratio, self.stride = share("LightNL", "ratio", ratio), whole("LightNL", "stride", stride)

    def build(self, input_shape):
        height, width, channels = feature_map("LightNL", input_shape)
        if self.stride > min(height, width):
            raise ValueError(f"LightNL stride {self.stride} is larger than its {height}x{width} feature map")
        self.reduced = int(channels * self.ratio)
        if self.reduced < 1:
            raise ValueError(f"LightNL ratio {self.ratio} of {channels} channels leaves no channel")
        self.affinity_first = affinity_first(height, width, channels, self.ratio, self.stride)
        super().build(input_shape)

    def call(self, inputs):
        return self.product(inputs)

    def product(self, inputs, held: Callable[[str, tf.Tensor], tf.Tensor] = lambda name, value: value):
        """y; the next step takes `held(name, value)` for a value in between, which simulated int8 rounds.

        Names: `phi` as the second factor; `middle`, the first product, unscaled; and `g`, if the second product takes
        it (affinity first).
        """
        x = tf.cast(inputs, wide_dtype(self.dtype_policy))
        _, height, width, _ = x.shape
        theta = flatten_positions(x[..., : self.reduced])  # [B, N, c], N = H*W
        g = flatten_positions(subsample(x, self.stride))  # [B, N', C], N' = H'*W'
        phi = theta if self.stride == 1 else g[..., : self.reduced]  # [B, N', c]
        scale = 1.0 / (height * width)
        # The scale is applied where it costs least in a TFLite file: the converter moves a factor of all of y into the
        # depthwise convolution behind, but not past the reshape that the affinity-first order ends in.
        if self.affinity_first:
            affinity = held("middle", tf.matmul(theta, held("phi", phi), transpose_b=True))  # [B, N, N']
            y = tf.reshape(tf.matmul(affinity * scale, held("g", g)), [-1, *x.shape[1:]])  # [B, H, W, C]
        else:
            context = held("middle", tf.matmul(held("phi", phi), g, transpose_a=True))  # [B, c, C]
            y = tf.reshape(tf.matmul(theta, context), [-1, *x.shape[1:]]) * scale  # [B, H, W, C]
        return tf.cast(y, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "ratio": self.ratio, "stride": self.stride}


def light_nl_layers(
    ratio: float,
    stride: int,
    prefix: str = "",
    policy: keras.mixed_precision.Policy | None = None,
    sync_batch_norm: bool = False,
) -> list[keras.layers.Layer]:
    """The chain of layers whose output LightNL adds to its input: product, 3x3 depthwise, batch norm with gamma zero.

    Kept apart, rather than in one layer, so that quantization takes the depthwise and the batch norm as it knows them.
    Under a mixed policy (default: the global one) the whole chain computes in float32.
    """
    dtype = wide_dtype(policy)
    return [
        LightNLProduct(ratio, stride, name=f"{prefix}product", dtype=dtype),
        keras.layers.DepthwiseConv2D(
            3,
            padding="same",
            data_format="channels_last",
            use_bias=False,
            depthwise_initializer=light_nl_depthwise(),
            name=f"{prefix}depthwise",
            dtype=dtype,
        ),
        batch_norm(f"{prefix}bn", sync_batch_norm, "zeros", dtype),
    ]


@registered
class LightNL(keras.layers.Layer):
    """LightNL in one layer, to put into any Keras network: x + BN(DepthwiseConv3x3(y)), [B, H, W, C] to the same.

    It starts as the identity, since the batch norm's gamma starts at zero. `get_config` round-trips.

    Args:
      ratio: channels of theta and phi as a share of C; above 0, at most 1.
      stride: spatial stride of g and phi.
      sync_batch_norm: the batch norm's statistics are those of all replicas' batches.

    Raises:
      ValueError: as `LightNLProduct`.
    """

    def __init__(self, ratio: float = 0.25, stride: int = 1, sync_batch_norm: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.product, self.depthwise, self.bn = light_nl_layers(
            ratio, stride, policy=self.dtype_policy, sync_batch_norm=sync_batch_norm
        )
        self.ratio, self.stride, self.sync_batch_norm = self.product.ratio, self.product.stride, sync_batch_norm

    def build(self, input_shape):
        for layer in (self.product, self.depthwise, self.bn):
            with tf.name_scope(layer.name):  # as a call names their variables
                layer.build(input_shape)
        super().build(input_shape)

    def call(self, inputs, training=None):
        return inputs + tf.cast(self.bn(self.depthwise(self.product(inputs)), training=training), inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "ratio": self.ratio,
            "stride": self.stride,
            "sync_batch_norm": self.sync_batch_norm,
        }
