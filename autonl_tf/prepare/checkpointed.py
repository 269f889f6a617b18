"""The checkpoint that the flags name, the network it holds, and training that starts from it."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch import presets
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.checkpoint.blocks import block_of
from autonl_tf.checkpoint.checkpoint import Checkpoint, Loaded
from autonl_tf.checkpoint.description import CLASSIFIER, run_of
from autonl_tf.checkpoint.opening import open_checkpoint
from autonl_tf.checkpoint.pytorch import open_pytorch
from autonl_tf.data.bad_images import count_faults
from autonl_tf.data.batches import predict_batches, usable_files
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.engine.saved import FOLDERS
from autonl_tf.errors import UserError
from autonl_tf.networks.network import build_network
from autonl_tf.networks.quantized import copy_float_weights, quantized_network
from autonl_tf.prepare import inputs, left_out
from autonl_tf.settings import agreement
from autonl_tf.settings.config import Config
from autonl_tf.streams import say


@dataclasses.dataclass(frozen=True)
class Checkpointed:
    """A model with its weights, and what its checkpoint says of it.

    `float_model` is the model itself, or, of one trained with --qat, the network with the simulated int8 left out.
    """

    model: keras.Model
    float_model: keras.Model
    spec: NetworkSpec
    checkpoint: Checkpoint
    loaded: Loaded
    image_size: int
    crop_padding: int
    class_names: tuple[str, ...]
    depth_multiplier: float

    @property
    def run(self) -> pathlib.Path | None:
        """The run directory, of a training or a search, that its checkpoint lies in; None: in none."""
        prefix = pathlib.Path(self.loaded.prefix)
        return (
            run_of(prefix) if self.checkpoint.format in ("ours", "search") and prefix.parent.name in FOLDERS else None
        )

    @property
    def pixels(self) -> dict[str, Any]:
        """How images become its inputs, as the functions of `data.batches` take it."""
        size, padding, normalization = self.image_size, self.crop_padding, self.spec.normalization
        return {"image_size": size, "crop_padding": padding, "normalization": normalization}


def opened(config: Config, path: str, arch: NetworkSpec | None, assumed: NetworkSpec | None = None) -> Checkpoint:
    """The checkpoint at `path`, of the architecture `arch` if that is given, else of the `assumed` one if it does not
    say its own. Raises UserError."""
    return open_checkpoint(
        path,
        arch,
        assumed=assumed,
        depth_multiplier=config.depth_multiplier,
        num_classes=config.num_label_classes,
        use_averages=config.use_averages,
        tell=say,
    )


def load(config: Config, from_pytorch: bool = False) -> Checkpointed:
    """The network of `--init_checkpoint` or `--model_dir` as its checkpoint describes it, weights loaded.

    Raises:
      UserError: no checkpoint, or `--arch`, `--depth_multiplier`, `--num_label_classes`, `--label_file` or
        `--input_image_size` do not fit it.
    """
    path = config.init_checkpoint or config.model_dir
    arch = presets.load(config.arch, config.nonlocal_) if config.arch else None
    if from_pytorch:
        size = config.input_image_size or presets.image_size(config.arch)
        checkpoint = open_pytorch(path, arch, image_size=size, tell=say)
        arch = checkpoint.spec
    else:
        checkpoint = opened(config, path, arch)
    spec, multiplier = arch or checkpoint.spec, checkpoint.depth_multiplier
    names = agreement.classes_of(config, checkpoint)
    agreement.check_weights(config, checkpoint, spec)
    size = config.input_image_size or checkpoint.image_size
    float_model = build_network(spec, image_size=size, num_classes=len(names), depth_multiplier=multiplier)
    model = quantized_network(float_model) if checkpoint.qat else float_model
    loaded = checkpoint.load_into(model, config.use_averages, tell=say)
    if checkpoint.format == "search":
        what = "train the network that it found first, with the command printed at its end"
        if not (run_of(loaded.prefix) / "arch.txt").is_file():
            what = f"it has not ended, and this is the network that its gates stand for at step {loaded.step}"
        say(f"note: {path} is a search, whose weights are shared by all networks of its space; {what}")
    if model is not float_model:
        copy_float_weights(model, float_model)
    crop_padding = checkpoint.crop_padding if config.crop_padding is None else config.crop_padding
    return Checkpointed(model, float_model, spec, checkpoint, loaded, size, crop_padding, names, multiplier)


def start_from(start: Checkpoint, model: keras.Model, dataset: ImageDataset, use_averages: bool) -> bool:
    """Loads a checkpoint into the network to train; with other classes than the data's, all but the classifier.

    The classifier then starts at zero, as a head on known features does: with the release's random weights, meant for
    features that are still to be learnt, the logits of published ones begin with a deviation of 8, which takes more
    steps to unlearn than a small set has. Says what was loaded and what was not.

    Returns:
      Whether the classifier was, too.

    Raises:
      UserError: the checkpoint's weights cannot be read, or do not fit the network.
    """
    try:
        agreement.classes_with(start, dataset)
    except UserError:
        start.load_into(model, use_averages, classifier=False, tell=say)
        classifier = model.get_layer(CLASSIFIER)
        for variable in classifier.weights:
            variable.assign(tf.zeros_like(variable))
        added = start.added_blocks(model, use_averages)
        copied = [layer for layer in model.layers if layer is not classifier and block_of(layer.name) not in added]
        values, but = sum(layer.count_params() for layer in copied), "new blocks and " if added else ""
        say(f"loaded: {values:,} values of {start.where}, every layer but {but}the classifier")
        say(f"new classifier: {_why_new(start, dataset)}; its weights start at zero")
        return False
    start.load_into(model, use_averages, tell=say)
    return True


def _why_new(start: Checkpoint, dataset: ImageDataset) -> str:
    here, there = dataset.num_classes, len(start.class_names)
    if here != there:
        return f"{here} classes here, {there or 'no classifier'} in {start.where}"
    return f"{here} other classes, or another order of them, than in {start.where}"


def images_for(config: Config, network: Checkpointed, files: list[str]) -> tuple[list[str], tf.data.Dataset]:
    """The image files that the network can be given, with --skip_corrupt without the others, which are told, and their
    batches, of `predict_batches`.

    Raises UserError for the first that cannot be used, with --skip_corrupt where none can.
    """
    size, padding, reading = network.image_size, network.crop_padding, inputs.reading_of(config)
    found, bad = usable_files(
        files, image_size=size, crop_padding=padding, skip_corrupt=config.skip_corrupt, reading=reading
    )
    for line in left_out.lines(f"--images={config.images}", {"files": count_faults(bad)}):
        say(line)
    batch_size = min(config.eval_batch_size, len(found))
    return found, predict_batches(found, batch_size=batch_size, reading=reading, **network.pixels)
