"""An example of every layer, and how it is called."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import tensorflow as tf
import tf_keras as keras

from autonl_tf import layers

ON = tf.constant(1.0)
# Arguments of the class, and those of a call behind the images.
EXAMPLES = {
    "ChannelGroup": ({"start": 2, "size": 4}, ()),
    "ChannelShuffle": ({"groups": 2}, ()),
    "DepthwiseConv2D": ({"kernel_size": 3, "strides": 2, "padding": "same"}, ()),
    "Dropout": ({"rate": 0.5}, ()),
    "EmbeddedNonLocal": ({"ratio": 0.5, "stride": 2}, ()),
    "EmbeddedProduct": ({}, None),
    "GatedBatchNormalization": ({}, ()),
    "GatedLightNL": ({"filters": (2, 4), "strides": (2, 1)}, (ON, [ON], [ON])),
    "GatedSqueezeExcite": ({"filters": (2, 4)}, ([ON, ON],)),
    "HardSwish": ({}, ()),
    "LightNL": ({"ratio": 0.25, "stride": 2}, ()),
    "LightNLProduct": ({"ratio": 0.5, "stride": 2}, ()),
    "SuperkernelDepthwiseConv2D": ({"kernel_sizes": (3, 5), "stride": 2}, ([ON],)),
    "Swish": ({}, ()),
}
IMAGES = tf.random.stateless_normal([2, 8, 8, 8], [1, 2])


def kinds():
    """Every class of a layer that a module of the folder defines."""
    modules = [importlib.import_module(f"{layers.__name__}.{m.name}") for m in pkgutil.iter_modules(layers.__path__)]
    found = [kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)]
    return {
        kind.__name__: kind
        for kind in found
        if issubclass(kind, keras.layers.Layer) and kind.__module__.startswith(layers.__name__)
    }


KINDS = kinds()


def called(layer, images, **more):
    """The layer's output for images; the first of several."""
    rest = EXAMPLES[type(layer).__name__][1]
    result = layer([images, images, images]) if rest is None else layer(images, *rest, **more)
    return result[0] if isinstance(result, tuple) else result
