"""Networks of this program as tf_keras saves them: weights alone or whole models, in each of its forms.

    save_weights("DIR/w")          TensorFlow's checkpoint: variables have names
    save_weights("w.h5")           HDF5, a group a layer: variables have names
    save_weights("w.weights.h5")   HDF5, layers counted by class: no names, so they are those of the same layers here
    save("m.h5")                   as `w.h5`, and the model's configuration
    save("m.keras")                a ZIP archive: as `w.weights.h5`, and the configuration, which names the layers
    save("DIR"), export("DIR")     a SavedModel: TensorFlow's checkpoint and, of save, the configuration

Arrays and the configuration's text are read, and nothing is built from them: nothing of a file runs. Optimizers and
metrics are left aside. Where there is a configuration, its layers must be those of the network the weights are for.
Source: tf_keras 2.21, `saving/saving_lib.py` and `saving/legacy/hdf5_format.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import pathlib
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np
import tf_keras as keras
from google.protobuf.message import DecodeError
from tf_keras.protobuf.saved_metadata_pb2 import SavedMetadata

from autonl_tf.arch import presets
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.checkpoint.blocks import block_of
from autonl_tf.checkpoint.checkpoint import Checkpoint, Chosen, Loaded
from autonl_tf.checkpoint.description import CLASSIFIER
from autonl_tf.checkpoint.location import HDF5, start_of
from autonl_tf.checkpoint.matching import Stored, listing, of_arrays
from autonl_tf.checkpoint.object_graph import read_graph
from autonl_tf.data.labels import numbered
from autonl_tf.engine.names import name_of
from autonl_tf.errors import UserError, first_line

Shape = tuple[int, ...]

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"  # of an archive
_MOST_TEXT = 50_000_000  # bytes of a configuration
_MOST_TIMES = 20  # bytes of arrays for each of their file, of an archive's file for each of the network
_ASIDE = ("optimizer", "metrics", "compiled_metrics", "keras_api", "save_counter")
_CONTAINERS = ("Functional", "Sequential", "Model")

# What decides how a layer computes, of the entries of its configuration.
_COMPUTES = {
    *("strides", "kernel_size", "padding", "dilation_rate", "groups", "use_bias", "epsilon", "axis", "pool_size"),
    *("activation", "max_value", "negative_slope", "threshold", "ratio", "stride", "start", "size", "keepdims"),
}
# Layers that a model may have besides: in inference they leave images and features as they are, or follow the logits.
_HARMLESS = (
    *("InputLayer", "Dropout", "GlobalAveragePooling2D", "Flatten", "Softmax", "Activation"),
    *("RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom", "RandomContrast", "RandomBrightness"),
)
_REPLACEABLE = ("InputLayer", "Dropout", "GlobalAveragePooling2D", "Dense")


class _Contents(NamedTuple):
    """What a file holds.

    `arrays` gives them for a network; `classes` are its classifier's (None: it has none); `config` is the model's
    (None: the file has none).
    """

    arrays: Callable[[keras.Model], Stored]
    classes: int | None
    config: dict[str, Any] | None = None


def open_keras(path: pathlib.Path, arch: NetworkSpec | None, *, depth_multiplier: float = 1.0) -> Checkpoint:
    """A file or directory of tf_keras, or the prefix of a checkpoint that it wrote, as weights of `arch`.

    Raises:
      UserError: it cannot be read, or holds no model; no `arch`.
    """
    where = str(path)
    contents = _contents(path)
    if arch is None:
        raise UserError(f"{where}: a Keras file does not say its architecture; give --arch")

    def choose(model: keras.Model, *_) -> Chosen:
        with _reading(where):
            stored = contents.arrays(model)
            if contents.config is not None:
                at_odds = [*stored.mismatched, *_other_layers(contents.config, model)]
                stored = dataclasses.replace(stored, mismatched=at_odds)
        return Chosen(stored, Loaded(where))

    with _reading(where):
        shape = _image_shape(contents.config)
    return Checkpoint(
        format="keras",
        where=where,
        spec=arch,
        spec_is_assumed=True,
        class_names=numbered(contents.classes or 0),
        image_size=max(shape) if shape else presets.image_size(arch.source),
        image_shape=shape if shape and shape[0] != shape[1] else None,
        depth_multiplier=depth_multiplier,
        choose=choose,
    )


def _contents(path: pathlib.Path) -> _Contents:
    where = str(path)
    with _reading(where):
        if path.is_dir():
            return _of_graph(str(path / "variables" / "variables"), where, _metadata(path / "keras_metadata.pb"))
        if not path.is_file():
            return _of_graph(where, where)
        return _of_hdf5(path) if start_of(path) == HDF5 else _of_archive(path)


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
    """Turns what the readers raise on damaged bytes into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # h5py, zipfile and a configuration of other types raise nearly anything
        raise UserError(f"{where}: cannot be read as a Keras file: {first_line(error)}") from None


# TensorFlow's checkpoints.


