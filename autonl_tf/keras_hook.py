"""Makes our layers known to tf_keras as soon as somebody imports it, and imports nothing before."""

from __future__ import annotations

import importlib

import wrapt


def install() -> None:
    """Registers the layers now where tf_keras has been imported, else when it is."""
    wrapt.register_post_import_hook(lambda module: importlib.import_module("autonl_tf.layers"), "tf_keras")
