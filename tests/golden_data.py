"""The golden data of `testdata/`: where it is, how its weights were made, and a network that holds them."""

import importlib.util
import pathlib

import numpy as np

from autonl_tf.arch import blockstring, presets
from autonl_tf.checkpoint.tf1 import AVERAGE_SUFFIX, official_names
from autonl_tf.networks.network import build_network

TESTDATA = pathlib.Path(__file__).parent / "testdata"
TINY = (TESTDATA / "tiny.arch.txt").read_text()


def _load_values():
    spec = importlib.util.spec_from_file_location("golden_values", TESTDATA / "values.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VALUES = _load_values()


def averaged_network(name, image_size, num_classes):
    """The network `tiny` or `autonl_s` with the official run's moving averages."""
    spec = blockstring.parse(TINY) if name == "tiny" else presets.load(name)
    model = build_network(spec, image_size=image_size, num_classes=num_classes)
    statistics = np.load(TESTDATA / "forward" / f"{name}_moving_statistics.npz")
    official = dict(official_names(spec))
    for variable in model.variables:
        key = official[variable.name.split(":")[0]] + AVERAGE_SUFFIX
        stored = key.replace("/", "|")
        value = statistics[stored] if stored in statistics.files else VALUES.value(key, tuple(variable.shape))
        variable.assign(value)
    return model


def relative_l2(got, expected):
    """||got - expected|| / ||expected||."""
    return float(np.linalg.norm(np.asarray(got) - expected) / np.linalg.norm(expected))
