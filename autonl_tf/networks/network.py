"""An architecture as a flat functional Keras model with stable layer names.

Stem 3x3 stride 2, blocks, head 1x1 to 1280, global average pool, dropout, dense. Block: [expand 1x1, BN, swish] -
depthwise, BN, swish - [squeeze-excite] - project 1x1, BN - [LightNL] - [+ shortcut]. SAME padding as TensorFlow
defines it; batch norm momentum 0.99, epsilon 1e-3. Source: the AutoNL release (TF 1.14).

Layer names: `stem_conv`, `block3_expand_conv`, `block3_depthwise`, `block3_se_reduce`, `block3_project_bn`,
`block3_nl_product`, `block3_add`, `head_conv`, `logits`; blocks are counted from 0 with repeats unrolled, and a
convolution in several groups is `block3_depthwise_group1` and so on.
"""

from __future__ import annotations

import tf_keras as keras

from autonl_tf.arch.spec import (
    HEAD_FILTERS,
    STEM_FILTERS,
    BlockSpec,
    NetworkSpec,
    check_fits,
    scale_filters,
    split_channels,
)
from autonl_tf.layers.dropout import Dropout
from autonl_tf.layers.initializers import DenseUniform, FanOutNormal
from autonl_tf.layers.light_nl import BN_EPSILON, BN_MOMENTUM, light_nl_layers


def build_network(
    spec: NetworkSpec,
    *,
    image_size: int,
    num_classes: int,
    depth_multiplier: float = 1.0,
    dropout_rate: float = 0.0,
    sync_batch_norm: bool = False,
) -> keras.Model:
    """Builds the network of an architecture.

    Args:
      spec: the architecture.
      image_size: S, height and width of the images; static, since LightNL picks its product order by it.
      num_classes: number of logits.
      depth_multiplier: scales every block's filters and the stem's; the head keeps its 1280.
      dropout_rate: share of the pooled features dropped in training.
      sync_batch_norm: every batch norm takes its statistics over the batches of all replicas.

    Returns:
      A model from normalised images, float32 [B, S, S, 3], to logits, float32 [B, num_classes].

    Raises:
      UserError: a LightNL that does not fit its feature map.
    """
    check_fits(spec, image_size, depth_multiplier)
    inputs = keras.Input([image_size, image_size, 3], name="image")
    x = _stem(inputs, scale_filters(STEM_FILTERS, depth_multiplier), sync_batch_norm)
    for index, block in enumerate(spec.singles(depth_multiplier)):
        x = _block(x, block, f"block{index}", sync_batch_norm)
    return keras.Model(inputs, _head(x, num_classes, dropout_rate, sync_batch_norm), name="autonl")


def _stem(inputs, filters: int, sync_batch_norm: bool):
    x = convolution(filters, 3, 2, name="stem_conv")(inputs)
    return _swish(batch_norm("stem_bn", sync_batch_norm)(x), "stem_swish")


def _head(x, num_classes: int, dropout_rate: float, sync_batch_norm: bool):
    x = convolution(HEAD_FILTERS, 1, name="head_conv")(x)
    x = _swish(batch_norm("head_bn", sync_batch_norm)(x), "head_swish")
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    x = Dropout(dropout_rate, name="head_dropout")(x)
    return classifier(num_classes)(x)


def convolution(
    filters: int, kernel: int, stride: int = 1, *, name: str, use_bias: bool = False
) -> keras.layers.Conv2D:
    """A SAME convolution with the release's initialiser."""
    return keras.layers.Conv2D(
        filters,
        kernel,
        stride,
        padding="same",
        use_bias=use_bias,
        kernel_initializer=FanOutNormal(),
        name=name,
    )


def batch_norm(name: str, synchronized: bool = False) -> keras.layers.BatchNormalization:
    return keras.layers.BatchNormalization(
        momentum=BN_MOMENTUM, epsilon=BN_EPSILON, synchronized=synchronized, name=name
    )


def classifier(num_classes: int) -> keras.layers.Dense:
    """The logits, in float32 whatever the compute type."""
    return keras.layers.Dense(num_classes, kernel_initializer=DenseUniform(), dtype="float32", name="logits")


def _swish(x, name: str):
    return keras.layers.Activation("swish", name=name)(x)


def _depthwise(kernel: int, stride: int, name: str) -> keras.layers.DepthwiseConv2D:
    return keras.layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, depthwise_initializer=FanOutNormal(), name=name
    )


