"""What search, training and evaluation set up alike: data, devices, lengths, optimizer, run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import shlex
import sys
from collections.abc import Iterator

import tensorflow as tf
import tf_keras as keras

from autonl_tf.config import DEFAULT_EPOCHS, Config, DataConfig
from autonl_tf.data import images
from autonl_tf.data.batches import eval_batches, train_batches
from autonl_tf.data.datasets import ImageDataset, open_dataset
from autonl_tf.engine import rundir
from autonl_tf.engine.inputs import distribute
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.engine.runlog import RunLog
from autonl_tf.engine.schedules import WarmupStaircase, scale_learning_rate
from autonl_tf.engine.strategy import is_chief, make_strategy, per_replica_batch_size
from autonl_tf.errors import UserError

# Published learning-rate warm-up, in epochs, where --lr_warmup_epochs is not given.
DEFAULT_LR_WARMUP = {"search": 0.0, "train": 5.0}

# What may change between two starts of one run: none of it changes a number in the result.
_FREE = {
    "model_dir",
    "eval_batch_size",
    "strategy",
    "tpu",
    "tpu_zone",
    "gcp_project",
    "save_every_steps",
    "data_dir",
    "output",
}


def devices(config: Config) -> tf.distribute.Strategy:
    """The strategy the flags ask for, with initial weights seeded."""
    run = config.run
    keras.utils.set_random_seed(run.seed)
    return make_strategy(run.strategy, tpu=run.tpu, tpu_zone=run.tpu_zone, gcp_project=run.gcp_project)


def say(text: str) -> None:
    """A line for the person watching; standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def dataset_of(config: Config) -> ImageDataset:
    """The dataset of `--dataset`, its classes checked against `--num_label_classes`."""
    data = config.data
    dataset = open_dataset(
        data.dataset,
        data_dir=data.data_dir,
        label_file=data.label_file,
        validation_fraction=data.validation_fraction,
        skip_corrupt=data.skip_corrupt,
    )
    wanted = config.network.num_label_classes
    if wanted is not None and wanted != dataset.num_classes:
        raise UserError(f"--num_label_classes={wanted}: --dataset={data.dataset} has {dataset.num_classes} classes")
    return dataset


def data_words(config: Config) -> str:
    """The flags, quoted for a shell, with which the next command sees the same images under the same labels."""
    data = config.data
    words = [f"--dataset={data.dataset}"]
    words += [f"--{name}={value}" for name in ("data_dir", "label_file") if (value := getattr(data, name))]
    if data.validation_fraction != DataConfig.validation_fraction:
        words.append(f"--validation_fraction={data.validation_fraction}")
    if data.skip_corrupt:
        words.append("--skip_corrupt")
    return shlex.join(words)


def report_skipped(dataset: ImageDataset) -> None:
    if dataset.skipped:
        say(f"left out {dataset.skipped} corrupt images of {dataset.name}")


@contextlib.contextmanager
def naming_corrupt(dataset: ImageDataset, *splits: str) -> Iterator[None]:
    """Turns a decoding error met on the way, in a set too large to be checked before, into one that names the image."""
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
        say(f"an image of {dataset.name} cannot be read; looking for it")
        for split in splits:
            if culprit := dataset.find_corrupt(split):
                raise UserError(f"corrupt image {culprit} (--skip_corrupt leaves it out)") from error
        raise


@dataclasses.dataclass(frozen=True)
class Length:
    """How long a run is: steps in all, and steps an epoch (not rounded)."""

    steps: int
    steps_per_epoch: float

    def steps_of(self, epochs: float) -> int:
        return max(1, round(epochs * self.steps_per_epoch))


def length_of(config: Config, dataset: ImageDataset) -> Length:
    """The run's length, from --train_steps or --train_epochs or the published number of epochs."""
    fit = config.fit
    steps_per_epoch = dataset.size("train") / config.data.train_batch_size
    if fit.train_steps is not None:
        return Length(fit.train_steps, steps_per_epoch)
    epochs = fit.train_epochs if fit.train_epochs is not None else DEFAULT_EPOCHS[config.run.mode]
    return Length(max(1, round(epochs * steps_per_epoch)), steps_per_epoch)


def weights_optimizer(config: Config, length: Length) -> TF1RMSprop:
    """The recipe's RMSProp with its schedule, the peak rate scaled with the batch."""
    fit = config.fit
    warmup = fit.lr_warmup_epochs
    rate = WarmupStaircase(
        scale_learning_rate(fit.base_learning_rate, config.data.train_batch_size),
        length.steps_per_epoch,
        DEFAULT_LR_WARMUP[config.run.mode] if warmup is None else warmup,
        fit.lr_decay_epochs,
        fit.lr_decay_rate,
    )
    return TF1RMSprop(rate, momentum=fit.momentum)


def training_input(config: Config, strategy: tf.distribute.Strategy, dataset: ImageDataset, image_size: int):
    """`make_batches(start_step)` for the loop: an iterator over distributed training batches."""
    data = config.data
    per_replica_batch_size(strategy, data.train_batch_size, "train_batch_size")

    def make_batches(start_step: int):
        def pipeline(shard: int, num_shards: int) -> tf.data.Dataset:
            return train_batches(
                dataset,
                image_size=image_size,
                batch_size=data.train_batch_size // num_shards,
                seed=config.run.seed,
                start_step=start_step,
                min_crop_area=data.min_crop_area,
                crop_padding=crop_padding_of(config),
                shard=shard,
                num_shards=num_shards,
            )

        return iter(distribute(strategy, pipeline))

    return make_batches


def crop_padding_of(config: Config, described: int = images.CROP_PADDING) -> int:
    """`--crop_padding`, else the checkpoint's (`described`), else the release's."""
    given = config.data.crop_padding
    return described if given is None else given


def evaluation_input(
    config: Config, strategy: tf.distribute.Strategy, dataset: ImageDataset, image_size: int, crop_padding: int
):
    """Distributed validation batches, iterable again and again."""
    per_replica_batch_size(strategy, config.data.eval_batch_size, "eval_batch_size")

    def pipeline(shard: int, num_shards: int) -> tf.data.Dataset:
        return eval_batches(
            dataset,
            image_size=image_size,
            batch_size=config.data.eval_batch_size // num_shards,
            crop_padding=crop_padding,
            shard=shard,
            num_shards=num_shards,
        )

    return distribute(strategy, pipeline)


def open_run(config: Config, strategy: tf.distribute.Strategy, files: dict[str, str]) -> rundir.RunDirectory:
    """The run directory, refused if it was made with other settings. Tells what else has changed."""
    settings = config.read_settings()
    comparable = {name: value for name, value in settings.items() if name not in _FREE}
    directory = rundir.prepare(config.run.model_dir, config.settings(), comparable, files, is_chief=is_chief(strategy))
    for note in directory.notes:
        say(note)
    return directory


def run_log(config: Config, strategy: tf.distribute.Strategy, length: Length) -> RunLog:
    return RunLog(
        pathlib.Path(config.run.model_dir),
        length.steps,
        images_per_step=config.data.train_batch_size,
        steps_per_epoch=length.steps_per_epoch,
        is_chief=is_chief(strategy),
    )


def labels_text(dataset: ImageDataset) -> str:
    """labels.txt: a class name a line, in label order."""
    return "".join(f"{name}\n" for name in dataset.class_names)
