"""Makes our layers known to tf_keras as soon as somebody imports it, and imports nothing before."""

from __future__ import annotations

import importlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder


class _Finder(MetaPathFinder):
    """Finds tf_keras as Python does, and has the layers imported behind it."""

    def find_spec(self, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path, target) if name == "tf_keras" else None
        if spec is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                _register()

            spec.loader.exec_module = exec_module
        return spec


def _register() -> None:
    importlib.import_module("autonl_tf.layers")  # which registers them


def install() -> None:
    """Registers the layers now where tf_keras has been imported, else when it is."""
    if "tf_keras" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _Finder())
