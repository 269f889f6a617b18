"""What `quantized` plugs into tensorflow-model-optimization: quantizers, layers, their configuration, the scheme."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.python.core.keras.utils import smart_cond
from tensorflow_model_optimization.python.core.quantization.keras import quantize_layer, quantize_scheme
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_configs import (
    NoOpQuantizeConfig,
)
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import Quantizer

from autonl_tf.layers.light_nl import LightNLProduct
from autonl_tf.networks.ranges import COVERED

RANGE_DECAY = 0.99
BITS = 8
# The least range of a channel, as a share of its kernel's and by itself: in narrower steps a bias would not fit int32.
# Live channels of trained networks are above 2^-9 of their kernel's, dead ones below 2^-18.
_SHARE, _LEAST = 2.0**-12, 1e-6
_SIGMOID = (0.0, 255 / 256)  # the one range of an int8 sigmoid, in steps of 1/256
# Each replica has its own, as of batch norm's statistics.
_LOCAL = {
    "trainable": False,
    "synchronization": tf.VariableSynchronization.ON_READ,
    "aggregation": tf.VariableAggregation.MEAN,
}


class Observed(NamedTuple):
    """A range and what it is of: the least and greatest values of images, float32 [B, 2] a batch."""

    quantizer: RangeQuantizer
    weights: dict[str, tf.Variable]
    extremes: list[np.ndarray]


_observed: dict[str, Observed] | None = None


@contextlib.contextmanager
def observing() -> Iterator[dict[str, Observed]]:
    """Within it quantizers change nothing, so that a network is the float one, and note what ranges are of, by the
    name of their first variable; eagerly."""
    global _observed
    _observed = {}
    try:
        yield _observed
    finally:
        _observed = None


def _extremes(inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The least and greatest value of every image, [B] each, 0 included."""
    axes = list(range(1, inputs.shape.rank))
    held = tf.stop_gradient(tf.cast(inputs, tf.float32))
    return tf.minimum(tf.reduce_min(held, axes), 0.0), tf.maximum(tf.reduce_max(held, axes), 0.0)


def _quantile(values: tf.Tensor, share: float) -> tf.Tensor:
    """The quantile of values [B], as NumPy's: between the two values next to it in proportion."""
    ordered = tf.sort(values)
    last = tf.shape(values)[0] - 1
    position = tf.cast(last, tf.float32) * share
    lower = tf.cast(tf.floor(position), tf.int32)
    upper = tf.minimum(lower + 1, last)
    return ordered[lower] + (ordered[upper] - ordered[lower]) * (position - tf.floor(position))


class _PlainQuantizer(Quantizer):
    """One without variables; its attributes are what it is made of."""

    def build(self, tensor_shape, name, layer):
        return {}

    def get_config(self):
        return dict(vars(self))


class WeightQuantizer(_PlainQuantizer):
    """Kernels to int8: symmetric, within +-max|w| of the output channel, -128 left out.

    A depthwise kernel [h, w, C, 1] has C output channels; an ordinary one of that shape has one. A dense kernel
    [in, out] becomes [1, 1, in, out], which `QuantizedDense` takes.
    """

    def __init__(self, depthwise: bool = False):
        self.depthwise = depthwise

    def __call__(self, inputs, training, weights, **kwargs):
        kernel = self.laid_out(inputs)
        if _observed is None:
            reach = self.reach(kernel)
            kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -reach, reach, BITS, True)
        return tf.reshape(kernel, inputs.shape) if self.depthwise else kernel

    def laid_out(self, kernel: tf.Tensor) -> tf.Tensor:
        """With the output channels last, rank 4."""
        if kernel.shape.rank == 2:
            return kernel[tf.newaxis, tf.newaxis]
        return tf.reshape(kernel, [*kernel.shape[:2], 1, kernel.shape[2]]) if self.depthwise else kernel

    def reach(self, kernel: tf.Tensor) -> tf.Tensor:
        """The greatest magnitude of every output channel of a kernel laid out, or what it is taken for."""
        found = tf.reduce_max(tf.abs(tf.stop_gradient(kernel)), axis=[0, 1, 2])
        return tf.maximum(found, tf.maximum(tf.reduce_max(found) * _SHARE, _LEAST))


