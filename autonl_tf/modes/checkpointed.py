"""A checkpoint, ours or of the official release, and the network that it holds."""

from __future__ import annotations

import dataclasses
from typing import Any

import tf_keras as keras

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.config import Config
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.data.labels import read_label_file
from autonl_tf.engine.weights import Loaded, find_checkpoint, is_ours, load_weights, read_model_json
from autonl_tf.errors import UserError
from autonl_tf.modes import official, wiring
from autonl_tf.networks.network import build_network
from autonl_tf.networks.quantized import copy_float_weights, quantized_network


@dataclasses.dataclass(frozen=True)
class Source:
    """Where weights come from; `description` is its `model.json`, or says the same of an official checkpoint."""

    prefix: str
    is_official: bool
    description: dict[str, Any]

    @property
    def spec(self) -> NetworkSpec:
        return blockstring.parse(self.description["arch"], f"{self.prefix}: model.json")

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.description["class_names"])

    def load_into(self, model: keras.Model, use_averages: bool) -> Loaded:
        """Loads every variable of `model` or none, and says from where. Raises UserError where they do not fit."""
        if self.is_official:
            loaded, inventory = official.load(self.prefix, model, self.spec, use_averages)
            aside = f"; left aside: {inventory.unused(use_averages)}"
        else:
            loaded, aside = load_weights(self.prefix, model, use_averages), ""
        which = "moving averages" if loaded.averages else "plain variables"
        step = "no step" if loaded.step is None else f"step {loaded.step}"
        wiring.say(f"weights: {which} of {loaded.prefix} ({step}){aside}")
        return loaded

    def names_for(self, dataset: ImageDataset) -> tuple[str, ...]:
        """The class names of checkpoint and data together: a checkpoint that only numbers its classes takes the data's.

        Raises:
          UserError: another number of classes, or other names or another order.
        """
        names = self.class_names
        if len(names) != dataset.num_classes:
            hint = "; --label_file gives classes their labels" if len(names) > dataset.num_classes else ""
            raise UserError(f"{self.prefix}: has {len(names)} classes, {dataset.name} has {dataset.num_classes}{hint}")
        return self._agreed(dataset.class_names, dataset.name)

    def names_labelled(self, label_file: str | None) -> tuple[str, ...]:
        """The class names, taken from or checked against `label_file` where one is given. Raises UserError."""
        if not label_file:
            return self.class_names
        given, count = read_label_file(label_file).names(self.class_names), len(self.class_names)
        if len(given) != count:
            raise UserError(f"--label_file={label_file}: has {len(given)} names; {self.prefix} has {count} classes")
        return self._agreed(given, label_file)

    def _agreed(self, given: tuple[str, ...], where: str) -> tuple[str, ...]:
        if self.description.get("classes_are_numbered"):
            return tuple(given)
        for label, (trained, other) in enumerate(zip(self.class_names, given, strict=True)):
            if trained != other:
                raise UserError(f"{self.prefix}: class {label} is {trained!r} there and {other!r} in {where}")
        return self.class_names


@dataclasses.dataclass(frozen=True)
class Checkpointed:
    """A model, where its weights came from, and what its checkpoint says of it.

    `float_model` is the model itself, or, of one trained with --qat, the network with the simulated int8 left out.
    """

    model: keras.Model
    float_model: keras.Model
    spec: NetworkSpec
    source: Source
    loaded: Loaded
    image_size: int
    crop_padding: int
    class_names: tuple[str, ...]
    depth_multiplier: float


def source_of(config: Config, path: str) -> Source:
    """The checkpoint at `path`, described.

    Raises:
      UserError: no checkpoint there, or one of another program; an official one whose architecture is not known.
    """
    prefix = str(find_checkpoint(path))
    if is_ours(prefix):
        return Source(prefix, False, read_model_json(prefix))
    official.check(prefix)
    return Source(prefix, True, official.describe(config, prefix))


def load(config: Config) -> Checkpointed:
    """The network of `--init_checkpoint` or `--model_dir` as its checkpoint describes it, weights loaded.

    Raises:
      UserError: no checkpoint, or `--arch`, `--depth_multiplier`, `--num_label_classes`, `--label_file` or
        `--input_image_size` do not fit it.
    """
    path = config.run.init_checkpoint or config.run.model_dir
    source = source_of(config, path)
    try:
        spec, names, size = source.spec, source.class_names, source.description["input_image_size"]
        multiplier, crop_padding = source.description["depth_multiplier"], source.description["crop_padding"]
    except KeyError as error:
        raise UserError(f"{path}: its model.json lacks {error}") from None
    network = config.network
    wanted = (network.arch, network.nonlocal_)
    if network.arch and presets.load(*wanted) != spec:
        raise UserError(f"--arch={network.arch}: {path} holds another architecture; leave --arch out to use its own")
    if network.depth_multiplier not in (None, multiplier):
        raise UserError(f"--depth_multiplier={network.depth_multiplier}: {path} was trained with {multiplier}")
    if network.num_label_classes not in (None, len(names)):
        raise UserError(f"--num_label_classes={network.num_label_classes}: {path} has {len(names)} classes")
    names = source.names_labelled(config.data.label_file)
    size = network.input_image_size or size
    float_model = build_network(spec, image_size=size, num_classes=len(names), depth_multiplier=multiplier)
    model = quantized_network(float_model) if source.description.get("qat") else float_model
    loaded = source.load_into(model, config.run.use_averages)
    if model is not float_model:
        copy_float_weights(model, float_model)
    crop_padding = wiring.crop_padding_of(config, crop_padding)
    return Checkpointed(model, float_model, spec, source, loaded, size, crop_padding, names, multiplier)
