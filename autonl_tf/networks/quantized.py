"""A network that computes as its int8 file will: quantization-aware training with tensorflow-model-optimization.

The library's own configurations know neither LightNL nor squeeze-excite's multiply nor our dropout, and quantize
depthwise kernels per tensor. So every layer behind the beginning gets one from here:

    convolutions, depthwise ones, dense     weights int8 per output channel, symmetric
    batch norm, swish, relu, relu6,         output int8 with a zero point; the range starts from calibration images
      pooling, multiply, add, concatenate,  (`calibrate`) or the first batch, and is a moving average from there
      and what has a bias (the logits, squeeze-excite's convolutions); but nothing in front of a relu or relu6, which
      the file computes within the convolution
    sigmoid, also swish's                   output int8 in steps of 1/256 from 0
    LightNL's product                       output, and what is inside: phi, M or S and (affinity first) g, each
                                            int8 with zero point 0 and a range of its own
    dropout, slices of channels             nothing: they keep their input's values

The beginning stays float32, as `export.int8` has it: the first convolution and the depthwise ones behind it, up to the
next convolution. Its output has a range. If a shortcut around the first block starts within the beginning, their sum is
float32 too.

What else a network may have (`check_quantizable` of `commands.train.flags`) would be cut into pieces by the CPU
delegate, and is refused.

Weights' ranges follow from the weights at every use, so that averaged weights are quantized by their own ranges.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
import tf_keras as keras

from autonl_tf.errors import UserError
from autonl_tf.networks.ranges import addable, covering

_OUTPUT = (
    *("BatchNormalization", "Activation", "Swish", "ReLU", "GlobalAveragePooling2D", "Multiply", "Add", "Concatenate"),
    "LightNLProduct",
)
_WEIGHTS = {"Conv2D": "kernel", "DepthwiseConv2D": "depthwise_kernel", "Dense": "kernel"}
_UNTOUCHED = ("InputLayer", "Dropout", "ChannelGroup")
_ENDS_BEGINNING = ("Conv2D", "Dense", "LightNLProduct")
_LEAST_GAMMA = 1e-6
_BATCH = 16  # calibration images


def quantized_network(model: keras.Model) -> keras.Model:
    """A network of `build_network` with quantization of weights and activations simulated, its weights copied.

    Returns:
      A model of the same shapes whose variables are the network's, under their names, and the ranges. Ranges are known
      after `calibrate`, or the first batch in training.

    Raises:
      ValueError: a layer that nothing is said about here.
    """
    from tensorflow_model_optimization.quantization.keras import quantize_annotate_layer, quantize_apply, quantize_scope

    from autonl_tf.networks import quantizers

    made = {
        "LightNLProduct": quantizers.QuantizedProduct,
        "Swish": quantizers.QuantizedSwish,
        "Dense": quantizers.QuantizedDense,
    }
    givers, takers = _neighbours(model)
    fused = {name for name, layers in takers.items() if layers and all(map(_is_relu, layers))}
    beginning = _beginning(model)

    def annotated(layer):
        kind, output, first = layer.__class__.__name__, "range", layer.name in beginning
        if kind not in (*_UNTOUCHED, *_WEIGHTS, *_OUTPUT):
            raise ValueError(f"layer {layer.name} ({kind}): no quantization is defined for it")
        copied = layer.__class__ if first else made.get(kind, layer.__class__)
        if not first and kind == "BatchNormalization" and isinstance(givers[layer.name][0], keras.layers.Concatenate):
            copied = quantizers.QuantizedNorm
        copy = copied.from_config(layer.get_config())
        if kind in _UNTOUCHED or (first and layer.name != beginning[-1]):
            return copy
        kernel = None if first else _WEIGHTS.get(kind)
        if getattr(layer, "activation", None) is keras.activations.sigmoid:
            output = "sigmoid"
        elif layer.name in fused or (kernel and not copy.use_bias):  # without a bias a batch norm follows
            output = None
        return quantize_annotate_layer(copy, quantizers.LayerConfig(kernel, output))

    with quantize_scope(quantizers.custom_objects()):
        template = keras.models.clone_model(model, clone_function=annotated)
        quantized = quantize_apply(template, scheme=quantizers.Scheme())
    held = {variable.name: variable for variable in quantized.variables}
    for variable, value in zip(model.weights, model.get_weights(), strict=True):
        held[variable.name].assign(value)
    return quantized


def _beginning(model: keras.Model) -> list[str]:
    """The names of the layers that stay float32."""
    kinds = [layer.__class__.__name__ for layer in model.layers]
    _, end, *_ = (*(index for index, kind in enumerate(kinds) if kind in _ENDS_BEGINNING), 0, 0)
    linear = ("Conv2D", "DepthwiseConv2D", "BatchNormalization")
    last = max((index for index in range(end) if kinds[index] in linear), default=-1)
    return [layer.name for layer in model.layers[: last + 1]]


def _neighbours(model: keras.Model) -> tuple[dict[str, list], dict[str, list]]:
    """Layer's name -> the layers whose output it takes, and -> those that take its own."""
    givers: dict[str, list] = {layer.name: [] for layer in model.layers}
    takers: dict[str, list] = {layer.name: [] for layer in model.layers}
    for layer in model.layers:
        for giver in tf.nest.flatten(layer.inbound_nodes[-1].inbound_layers):
            givers[layer.name].append(giver)
            takers[giver.name].append(layer)
    return givers, takers


