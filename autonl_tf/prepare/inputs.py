"""Data sets and batches of them, by the flags."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from autonl_tf import cluster, limits
from autonl_tf.arch.spec import Normalization
from autonl_tf.data import images
from autonl_tf.data.augment import policies as augmentations
from autonl_tf.data.batches import eval_batches, train_batches
from autonl_tf.data.calibration import calibration_images, open_calibration
from autonl_tf.data.datasets import ImageDataset, open_dataset
from autonl_tf.data.reading import Reading
from autonl_tf.engine.inputs import distribute
from autonl_tf.errors import UserError, first_line
from autonl_tf.prepare import left_out
from autonl_tf.settings import agreement
from autonl_tf.settings.config import Config
from autonl_tf.settings.shared import check_pixels
from autonl_tf.streams import say

# What reading and decoding an image raise that was good, or not looked at, when the run began; FailedPrecondition: a
# record file that holds another number of records than was taken for it.
_READING_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
)
_WHAT_TO_DO = "repair it, or leave it out with --skip_corrupt; a training or search then needs another --model_dir"


def dataset_of(config: Config) -> ImageDataset:
    """The dataset of `--dataset`, its splits and classes checked against the flags."""
    dataset = open_dataset(
        config.dataset,
        data_dir=config.data_dir,
        label_file=config.label_file,
        validation_fraction=config.validation_fraction,
        skip_corrupt=config.skip_corrupt,
        reading=reading_of(config),
        listing=config.listing,
    )
    agreement.check_data(config, dataset)
    return dataset


def reading_of(config: Config) -> Reading:
    """How encoded images are read; the workers of a data service run no Python."""
    return Reading(config.max_pixels, config.exif_orientation, with_pillow=config.data_service is None)


def check_images(config: Config, dataset: ImageDataset, image_size: int, crop_padding: int, *splits: str) -> None:
    """Opens splits and checks their images, and says what has been left out of them and at what size they are used.

    By the manifest of a run directory only what is new is decoded; see `--check_images`.

    Raises UserError for a split that is absent or empty, without --skip_corrupt for the first bad image, and where a
    run of `--model_dir` began with other files.
    """
    least = images.least_side(image_size, crop_padding)
    known = left_out.known_faults(config, dataset, splits, least)
    dataset.check(*splits, least_side=least, known=known, decode=config.check_images != "none")
    for line in left_out.lines(dataset.name, dataset.faults()):
        say(line)
    size = f"images: {image_size} x {image_size} px"
    if crop_padding and "validation" in splits:
        centre = image_size / (image_size + crop_padding)
        size += f", scored by the centre {centre:.0%} of the shorter side (--crop_padding={crop_padding})"
    say(size)


@contextlib.contextmanager
def naming_corrupt(dataset: ImageDataset, *splits: str, data_service: str | None = None) -> Iterator[None]:
    """Turns a decoding error met on the way, in a set too large to be checked before, into one that names the image,
    and the loss of `data_service` into one that says so."""
    try:
        yield
    except tf.errors.UnavailableError as error:
        if not data_service:
            raise
        raise UserError(
            f"--data_service={data_service}: lost: {first_line(error)[:200]}; start it again, and the "
            "same command goes on from the last checkpoint"
        ) from error
    except _READING_ERRORS as error:
        if "trying to compile" in str(error):  # what XLA cannot do, no fault of an image
            raise
        say(f"an image of {dataset.name} cannot be read; looking for it")
        for split in splits:
            if culprit := dataset.find_bad(split):
                raise UserError(f"{culprit} ({_WHAT_TO_DO})") from error
        raise


def training_input(
    config: Config,
    strategy: tf.distribute.Strategy,
    dataset: ImageDataset,
    normalization: Normalization,
    held_out: ImageDataset | None = None,
):
    """`make_batches(start_step)` for the loop: an iterator over distributed training batches.

    With `held_out` each replica's batch is followed, in the same tensors, by one of as many images of that set.
    """
    augment = augmentations.by_name(config.augment, config.randaugment_layers, config.randaugment_magnitude)
    if config.data_service:
        cluster.reach(config.data_service)

    def make_batches(start_step: int):
        def pipeline(shard: int, num_shards: int) -> tf.data.Dataset:
            batches = part(dataset, shard, num_shards)
            if held_out is None:
                return batches
            replicas = strategy.num_replicas_in_sync // num_shards

            def by_replica(mine: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
                pieces = zip(tf.split(mine, replicas), tf.split(other, replicas), strict=True)
                return tf.concat([piece for pair in pieces for piece in pair], 0)

            return tf.data.Dataset.zip(batches, part(held_out, shard, num_shards)).map(
                lambda mine, other: tuple(map(by_replica, mine, other))
            )

        def part(of: ImageDataset, shard: int, num_shards: int) -> tf.data.Dataset:
            return train_batches(
                of,
                image_size=config.input_image_size,
                normalization=normalization,
                batch_size=config.train_batch_size // num_shards,
                seed=config.seed,
                start_step=start_step,
                min_crop_area=config.min_crop_area,
                crop_padding=config.crop_padding,
                augment=augment,
                shard=shard,
                num_shards=num_shards,
                by_file=config.shard_by_file,
                data_service=config.data_service,
            )

        return iter(distribute(strategy, pipeline))

    return make_batches


def evaluation_input(config: Config, strategy: tf.distribute.Strategy, dataset: ImageDataset, **pixels):
    """Distributed validation batches, iterable again and again; `pixels`: size, padding and normalisation of
    `eval_batches`."""

    def pipeline(shard: int, num_shards: int) -> tf.data.Dataset:
        return eval_batches(
            dataset,
            batch_size=config.eval_batch_size // num_shards,
            shard=shard,
            num_shards=num_shards,
            **pixels,
        )

    return _BuiltWhenUsed(strategy, pipeline)


def measuring_input(config: Config, strategy: tf.distribute.Strategy, dataset: ImageDataset, **pixels):
    """Distributed batches of training images as evaluation cuts them: the images of `--recalibrate_batches` batches, in
    micro-batches, the same ones each time it is iterated; `pixels` as in `evaluation_input`."""

    def pipeline(shard: int, num_shards: int) -> tf.data.Dataset:
        batches = train_batches(
            dataset,
            batch_size=config.train_batch_size // (num_shards * config.micro_batches),
            seed=config.seed,
            shard=shard,
            num_shards=num_shards,
            as_evaluated=True,
            **pixels,
        )
        return batches.take(config.recalibrate_batches * config.micro_batches)

    return _BuiltWhenUsed(strategy, pipeline)


def images_for_ranges(config: Config, dataset: ImageDataset | None, size: int, padding: int) -> np.ndarray:
    """Images that set int8's ranges, float32 [N, S, S, 3], scale of 0 to 255: those of `--calibration_dataset`, else
    training images of the dataset.

    Raises:
      UserError: the dataset has no training images and no other is given; an image cannot be read or decoded.
    """
    check_pixels(config.calibration_images, size, "calibration_images", limits.MOST_CALIBRATION_PIXELS)
    name, skip, reading = config.calibration_dataset, config.skip_corrupt, reading_of(config)
    trained = agreement.ranges_from_training(config, dataset)
    # Only the images taken are read of a folder.
    source = dataset.files("train") or dataset if trained else open_calibration(name, config.data_dir, skip, reading)
    of_records = isinstance(source, ImageDataset)
    with naming_corrupt(source, "train") if of_records else contextlib.nullcontext():
        found = calibration_images(
            source, config.calibration_images, image_size=size, crop_padding=padding, skip_corrupt=skip, reading=reading
        )
    say(f"int8: ranges from {len(found)} images of {name or config.dataset}")
    return found


class _BuiltWhenUsed:
    """A distributed dataset that is built when it is first iterated, so that the first step does not wait for it."""

    def __init__(self, strategy: tf.distribute.Strategy, pipeline):
        self._dataset = functools.cache(lambda: distribute(strategy, pipeline))

    def __iter__(self):
        return iter(self._dataset())