@keras.saving.register_keras_serializable("autonl")
class ChannelGroup(keras.layers.Layer):
    """Channels [start, start + size) of [B, H, W, C]."""

    def __init__(self, start: int, size: int, **kwargs):
        super().__init__(**kwargs)
        self.start, self.size = start, size

    def call(self, inputs):
        return inputs[..., self.start : self.start + self.size]

    def get_config(self):
        return {**super().get_config(), "start": self.start, "size": self.size}


def _grouped(x, kernels: tuple[int, ...], filters: int, name: str, make):
    """One convolution a kernel size, each on its share of the channels: `make(kernel, filters, name)` makes them."""
    if len(kernels) == 1:
        return make(kernels[0], filters, name)(x)
    inputs, outputs = split_channels(x.shape[-1], len(kernels)), split_channels(filters, len(kernels))
    parts, start = [], 0
    for number, kernel in enumerate(kernels):
        group = ChannelGroup(start, inputs[number], name=f"{name}_slice{number}")(x)
        parts.append(make(kernel, outputs[number], f"{name}_group{number}")(group))
        start += inputs[number]
    return keras.layers.Concatenate(name=f"{name}_concat")(parts)


def _block(inputs, block: BlockSpec, name: str, sync_batch_norm: bool):
    """One inverted bottleneck, [B, H, W, in_filters] to [B, ceil(H / s), ceil(W / s), out_filters]."""

    def pointwise(kernel: int, filters: int, layer: str):
        return convolution(filters, kernel, name=layer)

    x, expanded = inputs, block.expanded_filters
    if block.expansion != 1:
        x = _grouped(x, block.expand_kernels, expanded, f"{name}_expand_conv", pointwise)
        x = _swish(batch_norm(f"{name}_expand_bn", sync_batch_norm)(x), f"{name}_expand_swish")
    x = _grouped(
        x,
        block.kernels,
        expanded,
        f"{name}_depthwise",
        lambda k, _, layer: _depthwise(k, block.stride, layer),
    )
    x = _swish(batch_norm(f"{name}_depthwise_bn", sync_batch_norm)(x), f"{name}_depthwise_swish")
    if block.se_ratio is not None:
        x = _squeeze_excite(x, block.se_filters, f"{name}_se")
    x = _grouped(x, block.project_kernels, block.out_filters, f"{name}_project_conv", pointwise)
    x = batch_norm(f"{name}_project_bn", sync_batch_norm)(x)
    if block.nonlocal_ is not None:
        y = x
        for layer in light_nl_layers(
            block.nonlocal_.ratio, block.nonlocal_.stride, f"{name}_nl_", sync_batch_norm=sync_batch_norm
        ):
            y = layer(y)
        x = keras.layers.Add(name=f"{name}_nl_add")([x, y])
    if block.has_shortcut:
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def fixed_block(block: BlockSpec, in_size: int, name: str, sync_batch_norm: bool) -> keras.Model:
    """One block as a model of its own, [B, in_size, in_size, in_filters] in, for supernets, and to be timed."""
    inputs = keras.Input([in_size, in_size, block.in_filters])
    return keras.Model(inputs, _block(inputs, block, name, sync_batch_norm), name=name)


def stem_model(image_size: int) -> keras.Model:
    """The stem as a model of its own: [B, S, S, 3] in."""
    inputs = keras.Input([image_size, image_size, 3])
    return keras.Model(inputs, _stem(inputs, STEM_FILTERS, False), name="stem")


def head_model(filters: int, size: int, num_classes: int) -> keras.Model:
    """The head as a model of its own: [B, size, size, filters] to logits [B, num_classes]."""
    inputs = keras.Input([size, size, filters])
    return keras.Model(inputs, _head(inputs, num_classes, 0.0, False), name="head")


def _squeeze_excite(x, filters: int, name: str):
    """x * sigmoid(W2 swish(W1 mean(x) + b1) + b2), the mean over height and width."""
    channels = x.shape[-1]
    s = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    s = _swish(convolution(filters, 1, name=f"{name}_reduce", use_bias=True)(s), f"{name}_swish")
    s = convolution(channels, 1, name=f"{name}_expand", use_bias=True)(s)
    s = keras.layers.Activation("sigmoid", name=f"{name}_sigmoid")(s)
    return keras.layers.Multiply(name=f"{name}_scale")([x, s])
