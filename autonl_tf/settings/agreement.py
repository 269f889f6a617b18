"""Whether what flags, data and weights say goes together, as far as names and descriptions tell it, without TensorFlow.

`flags.py` of a command asks before TensorFlow is imported, `run.py` again where it is known only then.
"""

from __future__ import annotations

import functools

from autonl_tf import limits
from autonl_tf.arch import presets
from autonl_tf.arch.spec import NetworkSpec, check_fits
from autonl_tf.checkpoint.blocks import blocks_in
from autonl_tf.checkpoint.description import CLASSIFIER, Description
from autonl_tf.data import imagenet
from autonl_tf.data.facts import Facts
from autonl_tf.data.labels import read_label_file
from autonl_tf.errors import UserError
from autonl_tf.settings.config import Config
from autonl_tf.settings.shared import FIT
from autonl_tf.space import around
from autonl_tf.space import space as space_lib

# The splits of --dataset without which a mode does nothing.
_SPLITS = {
    "train": ("train", "validation"),
    "search": ("train",),
    "eval": ("validation",),
    "export": ("validation",),
}


def check_data(config: Config, facts: Facts) -> None:
    """Whether the data has the splits and the classes that the flags ask for. Raises UserError."""
    wanted = config.num_label_classes
    facts.require(*_SPLITS[config.mode])
    if wanted not in (None, facts.num_classes):
        raise UserError(f"--num_label_classes={wanted}: --dataset={config.dataset} has {facts.num_classes} classes")
    if config.mode == "train" and config.test_split and facts.has("test"):
        raise UserError(f"--test_split={config.test_split}: {facts.name} has test images of its own; leave it out")
    quantized = config.mode == "train" and config.qat
    if quantized or (config.mode == "export" and "tflite_int8" in config.formats):
        ranges_from_training(config, facts)


def ranges_from_training(config: Config, facts: Facts | None) -> bool:
    """Whether training images of --dataset set int8's ranges, and not the images of --calibration_dataset.

    Raises:
      UserError: it has none, and no others are given.
    """
    name = config.calibration_dataset
    trained = name in (None, config.dataset) and facts.has("train")
    if name is None and not trained:
        raise UserError(f"{facts.name}: it has no train images to set int8's ranges; give --calibration_dataset")
    return trained


def classes_of(config: Config, weights: Description) -> tuple[str, ...]:
    """The classes of the weights that a mode is given, taken from or checked against `--label_file`.

    Raises:
      UserError: they have none, or `--num_label_classes` or `--label_file` do not fit them.
    """
    path, count = config.init_checkpoint or config.model_dir, len(weights.class_names)
    if not count:
        raise UserError(f"{path}: has no classifier (a dense layer named {CLASSIFIER}); train one from it first")
    if config.num_label_classes not in (None, count):
        raise UserError(f"--num_label_classes={config.num_label_classes}: {path} has {count} classes")
    if not config.label_file:
        return weights.class_names
    given = read_label_file(config.label_file).names(weights.class_names)
    if len(given) != count:
        raise UserError(
            f"--label_file={config.label_file}: has {len(given)} names; {weights.where} has {count} classes"
        )
    return weights.agreed(given, config.label_file)


def classes_with(weights: Description, facts: Facts) -> tuple[str, ...]:
    """The class names of weights and data together: weights that only number their classes take the data's, and records
    of ImageNet without a label file the synsets of weights that have them.

    Raises:
      UserError: another number of classes, or other names or another order.
    """
    names, of_imagenet = weights.class_names, weights.class_names == imagenet.synsets()
    if len(names) != facts.num_classes:
        file = f"--label_file={imagenet.NAME}" if of_imagenet else "--label_file"
        some = len(names) > facts.num_classes
        fits = some and (weights.classes_are_numbered or set(facts.class_names) <= set(names))
        hint = f"; {file} gives classes their labels" if fits else ""
        raise UserError(f"{weights.where}: has {len(names)} classes, {facts.name} has {facts.num_classes}{hint}")
    if of_imagenet and facts.classes_are_numbered:
        return names
    return weights.agreed(facts.class_names, facts.name)


def check_weights(config: Config, weights: Description, spec: NetworkSpec | None) -> None:
    """Whether what the mode does can be done with weights of this kind, in the network `spec` or their own. Raises
    UserError."""
    where = weights.where
    if config.depth_multiplier not in (None, weights.depth_multiplier):
        multiplier = config.depth_multiplier
        raise UserError(f"--depth_multiplier={multiplier}: {where} was trained with {weights.depth_multiplier}")
    if weights.image_shape and not config.input_image_size:
        shape = " x ".join(map(str, weights.image_shape))
        raise UserError(f"{where}: takes images of {shape} pixels; give --input_image_size, the side of squares")
    if config.mode in FIT and weights.qat:
        does = "training" if config.mode == "train" else "a search"
        raise UserError(f"{where}: was trained with --qat; {does} starts from float weights")
    if config.mode == "explain" and not blocks_in(spec or weights.spec):
        raise UserError(
            f"{where}: the network has no non-local block to explain; train one with LightNL first (--nonlocal)"
        )
    if config.mode == "convert" and weights.format == "ours":
        raise UserError(f"{where}: is a checkpoint of this program already; convert takes an official one")
    if config.mode == "export" and "tflite_qat" in config.formats and not weights.qat:
        raise UserError(
            f"--formats=tflite_qat: {where} was not trained with --qat (--mode=train --qat --init_checkpoint=...)"
        )


def image_size(config: Config, facts: Facts, start: Description | None) -> int:
    """The side in pixels that a training or a search works at: the weights' own, else that of small squares, doubled
    until the network fits it, else that at which the network was published."""
    if config.input_image_size:
        return config.input_image_size
    if start:
        return start.image_size
    if config.mode == "search":
        own, fits = around.image_size(config.search_space), space_lib.load(config.search_space).check
    else:
        own, spec = presets.image_size(config.arch), presets.load(config.arch, config.nonlocal_)
        fits = functools.partial(check_fits, spec, depth_multiplier=config.depth_multiplier or 1.0)
    size = max(facts.image_size or own, limits.IMAGE_SIZE[0])
    while size < own:
        try:
            fits(size)
            return size
        except UserError:
            size *= 2
    return own