class RangeQuantizer(_PlainQuantizer):
    """Activations to int8 with a zero point. With l, h the quantiles that cover a batch's images (`networks.ranges`), 0
    included, and n the batches seen:

        d = min(0.99, n / (n + 1));    low <- d low + (1 - d) l;    high <- d high + (1 - d) h

    A range from calibration counts as that of 99 batches. Without, the first batch's is taken as it is; the library's
    starts at +-6 and moves by a thousandth towards the batch's very least and greatest values.

    Args:
      centred: the zero point is 0: h is the greatest magnitude and l = -h; int8 holds from -128/127 high to high.
    """

    def __init__(self, centred: bool = False):
        self.centred = centred

    def build(self, tensor_shape, name, layer):
        def variable(suffix, start):
            initializer = tf.constant_initializer(start)
            return layer.add_weight(f"{name}_{suffix}", shape=[], initializer=initializer, **_LOCAL)

        return {"low": variable("low", -1.0), "high": variable("high", 1.0), "seen": variable("seen", 0.0)}

    def __call__(self, inputs, training, weights, **kwargs):
        if _observed is not None:
            found = _observed.setdefault(weights["low"].name, Observed(self, weights, []))
            found.extremes.append(np.stack(_extremes(inputs), axis=1))
            return inputs
        low, high, seen = weights["low"], weights["high"], weights["seen"]
        if training:
            count = seen.read_value()
            decay = tf.minimum(RANGE_DECAY, count / (count + 1.0))
            least, greatest = _extremes(inputs)
            least, greatest = self._range(_quantile(least, 1 - COVERED), _quantile(greatest, COVERED))
            low.assign(decay * low.read_value() + (1 - decay) * least)
            high.assign(decay * high.read_value() + (1 - decay) * greatest)
            seen.assign_add(1.0)
        least, greatest = low.read_value(), high.read_value()
        if self.centred:
            least = least * (2 ** (BITS - 1) / (2 ** (BITS - 1) - 1))
        return tf.quantization.fake_quant_with_min_max_vars(inputs, least, greatest, BITS)

    def _range(self, least, greatest):
        if not self.centred:
            return least, greatest
        greatest = tf.maximum(tf.maximum(greatest, -least), _LEAST)
        return -greatest, greatest

    def start(self, weights: dict[str, tf.Variable], least: float, greatest: float) -> None:
        """Sets the range, as many batches would have."""
        least, greatest = self._range(least, greatest)
        weights["low"].assign(least)
        weights["high"].assign(greatest)
        weights["seen"].assign(RANGE_DECAY / (1 - RANGE_DECAY))


def output_range(layer: keras.layers.Layer) -> tuple[tf.Variable, tf.Variable] | None:
    """The ends of the range of what a layer of a quantized network gives; None where it has none of its own."""
    for weights in (getattr(layer, "quantizer_vars", None), getattr(layer, "_output_quantizer_vars", None)):
        if weights:
            return weights["low"], weights["high"]
    return None


def kernel_steps(wrapper: keras.layers.Layer) -> np.ndarray:
    """The scales of the kernel of a wrapped convolution, one for every output channel."""
    ((kernel, quantizer, _),) = wrapper._weight_vars
    return quantizer.reach(quantizer.laid_out(kernel)).numpy() / (2 ** (BITS - 1) - 1)


def held_sigmoid(values: tf.Tensor) -> tf.Tensor:
    """What a sigmoid gives, in int8: every file has it in steps of 1/256 from 0."""
    return values if _observed is not None else tf.quantization.fake_quant_with_min_max_vars(values, *_SIGMOID, BITS)


class SigmoidQuantizer(_PlainQuantizer):
    """A sigmoid's output, see `held_sigmoid`."""

    def __call__(self, inputs, training, weights, **kwargs):
        return held_sigmoid(inputs)


def _by_phase(training, give):
    """`give(True)` in training, else `give(False)`; `training` as layers are called with it, a tensor too."""
    training = keras.backend.learning_phase() if training is None else training
    return smart_cond(training, lambda: give(True), lambda: give(False))


class QuantizedSwish(keras.layers.Layer):
    """x * sigmoid(x) with the sigmoid in int8, as the file computes it."""

    def call(self, inputs):
        return inputs * held_sigmoid(tf.sigmoid(inputs))