def _of_graph(prefix: str, where: str, config: dict[str, Any] | None = None) -> _Contents:
    stored = read_graph(prefix, where, aside=_ASIDE)
    return _Contents(lambda model: stored, _classes(stored.shapes), config)


def _classes(shapes: Mapping[str, Shape]) -> int | None:
    bias = shapes.get(f"{CLASSIFIER}/bias", ())
    return bias[0] if len(bias) == 1 else None


def _metadata(path: pathlib.Path) -> dict[str, Any] | None:
    """The configuration in a SavedModel of tf_keras; None in another, and of a model of a class of somebody's own."""
    if not path.is_file():
        return None
    metadata = SavedMetadata()
    try:
        metadata.ParseFromString(path.read_bytes())
    except DecodeError:
        raise UserError(f"{path}: is damaged") from None
    found = next((json.loads(node.metadata) for node in metadata.nodes if node.node_path == "root"), {})
    return found if "layers" in found.get("config", {}) else None


# HDF5.


def _of_hdf5(path: pathlib.Path) -> _Contents:
    """`w.h5`, `m.h5` or `w.weights.h5`, told apart by what they say of themselves."""
    where = str(path)
    with h5py.File(path, "r") as file:
        root = file.get("model_weights", file)
        found = _arrays(root, where, path.stat().st_size)
        has_names = any(key.startswith("layer_names") for key in root.attrs)
        text, held = file.attrs.get("model_config"), sorted(file)
    if has_names:
        named = {name.partition("/")[2].partition(":")[0]: array for name, array in found.items()}
        if len(named) != len(found):
            raise UserError(f"{where}: two of its arrays have one name")
        stored = of_arrays(where, named)
        return _Contents(lambda model: stored, _classes(stored.shapes), None if text is None else json.loads(text))
    if not any("/vars/" in name for name in found):
        raise UserError(f"{where}: holds no Keras weights: {listing(held) or 'it is empty'}")

    def arrays(model: keras.Model) -> Stored:
        return of_arrays(where, _named(found, _placed(found, model, where), model))

    bias = found.get("layers/dense/vars/1")
    return _Contents(arrays, None if np.ndim(bias) != 1 else len(bias))


def _of_archive(path: pathlib.Path) -> _Contents:
    """`m.keras`."""
    where = str(path)
    with zipfile.ZipFile(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        for name in (_CONFIG, _WEIGHTS):
            if name not in sizes:
                raise UserError(f"{where}: is not a Keras file: it lacks {name}; it holds {listing(sorted(sizes))}")
        if sizes[_CONFIG] > _MOST_TEXT:
            raise UserError(f"{where}: its {_CONFIG} has {sizes[_CONFIG]} bytes, more than {_MOST_TEXT}")
        config = json.loads(archive.read(_CONFIG))
    placed = {position: layer["name"] for position, _, layer in _layers(config)}

    def arrays(model: keras.Model) -> Stored:
        most = _MOST_TIMES * sum(4 * int(np.prod(v.shape)) for v in model.variables) + _MOST_TEXT
        if sizes[_WEIGHTS] > most:
            raise UserError(f"{where}: its weights have {sizes[_WEIGHTS]} bytes, more than {most} for this network")
        with zipfile.ZipFile(path) as archive:
            data = archive.read(_WEIGHTS)
        with h5py.File(io.BytesIO(data), "r") as file:
            return of_arrays(where, _named(_arrays(file, where, len(data)), placed, model))

    units = [layer.get("units") for _, _, layer in _layers(config) if layer["name"] == CLASSIFIER]
    return _Contents(arrays, units[0] if units else None, config)


def _arrays(group: h5py.Group, where: str, file_size: int) -> dict[str, np.ndarray]:
    """Path -> array of all in a group but optimizers and metrics. Links are not followed.

    Raises:
      UserError: an array lies in another file, or they are many times larger than this one of `file_size` bytes.
    """
    found: dict[str, h5py.Dataset] = {}

    def take(name: str, item) -> None:
        if isinstance(item, h5py.Dataset) and name.partition("/")[0] not in _ASIDE:
            if item.is_virtual or item.external:
                raise UserError(f"{where}: its array {name} lies in another file")
            found[name] = item

    group.visititems(take)
    size = sum(array.nbytes for array in found.values())
    if size > _MOST_TIMES * file_size:
        raise UserError(f"{where}: its arrays have {size} bytes, more than {_MOST_TIMES} times the file's {file_size}")
    return {name: array[()] for name, array in found.items()}


# Layers that are counted by class: `layers/conv2d_3/vars/0` is the first variable of the fourth Conv2D.


def _counted(kind: str, counts: dict[str, int]) -> str:
    """The position of the next layer of a class, which is counted in `counts`."""
    words = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))).lower()
    number = counts[words] = counts.get(words, -1) + 1
    return f"layers/{words}_{number}" if number else f"layers/{words}"


