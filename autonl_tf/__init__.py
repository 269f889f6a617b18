"""AutoNL: lightweight non-local networks and the search that places and sizes them.

    import autonl_tf

    model = autonl_tf.AutoNLS(input_shape=(224, 224, 3), weights="runs/train")
    maps = autonl_tf.backbone("autonl_l", input_shape=(320, 320, 3))
    layer = autonl_tf.LightNL(ratio=0.25, stride=2)

Importing the package imports no TensorFlow: each name is loaded when it is first used. Where tf_keras is imported too,
before or after, it knows the layers, so that every file that it saves of a network loads again.
"""

import importlib

import wrapt

__version__ = "0.1.0"

# name -> the module that has it
_LAZY = {
    "AutoNLL": "autonl_tf.api.applications",
    "AutoNLS": "autonl_tf.api.applications",
    "backbone": "autonl_tf.api.applications",
    "from_arch": "autonl_tf.api.applications",
    "decode_predictions": "autonl_tf.api.predictions",
    "preprocess_input": "autonl_tf.api.predictions",
    "EmbeddedNonLocal": "autonl_tf.layers.embedded_nl",
    "GatedLightNL": "autonl_tf.layers.gated",
    "GatedSqueezeExcite": "autonl_tf.layers.gated",
    "LightNL": "autonl_tf.layers.light_nl",
    "SuperkernelDepthwiseConv2D": "autonl_tf.layers.superkernel",
    "UserError": "autonl_tf.errors",
}
__all__ = sorted(_LAZY)

wrapt.register_post_import_hook(lambda module: importlib.import_module("autonl_tf.layers"), "tf_keras")


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'autonl_tf' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
