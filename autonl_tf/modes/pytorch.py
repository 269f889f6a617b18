"""A state dictionary of the authors' PyTorch port as a network of ours, for `--mode=convert --from=pytorch`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tf_keras as keras

from autonl_tf.arch import presets
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.config import Config
from autonl_tf.data import images
from autonl_tf.data.datasets import DEFAULT_IMAGE_SIZE
from autonl_tf.data.labels import numbered, read_label_file
from autonl_tf.engine.names import by_name
from autonl_tf.engine.torch_file import read_torch
from autonl_tf.errors import UserError
from autonl_tf.modes import wiring
from autonl_tf.networks.network import build_network
from autonl_tf.networks.pytorch_names import convert_state

_STATES = ("model", "state_dict")


@dataclasses.dataclass(frozen=True)
class Ported:
    """The network with the port's weights, and what its `model.json` says."""

    model: keras.Model
    spec: NetworkSpec
    description: dict[str, Any]


def load(config: Config) -> Ported:
    """Reads `--init_checkpoint`, a file of PyTorch, into the network of `--arch` with symmetric padding.

    Raises:
      UserError: no `--arch`; the file is none of PyTorch's, or holds more than tensors; it does not fit the network.
    """
    path = config.run.init_checkpoint
    if not config.network.arch:
        raise UserError("--from=pytorch needs --arch: a state dictionary does not say its architecture")
    if config.network.depth_multiplier not in (None, 1.0):
        raise UserError(f"--depth_multiplier={config.network.depth_multiplier}: not with --from=pytorch")
    spec = symmetric(presets.load(config.network.arch, config.network.nonlocal_))
    size = config.network.input_image_size or DEFAULT_IMAGE_SIZE
    state, within = _state(path)
    values = convert_state(spec, state, size, path)
    names = _class_names(config, values["logits/bias"])
    model = build_network(spec, image_size=size, num_classes=len(names))
    _assign(model, values, path)
    wiring.say(f"weights: {len(values)} variables of {path}{within}; strided convolutions pad alike on both sides")
    if any(block.nonlocal_ for block in spec.blocks):
        wiring.say(f"LightNL's scale is folded for {size} px: at other sizes the port computes something else")
    description = {
        "input_image_size": size,
        "crop_padding": wiring.crop_padding_of(config, images.CROP_PADDING),
        "depth_multiplier": 1.0,
        "class_names": list(names),
        "classes_are_numbered": not config.data.label_file,
        "converted_from": {"checkpoint": path, "averages": False, "kind": "pytorch"},
    }
    return Ported(model, spec, description)


def symmetric(spec: NetworkSpec) -> NetworkSpec:
    blocks = tuple(dataclasses.replace(block, padding="symmetric") for block in spec.blocks)
    return dataclasses.replace(spec, blocks=blocks, padding="symmetric")


def _state(path: str) -> tuple[dict[str, np.ndarray], str]:
    """The state dictionary of a file, by itself or as one of its entries."""
    found = read_torch(path)
    for key in (None, *_STATES):
        state = found if key is None else found.get(key) if isinstance(found, dict) else None
        if isinstance(state, dict) and state and all(map(_is_named_array, state.items())):
            return state, "" if key is None else f" ({key!r} in it)"
    held = ", ".join(map(_shown, found)) if isinstance(found, dict) else type(found).__name__
    raise UserError(f"{path}: holds no state dictionary, by itself or as {' or '.join(_STATES)}; it holds {held}")


def _is_named_array(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], np.ndarray)


def _shown(key: Any) -> str:
    return key if isinstance(key, str) and key.isprintable() else repr(key)


def _class_names(config: Config, bias: np.ndarray) -> tuple[str, ...]:
    path, wanted = config.data.label_file, config.network.num_label_classes
    if bias.ndim != 1 or not bias.size:
        raise UserError(f"{config.run.init_checkpoint}: its classifier's bias has shape {bias.shape}, not one a class")
    if wanted not in (None, len(bias)):
        raise UserError(f"--num_label_classes={wanted}: {config.run.init_checkpoint} has {len(bias)} classes")
    names = read_label_file(path).names() if path else numbered(len(bias))
    if len(names) != len(bias):
        raise UserError(f"--label_file={path}: has {len(names)} names; there are {len(bias)} classes")
    return tuple(names)


def _assign(model: keras.Model, values: dict[str, np.ndarray], path: str) -> None:
    """Every variable or none. Raises UserError where a shape is another."""
    variables = by_name(model.variables)
    wrong = [
        f"{name} (file {values[name].shape}, network {tuple(variable.shape)})"
        for name, variable in variables.items()
        if values[name].shape != tuple(variable.shape)
    ]
    if wrong:
        raise UserError(f"{path}: does not fit the network: {len(wrong)} of other shape: {', '.join(wrong[:10])}")
    for name, variable in variables.items():
        variable.assign(values[name])