def _named(arrays: Mapping[str, np.ndarray], placed: Mapping[str, str], model: keras.Model) -> dict[str, np.ndarray]:
    """Arrays under our variables' names, given which layer is at which position; the others stay as they are."""
    variables = {layer.name: [name_of(v) for v in layer.weights] for layer in model.layers}
    named = {}
    for path, array in arrays.items():
        position, _, number = path.rpartition("/vars/")
        layer = placed.get(position)
        names = variables.get(layer, [])
        if layer is not None and number.isdecimal():
            path = names[int(number)] if int(number) < len(names) else f"{layer}/vars/{number}"
        named[path] = array
    return named


def _placed(arrays: Mapping[str, np.ndarray], model: keras.Model, where: str) -> dict[str, str]:
    """Position -> layer of the model: by class and order, without the non-local blocks that the file lacks.

    The shapes say which those are. If no choice of them fits, none is left out, and matching reports it.

    Raises:
      UserError: several choices fit.
    """
    shapes: dict[str, dict[str, Shape]] = {}
    for path, array in arrays.items():
        position, _, number = path.rpartition("/vars/")
        shapes.setdefault(position, {})[number] = np.shape(array)

    def after(layers, counts: dict[str, int], placed: dict[str, str], strictly: bool = True):
        counts, placed = dict(counts), dict(placed)
        for layer in layers:
            position = _counted(type(layer).__name__, counts)
            expected = {str(number): tuple(v.shape) for number, v in enumerate(layer.weights)}
            if strictly and (position not in shapes or (layer.name != CLASSIFIER and shapes[position] != expected)):
                return None
            placed[position] = layer.name
        return counts, placed

    layers = [layer for layer in model.layers if layer.weights]
    states = [({}, {})]
    for block, group in itertools.groupby(layers, lambda layer: block_of(layer.name) or layer.name == CLASSIFIER):
        group = list(group)
        nexts = [after(group, *state) for state in states]
        if block:
            nexts += states  # without it
        best: dict[tuple, list] = {}
        for state in filter(None, nexts):
            same = best.setdefault(tuple(sorted(state[0].items())), [])
            if len(same) < 2:
                same.append(state)
        states = [state for same in best.values() for state in same]
    fitting = [placed for _, placed in states if placed.keys() == shapes.keys()]
    if len(fitting) > 1:
        raise UserError(f"{where}: fits with different blocks left out; save the model as .keras, which names layers")
    return fitting[0] if fitting else after(layers, {}, {}, strictly=False)[1]


# Configurations.


def _layers(config: dict[str, Any], within: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(position, class, configuration) of every layer of a functional or sequential model, nested models' as well."""
    counts: dict[str, int] = {}
    for entry in config["config"]["layers"]:
        kind = entry["class_name"].rpartition(">")[2]
        position = within + _counted(kind, counts)
        if kind in _CONTAINERS:
            yield from _layers(entry, f"{position}/")
        else:
            yield position, kind, entry["config"]


def _image_shape(config: dict[str, Any] | None) -> tuple[int, int] | None:
    """Height and width of the images that a model takes, if it says both."""
    for _, kind, layer in _layers(config) if config else ():
        shape = _plain(layer.get("batch_input_shape"))
        if kind == "InputLayer" and isinstance(shape, list) and len(shape) == 4:
            return (shape[1], shape[2]) if shape[1] and shape[2] else None
    return None


def _other_layers(config: dict[str, Any], model: keras.Model) -> list[str]:
    """What of a configuration is another computation than the network's, in words."""
    theirs = {layer["name"]: (kind, layer) for _, kind, layer in _layers(config)}
    blocks, headless = {block_of(name) for name in theirs}, not any(name.startswith("head_") for name in theirs)
    lines = []
    for layer in model.layers:
        kind, block = type(layer).__name__, block_of(layer.name)
        if layer.name not in theirs:
            if headless and layer.name.startswith("head_"):
                continue  # of a backbone; its weights are told as missing where they are needed
            if kind not in _REPLACEABLE and (block is None or block in blocks):
                lines.append(f"{layer.name} (the network's {kind} is not there)")
            continue
        other, entries = theirs[layer.name]
        if other != kind:
            lines.append(f"{layer.name} (checkpoint {other}, network {kind})")
        for key, value in layer.get_config().items():
            if key in _COMPUTES and key in entries and _plain(entries[key]) != _plain(value):
                lines.append(f"{layer.name} ({key}: checkpoint {_plain(entries[key])}, network {_plain(value)})")
    ours = {layer.name for layer in model.layers}
    extra = [(name, kind) for name, (kind, _) in theirs.items() if name not in ours and kind not in _HARMLESS]
    return lines + [f"{name} (a {kind} that the network has not)" for name, kind in extra]


def _plain(value: Any) -> Any:
    """An entry of a configuration, tuples as lists, however it is written."""
    if isinstance(value, dict) and value.get("class_name") == "__tuple__":
        return list(value["items"])
    return list(value) if isinstance(value, list | tuple) else value