class QuantizedNorm(keras.layers.BatchNormalization):
    """A batch norm behind a concatenation, which no convolution takes up: a 1x1 depthwise convolution in the file.

    The int8 kernel has a scale for every channel and is therefore exact.
    """

    def call(self, inputs, training=None):
        trained = super().call
        return _by_phase(training, lambda training: trained(inputs, True) if training else self._linear(inputs))

    def _linear(self, inputs):
        factor = self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)
        reach = tf.maximum(tf.abs(factor), _LEAST)
        kernel = tf.reshape(factor, [1, 1, 1, -1])
        kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -reach, reach, BITS, True)
        kernel = tf.reshape(kernel, [1, 1, inputs.shape[-1], 1])
        return tf.nn.depthwise_conv2d(inputs, kernel, [1] * 4, "VALID") + (self.beta - self.moving_mean * factor)


class QuantizedDense(keras.layers.Dense):
    """A dense layer as a 1x1 convolution, [B, in] to [B, out], with the kernel [1, 1, in, out] of `WeightQuantizer`.

    The converter has scales for every output channel of a convolution, and none but one for a matrix product.
    """

    def call(self, inputs):
        kernel = self.kernel
        if kernel.shape.rank == 2:  # before its quantizer is there
            kernel = kernel[tf.newaxis, tf.newaxis]
        outputs = tf.nn.conv2d(tf.reshape(inputs, [-1, 1, 1, kernel.shape[2]]), kernel, 1, "VALID")
        return tf.reshape(tf.nn.bias_add(outputs, self.bias), [-1, self.units])


class QuantizedProduct(LightNLProduct):
    """LightNL's product as `export.int8_products` computes it: what is between its operations is int8, centred.

    Attributes:
      simulated: False leaves those values as they are: what is converted, since no converter gives that form.
    """

    simulated = True

    def build(self, input_shape):
        super().build(input_shape)
        names = ("phi", "middle", "g") if self.affinity_first else ("phi", "middle")
        self._held = {name: RangeQuantizer(centred=True).build([], name, self) for name in names}

    def call(self, inputs, training=None):
        def held(name, value):
            return _by_phase(training, lambda training: RangeQuantizer(centred=True)(value, training, self._held[name]))

        return self.product(inputs, held) if self.simulated else self.product(inputs)

    def ranges(self) -> dict[str, float]:
        """The greatest magnitude of `phi`, `middle` and, affinity first, `g`."""
        return {name: float(variables["high"].read_value()) for name, variables in self._held.items()}


class LayerConfig(NoOpQuantizeConfig):
    """Which of a layer's attributes is its kernel (None: it has none), and its output: `range`, `sigmoid` or None."""

    def __init__(self, kernel: str | None = None, output: str | None = None):
        self.kernel, self.output = kernel, output

    def get_weights_and_quantizers(self, layer):
        if not self.kernel:
            return []
        return [(getattr(layer, self.kernel), WeightQuantizer(self.kernel == "depthwise_kernel"))]

    def set_quantize_weights(self, layer, quantize_weights):
        if self.kernel:
            setattr(layer, self.kernel, quantize_weights[0])

    def get_output_quantizers(self, layer):
        return [{"range": RangeQuantizer, "sigmoid": SigmoidQuantizer}[self.output]()] if self.output else []

    def get_config(self):
        return {"kernel": self.kernel, "output": self.output}


class Scheme(quantize_scheme.QuantizeScheme):
    """Annotations as they are, nothing that has none, no rewriting of the graph: its own transformer and registry."""

    def get_layout_transformer(self):
        return self

    def get_quantize_registry(self):
        return self

    def apply(self, model, layer_quantize_map):
        return keras.models.clone_model(model), layer_quantize_map  # variables are named after layers, not wrappers

    def supports(self, layer):
        return False


def custom_objects() -> dict:
    """For `quantize_scope`."""
    kinds = (WeightQuantizer, RangeQuantizer, SigmoidQuantizer, LayerConfig, quantize_layer.QuantizeLayer)
    kinds += (QuantizedProduct, QuantizedSwish, QuantizedNorm, QuantizedDense)
    return {kind.__name__: kind for kind in kinds}
