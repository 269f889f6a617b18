"""Whether what flags, data and weights say goes together, as far as names and descriptions tell it, without TensorFlow.

`early` asks before TensorFlow is imported; the modes ask again where it is known only then.
"""

from __future__ import annotations

from autonl_tf.arch import presets
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.checkpoint.blocks import blocks_in
from autonl_tf.checkpoint.description import CLASSIFIER, Description
from autonl_tf.config import AUTO, Config, target_of
from autonl_tf.data import imagenet
from autonl_tf.data.facts import Facts
from autonl_tf.data.labels import class_name, read_label_file
from autonl_tf.errors import UserError
from autonl_tf.reading import MOST_LONG, Unreadable, read_text
from autonl_tf.space.cost_model import CostModel, macs_model
from autonl_tf.space.latency import read_table
from autonl_tf.space.space import Space

# The splits of --dataset without which a mode does nothing.
_SPLITS = {
    "train": ("train", "validation"),
    "search": ("train",),
    "eval": ("validation",),
    "export": ("validation",),
}


def check_data(config: Config, facts: Facts) -> None:
    """Whether the data has the splits and the classes that the flags ask for. Raises UserError."""
    data, wanted = config.data, config.network.num_label_classes
    facts.require(*_SPLITS[config.run.mode])
    if wanted not in (None, facts.num_classes):
        raise UserError(f"--num_label_classes={wanted}: --dataset={data.dataset} has {facts.num_classes} classes")
    if config.run.mode == "train" and data.test_split and facts.has("test"):
        raise UserError(f"--test_split={data.test_split}: {facts.name} has test images of its own; leave it out")
    if config.run.mode == "train" and config.tuning.class_weights not in (None, "balanced"):
        weights_by_class(config.tuning.class_weights, facts.class_names)
    quantized = config.run.mode == "train" and config.fit.qat
    if quantized or (config.run.mode == "export" and "tflite_int8" in config.export.formats):
        ranges_from_training(config, facts)


def ranges_from_training(config: Config, facts: Facts | None) -> bool:
    """Whether training images of --dataset set int8's ranges, and not the images of --calibration_dataset.

    Raises:
      UserError: it has none, and no others are given.
    """
    name = config.export.calibration_dataset
    trained = name in (None, config.data.dataset) and facts.has("train")
    if name is None and not trained:
        raise UserError(f"{facts.name}: it has no train images to set int8's ranges; give --calibration_dataset")
    return trained


def classes_of(config: Config, weights: Description) -> tuple[str, ...]:
    """The classes of the weights that a mode is given, taken from or checked against `--label_file`.

    Raises:
      UserError: they have none, or `--depth_multiplier`, `--num_label_classes` or `--label_file` do not fit them.
    """
    path, network, count = config.run.init_checkpoint or config.run.model_dir, config.network, len(weights.class_names)
    if network.depth_multiplier not in (None, weights.depth_multiplier):
        raise UserError(
            f"--depth_multiplier={network.depth_multiplier}: {path} was trained with {weights.depth_multiplier}"
        )
    if not count:
        raise UserError(f"{path}: has no classifier (a dense layer named {CLASSIFIER}); train one from it first")
    if network.num_label_classes not in (None, count):
        raise UserError(f"--num_label_classes={network.num_label_classes}: {path} has {count} classes")
    if not config.data.label_file:
        return weights.class_names
    given = read_label_file(config.data.label_file).names(weights.class_names)
    if len(given) != count:
        raise UserError(
            f"--label_file={config.data.label_file}: has {len(given)} names; {weights.where} has {count} classes"
        )
    return weights.agreed(given, config.data.label_file)


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
    run, where = config.run, weights.where
    if run.mode in ("train", "search") and weights.qat:
        does = "training" if run.mode == "train" else "a search"
        raise UserError(f"{where}: was trained with --qat; {does} starts from float weights")
    if run.mode == "explain" and not blocks_in(spec or weights.spec):
        raise UserError(f"{where}: a network without a non-local block: there is nothing to explain")
    if run.mode == "convert" and weights.format == "ours":
        raise UserError(f"{where}: is a checkpoint of this program already; convert takes an official one")
    if run.mode == "export" and "tflite_qat" in config.export.formats and not weights.qat:
        raise UserError(
            f"--formats=tflite_qat: {where} was not trained with --qat (--mode=train --qat --init_checkpoint=...)"
        )


