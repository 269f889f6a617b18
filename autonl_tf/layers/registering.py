"""What tf_keras has to know to load its files of our networks."""

from __future__ import annotations

from typing import TypeVar

import tf_keras as keras

PACKAGE = "autonl"

_Kind = TypeVar("_Kind", bound=type)


def registered(kind: _Kind) -> _Kind:
    """Makes a layer or an initialiser known to tf_keras, as `autonl>NAME` and, where it has no such class, as NAME.

    In an `.h5` file it looks up initialisers, and layers of a model within a Sequential one, by their bare names. For
    those that it has itself (Dropout, DepthwiseConv2D) its own then stand, which compute the same.
    """
    if not hasattr(keras.layers, kind.__name__):
        keras.saving.get_custom_objects().setdefault(kind.__name__, kind)
    return keras.saving.register_keras_serializable(PACKAGE)(kind)
