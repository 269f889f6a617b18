"""Weights by path: a checkpoint of this program, an official one, or an exported directory."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.engine.files import read_json
from autonl_tf.engine.name_based import load_named, shapes_of
from autonl_tf.engine.weights import find_checkpoint, is_ours, load_weights, read_model_json
from autonl_tf.errors import UserError
from autonl_tf.networks.official_names import official_names

CARD = "card.json"
SAVED_MODEL = "saved_model/1"


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights that fit an architecture: their number of classes, their multiplier, and `load_into(model)`."""

    classes: int
    depth_multiplier: float
    load_into: Callable[[keras.Model], object]


def open_weights(path: str, spec: NetworkSpec) -> Weights:
    """The weights at `path`, moving averages where there are any.

    Args:
      path: a run directory, a checkpoint's prefix, an official TensorFlow 1 checkpoint, or an exported directory.
      spec: the architecture they must be of.

    Raises:
      UserError: none of these, or of another architecture.
    """
    place = pathlib.Path(path)
    if (place / CARD).is_file():
        card = read_json(place / CARD)
        network = _described(path, card, "architecture")
        _same(path, "\n".join(_described(path, network, "blocks")), spec)
        multiplier = _described(path, network, "depth_multiplier")
        return Weights(_described(path, card, "num_classes"), multiplier, _exported(place))
    prefix = str(find_checkpoint(path))
    if is_ours(prefix):
        described = read_model_json(prefix)
        _same(path, _described(path, described, "arch"), spec)
        return Weights(
            len(_described(path, described, "class_names")),
            _described(path, described, "depth_multiplier"),
            lambda model: load_weights(prefix, model),
        )
    names = official_names(spec)
    shapes = shapes_of(prefix)
    bias = shapes.get(dict(names)["logits/bias"])
    if bias is None:
        raise UserError(f"{path}: neither a checkpoint of this program nor of the official release")
    return Weights(int(bias[0]), 1.0, lambda model: load_named(prefix, model, dict(names)))


def _described(path: str, description: dict, key: str):
    if key not in description:
        raise UserError(f"{path}: its description lacks {key!r}")
    return description[key]


def _same(path: str, text: str, spec: NetworkSpec) -> None:
    found = blockstring.parse(text, path)
    if found.canonical() != spec.canonical():
        raise UserError(f"weights={path!r}: of another architecture than {spec.source}")


def _exported(directory: pathlib.Path) -> Callable[[keras.Model], object]:
    def load_into(model: keras.Model) -> None:
        stored = tf.saved_model.load(str(directory / SAVED_MODEL)).weights
        shapes = [tuple(v.shape) for v in stored], [tuple(v.shape) for v in model.variables]
        if shapes[0] != shapes[1]:
            raise UserError(f"{directory}: its SavedModel holds other variables than this network")
        for variable, value in zip(model.variables, stored, strict=True):
            variable.assign(value)

    return load_into
