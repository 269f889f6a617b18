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
from autonl_tf.engine.name_based import AVERAGE_SUFFIX, load_named, shapes_of
from autonl_tf.engine.weights import find_checkpoint, is_ours, load_weights, read_model_json
from autonl_tf.errors import UserError
from autonl_tf.networks.official_names import official_names
from autonl_tf.networks.quantized import copy_float_weights, quantized_network

CARD = "card.json"
SAVED_MODEL = "saved_model/1"
_PYTORCH = (".pth", ".pt", ".tar", ".safetensors")


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
      UserError: none of these, or of another architecture; an export without a SavedModel; a file of PyTorch.
    """
    place = pathlib.Path(path)
    if place.is_file() and place.suffix in _PYTORCH:
        raise UserError(
            f"weights={path!r}: is a file of PyTorch, whose networks pad otherwise; make a run directory of it with "
            "--mode=convert --from=pytorch, and give that as architecture and as weights"
        )
    if (place / CARD).is_file():
        card = read_json(place / CARD)
        if not (place / SAVED_MODEL).is_dir():
            raise UserError(f"weights={path!r}: an export without a SavedModel; export with --formats=savedmodel")
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
            _quantized(prefix) if described.get("qat") else lambda model: load_weights(prefix, model),
        )
    names, shapes = dict(official_names(spec)), shapes_of(prefix)
    averages = names["logits/bias"] + AVERAGE_SUFFIX in shapes
    bias = shapes.get(names["logits/bias"] + AVERAGE_SUFFIX * averages)
    if not bias:
        raise UserError(f"{path}: neither a checkpoint of this program nor of the official release")
    return Weights(int(bias[0]), 1.0, lambda model: load_named(prefix, model, names, averages))


def _described(path: str, description: dict, key: str):
    if key not in description:
        raise UserError(f"{path}: its description lacks {key!r}")
    return description[key]


def _same(path: str, text: str, spec: NetworkSpec) -> None:
    found = blockstring.parse(text, path)
    if found.canonical() != spec.canonical():
        raise UserError(f"weights={path!r}: of another architecture than {spec.source}")


def _quantized(prefix: str) -> Callable[[keras.Model], object]:
    """Of a run with --qat: its float weights, the simulated int8 left out."""

    def load_into(model: keras.Model) -> None:
        quantized = quantized_network(model)
        load_weights(prefix, quantized)
        copy_float_weights(quantized, model)

    return load_into


def _exported(directory: pathlib.Path) -> Callable[[keras.Model], object]:
    def load_into(model: keras.Model) -> None:
        stored = tf.saved_model.load(str(directory / SAVED_MODEL)).weights
        shapes = [tuple(v.shape) for v in stored], [tuple(v.shape) for v in model.variables]
        if shapes[0] != shapes[1]:
            raise UserError(f"{directory}: its SavedModel holds other variables than this network")
        for variable, value in zip(model.variables, stored, strict=True):
            variable.assign(value)

    return load_into