def image_size(config: Config, facts: Facts, start: Description | None) -> int:
    """The side in pixels that a training or a search works at, where its weights' own goes before that of the data."""
    if config.network.input_image_size:
        return config.network.input_image_size
    return start.image_size if start else facts.image_size or presets.image_size(config.network.arch)


def cost_models(config: Config, space: Space, **shape: int) -> list[CostModel]:
    """What the search charges for, and, where that is not MACs, MACs too, which are reported; at an `image_size` with
    `num_classes`.

    Raises:
      UserError: the space does not fit that size, the latency table is of others, or no member has the target.
    """
    space.check(shape["image_size"])
    macs = macs_model(space, **shape)
    if config.search.cost == "macs":
        models = [macs]
    else:
        models = [read_table(config.search.latency_table).cost_model(space, **shape), macs]
    if target := target_of(config.search):
        models[0].check_target(target[1], target[0])
    return models


def phases(config: Config, steps: int) -> tuple[int, int]:
    """The steps of a search's warm-up and of its settling, from the shares that the flags give.

    Raises:
      UserError: rounded to steps, they leave none in which gates are decided.
    """
    search = config.search
    warmup, settle = (round(share * steps) for share in (search.search_warmup_share, search.search_settle_share))
    if warmup + settle >= steps:
        raise UserError(
            f"a search of {steps} steps leaves none for decisions: {warmup} are warm-up and {settle} settling; "
            "accepted: a larger --train_steps or --train_epochs"
        )
    return warmup, settle


def check_parts_of_batch(config: Config, replicas: int = 1) -> None:
    """Raises UserError where `--micro_batches` does not divide a replica's part of the training batch, if both are
    known."""
    batch, parts = config.data.train_batch_size, config.fit.micro_batches
    if batch is not None and parts != AUTO and batch // replicas % parts:
        raise UserError(
            f"--micro_batches={parts}: does not divide the {batch // replicas} images of a replica "
            f"(--train_batch_size={batch} over {replicas})"
        )


def weights_by_class(path: str, names: tuple[str, ...]) -> list[float]:
    """What a file of `--class_weights` gives the classes, in their order.

    Raises:
      UserError: it cannot be read, lacks a class, names one twice or another.
    """
    found: dict[str, float] = {}
    for number, (text, weight) in class_weight_lines(path).items():
        where = f"--class_weights={path}, line {number}"
        name = class_name(text, where)
        if name not in names or name in found:
            raise UserError(f"{where}: {name!r} {'is given twice' if name in found else 'is no class of the data'}")
        found[name] = weight
    if missing := [name for name in names if name not in found]:
        raise UserError(f"--class_weights={path}: lacks {len(missing)} classes, {missing[0]!r} first")
    return [found[name] for name in names]


def class_weight_lines(path: str) -> dict[int, tuple[str, float]]:
    """The lines CLASS WEIGHT of a file of `--class_weights`, by their number.

    Raises:
      UserError: the file cannot be read, or a line is another.
    """
    try:
        lines = read_text(path, MOST_LONG).splitlines()
    except Unreadable as error:
        raise UserError(
            f"--class_weights={path}: {error.reason}; accepted: balanced, or a file of lines CLASS WEIGHT"
        ) from None
    found = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, text = line.strip().rpartition(" ")
        try:
            weight = float(text)
        except ValueError:
            weight = 0.0
        if not 1e-6 <= weight <= 1e6 or not name.strip():
            raise UserError(
                f"--class_weights={path}, line {number}: {line!r} is not CLASS WEIGHT, a number from 1e-6 to 1e6"
            )
        found[number] = (name, weight)
    return found
