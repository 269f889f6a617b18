"""What `quantized` plugs into tensorflow-model-optimization: quantizers, layers, their configuration, the scheme."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.python.core.keras.utils import smart_cond
from tensorflow_model_optimization.python.core.quantization.keras import (
    quantize_layer,
    quantize_layout_transform,
    quantize_registry,
    quantize_scheme,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_transforms
from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations import model_transformer
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import Quantizer
from tensorflow_model_optimization.quantization.keras import QuantizeConfig

from autonl_tf.layers.light_nl import LightNLProduct

RANGE_DECAY = 0.99
BITS = 8
_LEAST = 1e-8  # a channel of zeros has a range all the same
# Of each replica's own, as batch norm's statistics are.
_LOCAL = {
    "trainable": False,
    "synchronization": tf.VariableSynchronization.ON_READ,
    "aggregation": tf.VariableAggregation.MEAN,
}


class WeightQuantizer(Quantizer):
    """Kernels to int8: symmetric, within +-max|w| of the output channel (dense: of the kernel), -128 left out.

    A depthwise kernel [h, w, C, 1] has C output channels; an ordinary one of that shape has one. The converter takes no
    dense kernel per channel.

    Args:
      depthwise: whether the kernels are depthwise.
    """

    def __init__(self, depthwise: bool = False):
        self.depthwise = depthwise

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        shape = inputs.shape
        if len(shape) == 2:
            limit = tf.maximum(tf.reduce_max(tf.abs(tf.stop_gradient(inputs))), _LEAST)
            return tf.quantization.fake_quant_with_min_max_vars(inputs, -limit, limit, BITS, True)
        kernel = tf.reshape(inputs, [*shape[:2], 1, shape[2]]) if self.depthwise else inputs
        limit = tf.maximum(tf.reduce_max(tf.abs(tf.stop_gradient(kernel)), axis=[0, 1, 2]), _LEAST)
        kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -limit, limit, BITS, True)
        return tf.reshape(kernel, shape) if self.depthwise else kernel

    def get_config(self):
        return {"depthwise": self.depthwise}


class RangeQuantizer(Quantizer):
    """Activations to int8 with a zero point. With l, h a batch's least and greatest value, 0 included, n batches seen:

    d = min(0.99, n / (n + 1));    low <- d low + (1 - d) l;    high <- d high + (1 - d) h

    The first batch's range is thus taken as it is, where the library starts at +-6 and moves by a thousandth.

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
        low, high, seen = weights["low"], weights["high"], weights["seen"]
        if training:
            count = seen.read_value()
            decay = tf.minimum(RANGE_DECAY, count / (count + 1.0))
            held = tf.stop_gradient(tf.cast(inputs, tf.float32))
            least, greatest = tf.minimum(tf.reduce_min(held), 0.0), tf.maximum(tf.reduce_max(held), 0.0)
            if self.centred:
                greatest = tf.maximum(tf.maximum(greatest, -least), _LEAST)
                least = -greatest
            low.assign(decay * low.read_value() + (1 - decay) * least)
            high.assign(decay * high.read_value() + (1 - decay) * greatest)
            seen.assign_add(1.0)
        least, greatest = low.read_value(), high.read_value()
        if self.centred:
            least = least * (2 ** (BITS - 1) / (2 ** (BITS - 1) - 1))
        return tf.quantization.fake_quant_with_min_max_vars(inputs, least, greatest, BITS)

    def get_config(self):
        return {"centred": self.centred}


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
        if not self.simulated:
            return self.product(inputs)
        training = keras.backend.learning_phase() if training is None else training

        def held(name, value):
            def as_in(training):
                return lambda: RangeQuantizer(centred=True)(value, training, self._held[name])

            return smart_cond(training, as_in(True), as_in(False))

        return self.product(inputs, held)

    def ranges(self) -> dict[str, float]:
        """The greatest magnitude of `phi`, `middle` and, affinity first, `g`."""
        return {name: float(variables["high"].read_value()) for name, variables in self._held.items()}


class LayerConfig(QuantizeConfig):
    """Which of a layer's attributes is its kernel (None: it has none), and whether its output is quantized."""

    def __init__(self, kernel: str | None = None, output: bool = False):
        self.kernel, self.output = kernel, output

    def get_weights_and_quantizers(self, layer):
        if not self.kernel:
            return []
        return [(getattr(layer, self.kernel), WeightQuantizer(self.kernel == "depthwise_kernel"))]

    def set_quantize_weights(self, layer, quantize_weights):
        if self.kernel:
            setattr(layer, self.kernel, quantize_weights[0])

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        return [RangeQuantizer()] if self.output else []

    def get_config(self):
        return {"kernel": self.kernel, "output": self.output}


class _Input(default_8bit_transforms.InputLayerQuantize):
    """Quantizes what enters the network."""

    def replacement(self, match_layer):
        node = super().replacement(match_layer)
        node.layer["config"]["quantizer"] = {"class_name": "RangeQuantizer", "config": {}}
        # The library counts its layers through the process; checkpoints go by names.
        node.layer["name"] = node.layer["config"]["name"] = "quantize_image"
        return node

    def custom_objects(self):
        return {**super().custom_objects(), **custom_objects()}


class _Layout(quantize_layout_transform.QuantizeLayoutTransform):
    def apply(self, model, layer_quantize_map):
        transformer = model_transformer.ModelTransformer(model, [_Input()], set(layer_quantize_map), layer_quantize_map)
        return transformer.transform()


class _NoRegistry(quantize_registry.QuantizeRegistry):
    """Nothing is quantized that was not annotated."""

    def supports(self, layer):
        return False

    def get_quantize_config(self, layer):
        raise ValueError(f"{layer.name} has no configuration")


class Scheme(quantize_scheme.QuantizeScheme):
    """Annotations as they are, and the input quantized; no rewriting of the graph."""

    def get_layout_transformer(self):
        return _Layout()

    def get_quantize_registry(self):
        return _NoRegistry()


def custom_objects() -> dict:
    """For `quantize_scope`."""
    from autonl_tf.layers.activations import ChannelGroup, Swish
    from autonl_tf.layers.dropout import Dropout
    from autonl_tf.layers.initializers import DenseUniform, FanOutNormal

    kinds = (WeightQuantizer, RangeQuantizer, LayerConfig, QuantizedProduct, quantize_layer.QuantizeLayer)
    kinds += (Dropout, DenseUniform, FanOutNormal, ChannelGroup, Swish)
    return {kind.__name__: kind for kind in kinds}
