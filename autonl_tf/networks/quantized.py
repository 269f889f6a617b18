"""A network that computes as its int8 file will: quantization-aware training with tensorflow-model-optimization.

The library's own configurations know neither LightNL nor squeeze-excite's multiply nor our dropout, and quantize
depthwise kernels per tensor. So every layer gets one from here:

    convolutions, depthwise ones            weights int8 per output channel, symmetric
    dense                                   weights int8, symmetric, one range
    batch norm, swish, relu, relu6,         output int8 with a zero point; the range is a moving average
      sigmoid, pooling, multiply, add,      of the batches' ranges, which starts at the first batch's
      concatenate, and what has a bias (logits, squeeze-excite)
    LightNL's product                       output, and what is inside: phi, M or S and (affinity first) g, each
                                            int8 with zero point 0 and a range of its own
    dropout, slices of channels             nothing: they keep their input's values

What else a network may have (`check_quantizable`) would be cut into pieces by the CPU delegate, and is refused.

Weights' ranges follow from the weights at every use, so that averaged weights are quantized by their own ranges.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tf_keras as keras

from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.errors import UserError

_OUTPUT = (
    *("BatchNormalization", "Activation", "Swish", "ReLU", "GlobalAveragePooling2D", "Multiply", "Add", "Concatenate"),
    "LightNLProduct",
)
_WEIGHTS = {"Conv2D": "kernel", "DepthwiseConv2D": "depthwise_kernel", "Dense": "kernel"}
_UNTOUCHED = ("InputLayer", "Dropout", "ChannelGroup")


def check_quantizable(spec: NetworkSpec) -> None:
    """Raises UserError for an architecture with layers that `quantized_network` cannot take, naming them."""
    blocks = spec.blocks
    found = [
        kind
        for kind, there in (
            ("HardSwish (hswish)", "hswish" in {spec.activation, *(block.activation for block in blocks)}),
            ("ChannelShuffle (shuffle=on)", any(block.shuffle_groups > 1 for block in blocks)),
            ("ZeroPadding2D (padding=symmetric)", spec.padding == "symmetric"),
            ("EmbeddedProduct (embedded)", any(block.embedded is not None for block in blocks)),
            ("MaxPooling2D (embedded's stride)", any(block.embedded and block.embedded.stride > 1 for block in blocks)),
        )
        if there
    ]
    if found:
        raise UserError(
            f"{spec.source}: quantization-aware training has no int8 form of {', '.join(found)}; accepted: swish, "
            "relu, relu6, squeeze-excite, LightNL, grouped convolutions, padding=same"
        )


def quantized_network(model: keras.Model) -> keras.Model:
    """A network of `build_network` with quantization of weights and activations simulated, its weights copied.

    Returns:
      A model of the same shapes whose variables are the network's, under their names, and the ranges. Ranges are known
      after the first batch in training.

    Raises:
      ValueError: a layer that nothing is said about here.
    """
    from tensorflow_model_optimization.quantization.keras import (
        quantize_annotate_layer,
        quantize_apply,
        quantize_scope,
    )

    from autonl_tf.networks import quantizers

    def annotated(layer):
        kind = layer.__class__.__name__
        made = quantizers.QuantizedProduct if kind == "LightNLProduct" else layer.__class__
        copy = made.from_config(layer.get_config())
        if kind in _UNTOUCHED:
            return copy
        if kind in _WEIGHTS:
            output = copy.use_bias  # no batch norm follows: the logits, squeeze-excite's convolutions
            return quantize_annotate_layer(copy, quantizers.LayerConfig(_WEIGHTS[kind], output))
        if kind in _OUTPUT:
            return quantize_annotate_layer(copy, quantizers.LayerConfig(None, True))
        raise ValueError(f"layer {layer.name} ({kind}): no quantization is defined for it")

    with quantize_scope(quantizers.custom_objects()):
        template = keras.models.clone_model(model, clone_function=annotated)
        quantized = quantize_apply(template, scheme=quantizers.Scheme())
    held = {variable.name: variable for variable in quantized.variables}
    for variable, value in zip(model.weights, model.get_weights(), strict=True):
        held[variable.name].assign(value)
    return quantized


@contextlib.contextmanager
def products_left_float(quantized: keras.Model) -> Iterator[dict[str, dict[str, float]]]:
    """Within it, a network of `quantized_network` computes LightNL's products in float32, their output apart.

    Gives the ranges they have otherwise: layer's name -> `phi`, `middle`, `g` (affinity first) -> greatest magnitude.
    """
    from autonl_tf.networks.quantizers import QuantizedProduct

    wrapped = {layer.name: getattr(layer, "layer", None) for layer in quantized.layers}
    products = {name: layer for name, layer in wrapped.items() if isinstance(layer, QuantizedProduct)}
    for layer in products.values():
        layer.simulated = False
    try:
        yield {name: layer.ranges() for name, layer in products.items()}
    finally:
        for layer in products.values():
            layer.simulated = True


def is_range(name: str) -> bool:
    """Whether a variable of `quantized_network`, by its name, is none of the network's own."""
    layer = name.split("/")[0]
    return layer.startswith(("quant_", "quantize_")) or layer.endswith("_nl_product")


def copy_float_weights(quantized: keras.Model, model: keras.Model) -> None:
    """Gives a network of `build_network` the weights of its quantized form, the simulated quantization left out.

    Raises:
      ValueError: the two are not of one architecture.
    """
    held = {variable.name: variable for variable in quantized.variables}
    for variable in model.variables:
        source = held.get(variable.name)
        if source is None or source.shape != variable.shape:
            raise ValueError(f"{variable.name}: not in the quantized network, or of another shape there")
        variable.assign(source)
