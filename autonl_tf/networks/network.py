"""An architecture as a flat functional Keras model with stable layer names.

Stem 3x3 stride 2, blocks, head 1x1 to 1280, global average pool, dropout, dense. Block: [expand 1x1, BN, swish] -
depthwise, BN, swish - [squeeze-excite] - project 1x1, BN - [LightNL] - [+ shortcut]. SAME padding as TensorFlow
defines it; batch norm momentum 0.99, epsilon 1e-3. Source: the AutoNL release (TF 1.14). An architecture's header may
give other widths of stem and head, another activation, or a channel shuffle before depthwise convolutions whose
projection is in groups; a block may have a conventional non-local block in LightNL's place.

Layer names: `stem_conv`, `block3_expand_conv`, `block3_depthwise`, `block3_se_reduce`, `block3_project_bn`,
`block3_nl_product`, `block3_add`, `head_conv`, `logits`; blocks are counted from 0 with repeats unrolled, and a
convolution in several groups is `block3_depthwise_group1` and so on.
"""

from __future__ import annotations

import tf_keras as keras

from autonl_tf.arch.cost import check_parameters
from autonl_tf.arch.spec import BlockSpec, NetworkSpec, scale_filters, split_channels
from autonl_tf.layers.activations import ChannelGroup, ChannelShuffle, activation
from autonl_tf.layers.depthwise import DepthwiseConv2D
from autonl_tf.layers.dropout import Dropout
from autonl_tf.layers.embedded_nl import apply_embedded
from autonl_tf.layers.initializers import DenseUniform, FanOutNormal
from autonl_tf.layers.light_nl import batch_norm, light_nl_layers


def build_network(spec: NetworkSpec, *, image_size: int | tuple[int, int], **options) -> keras.Model:
    """Builds the network of an architecture, on an input of its own.

    Args:
      image_size: S, side of the images, or their height and width; static, since LightNL picks its product order by it.
      options: `num_classes`, `depth_multiplier`, `dropout_rate`, `sync_batch_norm`, as for `apply_network`.

    Returns:
      A model from normalised images, float32 [B, S, S, 3], to logits, float32 [B, num_classes].

    Raises:
      UserError: a non-local block that does not fit its feature map.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    inputs = keras.Input([height, width, 3], name="image", dtype="float32")
    return keras.Model(inputs, apply_network(inputs, spec, **options), name="autonl")


def apply_network(
    inputs,
    spec: NetworkSpec,
    *,
    num_classes: int,
    depth_multiplier: float = 1.0,
    dropout_rate: float = 0.0,
    sync_batch_norm: bool = False,
):
    """Builds the network of an architecture on a Keras tensor of normalised images.

    Args:
      inputs: [B, H, W, 3], H and W static.
      depth_multiplier: scales every block's filters and the stem's; the head keeps its own.
      dropout_rate: share of the pooled features dropped in training.
      sync_batch_norm: every batch norm takes its statistics over the batches of all replicas.

    Returns:
      The logits, a Keras tensor, float32 [B, num_classes].

    Raises:
      UserError: a non-local block that does not fit its feature map.
    """
    size = min(inputs.shape[1:3])
    check_parameters(spec, image_size=size, num_classes=num_classes, depth_multiplier=depth_multiplier)
    x = _stem(inputs, spec, depth_multiplier, sync_batch_norm)
    for index, block in enumerate(spec.singles(depth_multiplier)):
        x = _block(x, block, f"block{index}", sync_batch_norm)
    return _head(x, spec, num_classes, dropout_rate, sync_batch_norm)


def _stem(inputs, spec: NetworkSpec, depth_multiplier: float, sync_batch_norm: bool):
    filters = scale_filters(spec.stem_filters, depth_multiplier)
    stem = convolution(filters, 3, 2, name="stem_conv", padding=spec.padding)
    x = padded(stem, spec.padding)(inputs)
    return activation(spec.activation, "stem")(batch_norm("stem_bn", sync_batch_norm)(x))


def _head(x, spec: NetworkSpec, num_classes: int, dropout_rate: float, sync_batch_norm: bool):
    x = convolution(spec.head_filters, 1, name="head_conv")(x)
    x = activation(spec.activation, "head")(batch_norm("head_bn", sync_batch_norm)(x))
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="head_pool")(x)
    x = Dropout(dropout_rate, name="head_dropout")(x)
    return classifier(num_classes)(x)


def convolution(
    filters: int, kernel: int, stride: int = 1, *, name: str, use_bias: bool = False, padding: str = "same"
) -> keras.layers.Conv2D:
    """A convolution with the release's initialiser; with symmetric padding and a stride, see `padded`."""
    return keras.layers.Conv2D(
        filters,
        kernel,
        stride,
        padding=_own_padding(padding, stride),
        data_format="channels_last",
        use_bias=use_bias,
        kernel_initializer=FanOutNormal(),
        name=name,
    )