def _is_relu(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.ReLU) or getattr(layer, "activation", None) is keras.activations.relu


def calibrate(quantized: keras.Model, images: np.ndarray) -> None:
    """Starts every range of a network of `quantized_network` from images, as int8 after training takes its own.

    The float network is run on them: quantizers change nothing meanwhile.

    Args:
      images: normalised, [N, S, S, 3].

    Raises:
      UserError: on too many images a value is not finite.
      ValueError: no images.
    """
    from autonl_tf.networks import quantizers

    with quantizers.observing() as observed:
        for first in range(0, len(images), _BATCH):
            quantized(images[first : first + _BATCH], training=False)
    ranges = covering({name: np.concatenate(found.extremes) for name, found in observed.items()})
    for name, found in observed.items():
        found.quantizer.start(found.weights, *ranges[name])


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


@contextlib.contextmanager
def nothing_too_small(quantized: keras.Model) -> Iterator[None]:
    """Context in which a network of `quantized_network` has no value too small for a file, such as a new LightNL's.

    Gamma becomes a factor of the kernel's steps. A gamma near zero is raised until the steps are not zero (the
    converter would leave the layer float32) and the bias is within half of int32's range. Terms that add next to
    nothing get the range of `networks.ranges.addable`.
    """
    from autonl_tf.networks.quantizers import kernel_steps, output_range

    changed = {}

    def assign(variable, value):
        changed.setdefault(variable.ref(), variable.numpy())
        variable.assign(value)

    def ends(variables) -> tuple[float, float]:
        return tuple(float(end.read_value()) for end in variables)

    givers, _ = _neighbours(quantized)
    for layer in quantized.layers:
        inner = getattr(layer, "layer", None)
        if isinstance(inner, keras.layers.BatchNormalization):
            (convolution,) = givers[layer.name]
            if not hasattr(getattr(convolution, "layer", None), "kernel_size"):
                continue  # behind a float32 convolution or a concatenation
            source = convolution
            while (entering := output_range(source)) is None:
                (source,) = givers[source.name]
            low, high = ends(entering)
            gamma, deviation = inner.gamma.numpy(), np.sqrt(inner.moving_variance.numpy() + inner.epsilon)
            bias = np.abs(inner.beta.numpy()) + np.abs(gamma * inner.moving_mean.numpy() / deviation)
            steps = (high - low) / 255 * kernel_steps(convolution)
            least = np.maximum(bias * deviation / (steps * 2**30), _LEAST_GAMMA)
            assign(inner.gamma, np.where(np.abs(gamma) < least, np.copysign(least, gamma), gamma))
        if isinstance(inner, keras.layers.Add):
            total = ends(output_range(layer))
            for giver in givers[layer.name]:
                if (term := output_range(giver)) is None:
                    continue  # from within the beginning
                for variable, value in zip(term, addable(ends(term), total), strict=True):
                    assign(variable, value)
    try:
        yield
    finally:
        for reference, value in changed.items():
            reference.deref().assign(value)


def check_beginning(names: Iterable[str], where: object) -> None:
    """Raises UserError where the names of a checkpoint's variables say that its beginning was trained as int8."""
    if any("quantize_image" in name for name in names):
        raise UserError(
            f"{where}: was trained with --qat by an earlier version, whose int8 began at the image; "
            "start --qat again from the float weights"
        )


def is_range(name: str) -> bool:
    """Whether a variable of `quantized_network`, by its name, is none of the network's own."""
    layer = name.split("/")[0]
    return layer.startswith(("quant_", "quantize_")) or layer.endswith("_nl_product")


def copy_float_weights(quantized: keras.Model, model: keras.Model) -> None:
    """Gives a network of `build_network` the weights of its quantized form, the simulated quantization left out."""
    held = {variable.name: variable for variable in quantized.variables}
    for variable in model.variables:
        variable.assign(held[variable.name])
