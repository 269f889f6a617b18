"""A network with the weights of a checkpoint, for evaluation, prediction and export."""

from __future__ import annotations

import dataclasses
from typing import Any

import tf_keras as keras

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.config import Config
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.engine.weights import Loaded, find_checkpoint, load_weights, read_model_json
from autonl_tf.errors import UserError
from autonl_tf.modes import wiring
from autonl_tf.networks.network import build_network


@dataclasses.dataclass(frozen=True)
class Checkpointed:
    """A model, where its weights came from, and what its checkpoint says of it."""

    model: keras.Model
    spec: NetworkSpec
    loaded: Loaded
    image_size: int
    crop_padding: int
    class_names: tuple[str, ...]
    depth_multiplier: float


def description_of(path: str) -> dict[str, Any]:
    """The `model.json` of the checkpoint at `path`. Raises UserError where there is no checkpoint."""
    find_checkpoint(path)
    return read_model_json(path)


def load(config: Config) -> Checkpointed:
    """The network of `--init_checkpoint` or `--model_dir`, as its `model.json` describes it, weights loaded.

    Raises:
      UserError: no checkpoint, or `--arch`, `--depth_multiplier` or `--input_image_size` do not fit it.
    """
    path = config.run.init_checkpoint or config.run.model_dir
    described = description_of(path)
    try:
        spec = blockstring.parse(described["arch"], f"{path}: model.json")
        size, names = described["input_image_size"], tuple(described["class_names"])
        depth_multiplier, crop_padding = described["depth_multiplier"], described["crop_padding"]
    except KeyError as error:
        raise UserError(f"{path}: its model.json lacks {error}") from None
    network = config.network
    if network.arch and presets.load(network.arch) != spec:
        raise UserError(f"--arch={network.arch}: {path} holds another architecture; leave --arch out to use its own")
    if network.depth_multiplier not in (None, depth_multiplier):
        raise UserError(f"--depth_multiplier={network.depth_multiplier}: {path} was trained with {depth_multiplier}")
    if network.num_label_classes not in (None, len(names)):
        raise UserError(f"--num_label_classes={network.num_label_classes}: {path} has {len(names)} classes")
    size = network.input_image_size or size
    model = build_network(spec, image_size=size, num_classes=len(names), depth_multiplier=depth_multiplier)
    loaded = load_weights(path, model, config.run.use_averages)
    which = "moving averages" if loaded.averages else "plain variables"
    wiring.say(f"weights: {which} of {loaded.prefix} (step {loaded.step})")
    crop_padding = wiring.crop_padding_of(config, crop_padding)
    return Checkpointed(model, spec, loaded, size, crop_padding, names, depth_multiplier)


def check_classes(path: str, dataset: ImageDataset) -> None:
    """Raises UserError where the data's classes are not those of the checkpoint at `path`, names and order included."""
    names = read_model_json(path)["class_names"]
    if len(names) != dataset.num_classes:
        raise UserError(f"{path}: has {len(names)} classes, {dataset.name} has {dataset.num_classes}")
    for label, (trained, given) in enumerate(zip(names, dataset.class_names, strict=True)):
        if trained != given:
            raise UserError(f"{path}: class {label} is {trained!r} there and {given!r} in {dataset.name}")
