"""Layers of networks and supernets. To import one registers all with tf_keras, whose files of networks need them."""

from autonl_tf.layers import (
    activations,
    depthwise,
    dropout,
    embedded_nl,
    gated,
    initializers,
    light_nl,
    superkernel,
)

__all__ = [
    "activations",
    "depthwise",
    "dropout",
    "embedded_nl",
    "gated",
    "initializers",
    "light_nl",
    "superkernel",
]