def classifier(num_classes: int) -> keras.layers.Dense:
    """The logits, in float32 whatever the compute type."""
    return keras.layers.Dense(num_classes, kernel_initializer=DenseUniform(), dtype="float32", name="logits")


def _depthwise(kernel: int, stride: int, name: str, padding: str):
    layer = DepthwiseConv2D(
        kernel,
        stride,
        padding=_own_padding(padding, stride),
        data_format="channels_last",
        use_bias=False,
        depthwise_initializer=FanOutNormal(),
        name=name,
    )
    return padded(layer, padding)


def _own_padding(padding: str, stride: int) -> str:
    """A convolution's own padding: none where `padded` pads for it. Without a stride both paddings are SAME."""
    return "valid" if padding == "symmetric" and stride > 1 else "same"


def padded(layer, padding: str):
    """`layer`, behind a padding of kernel // 2 on every side where the padding is symmetric and it has a stride."""
    if padding == "same" or layer.strides[0] == 1:
        return layer
    pad = keras.layers.ZeroPadding2D(layer.kernel_size[0] // 2, data_format="channels_last", name=f"{layer.name}_pad")
    return lambda x: layer(pad(x))


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
        x = activation(block.activation, f"{name}_expand")(batch_norm(f"{name}_expand_bn", sync_batch_norm)(x))
    if block.shuffle_groups > 1:
        x = ChannelShuffle(block.shuffle_groups, name=f"{name}_shuffle")(x)
    x = _grouped(
        x,
        block.kernels,
        expanded,
        f"{name}_depthwise",
        lambda k, _, layer: _depthwise(k, block.stride, layer, block.padding),
    )
    x = activation(block.activation, f"{name}_depthwise")(batch_norm(f"{name}_depthwise_bn", sync_batch_norm)(x))
    if block.se_ratio is not None:
        x = _squeeze_excite(x, block.se_filters, block.activation, f"{name}_se")
    x = _grouped(x, block.project_kernels, block.out_filters, f"{name}_project_conv", pointwise)
    x = batch_norm(f"{name}_project_bn", sync_batch_norm)(x)
    if block.nonlocal_ is not None:
        y = x
        for layer in light_nl_layers(
            block.nonlocal_.ratio, block.nonlocal_.stride, f"{name}_nl_", sync_batch_norm=sync_batch_norm
        ):
            y = layer(y)
        x = keras.layers.Add(name=f"{name}_nl_add")([x, y])
    if block.embedded is not None:
        y = apply_embedded(x, block.embedded.ratio, block.embedded.stride, f"{name}_embedded_", sync_batch_norm)
        x = keras.layers.Add(name=f"{name}_embedded_add")([x, y])
    if block.has_shortcut:
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def fixed_block(block: BlockSpec, in_size: int, name: str, sync_batch_norm: bool) -> keras.Model:
    """One block as a model of its own, [B, in_size, in_size, in_filters] in, for supernets, and to be timed."""
    inputs = keras.Input([in_size, in_size, block.in_filters])
    return keras.Model(inputs, _block(inputs, block, name, sync_batch_norm), name=name)


def stem_model(family: NetworkSpec, image_size: int) -> keras.Model:
    """The stem of a space's networks as a model of its own: [B, S, S, 3] in."""
    inputs = keras.Input([image_size, image_size, 3])
    return keras.Model(inputs, _stem(inputs, family, 1.0, False), name="stem")


def head_model(family: NetworkSpec, filters: int, size: int, num_classes: int) -> keras.Model:
    """Their head as a model of its own: [B, size, size, filters] to logits [B, num_classes]."""
    inputs = keras.Input([size, size, filters])
    return keras.Model(inputs, _head(inputs, family, num_classes, 0.0, False), name="head")


def _squeeze_excite(x, filters: int, kind: str, name: str):
    """x * sigmoid(W2 f(W1 mean(x) + b1) + b2), f the activation, the mean over height and width."""
    channels = x.shape[-1]
    s = keras.layers.GlobalAveragePooling2D(data_format="channels_last", keepdims=True, name=f"{name}_pool")(x)
    s = activation(kind, name)(convolution(filters, 1, name=f"{name}_reduce", use_bias=True)(s))
    s = convolution(channels, 1, name=f"{name}_expand", use_bias=True)(s)
    s = keras.layers.Activation("sigmoid", name=f"{name}_sigmoid")(s)
    return keras.layers.Multiply(name=f"{name}_scale")([x, s])
