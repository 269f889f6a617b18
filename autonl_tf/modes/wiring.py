"""What search, training and evaluation set up alike: data, devices, lengths, optimizer, run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from autonl_tf import limits
from autonl_tf.arch import presets
from autonl_tf.arch.spec import Normalization
from autonl_tf.checkpoint.checkpoint import Checkpoint
from autonl_tf.config import AUTO, Config, check_pixels
from autonl_tf.data import images
from autonl_tf.data.augment import policies as augmentations
from autonl_tf.data.batches import eval_batches, train_batches
from autonl_tf.data.datasets import ImageDataset, open_dataset
from autonl_tf.data.reading import Reading
from autonl_tf.engine import rundir
from autonl_tf.engine.checkpoints import check_present
from autonl_tf.engine.inputs import distribute
from autonl_tf.engine.learner import Learner, TrainFunction, make_train_function
from autonl_tf.engine.runlog import RunLog
from autonl_tf.engine.strategy import is_chief, per_replica_batch_size
from autonl_tf.engine.update_check import UpdateCheck
from autonl_tf.errors import UserError, first_line
from autonl_tf.modes import left_out, machines, seen
from autonl_tf.modes.rates import Length

# Crops where no flag gives them: as published, for images of this side and more. Smaller ones lose too much by them.
CROPPED_SIDE, MIN_CROP_AREA = 128, 0.08
SMALL_CROP_PADDING, SMALL_MIN_CROP_AREA = 0, 0.5

# What may change between two starts of one run: where and on what devices it runs, and how often it saves. (Another
# number of devices splits the same batches differently, and batch norm, unless synchronized, takes the statistics of
# each part.)
_FREE = {
    *("model_dir", "eval_batch_size", "strategy", "tpu", "tpu_zone", "gcp_project", "save_every_steps", "data_dir"),
    *("jit_compile", "data_service", "check_images", "max_pixels", "wait_seconds"),
    *("on_nan", "max_skipped_updates"),  # a run that has stopped may go on by skipping
}

# What reading and decoding an image raise that was good, or not looked at, when the run began; FailedPrecondition: a
# record file that holds another number of records than was taken for it.
_READING_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
)


def jit_compile(config: Config, strategy: tf.distribute.Strategy) -> bool:
    """`--jit_compile`, refused where the step talks to other replicas in its midst, which XLA cannot compile."""
    if config.run.jit_compile and strategy.num_replicas_in_sync > 1:
        raise UserError(
            f"--jit_compile: for one device, this run has {strategy.num_replicas_in_sync} replicas; leave it out"
        )
    return config.run.jit_compile


def train_function(
    config: Config, strategy: tf.distribute.Strategy, learner: Learner, objective: Callable, after_update=None
) -> TrainFunction:
    """The train function with the flags that say how a step is made."""
    return make_train_function(
        strategy,
        learner,
        objective,
        after_update,
        seed=config.run.seed,
        micro_batches=config.fit.micro_batches,
        jit_compile=jit_compile(config, strategy),
    )


def check_batches(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Raises UserError where the training batch, if it is known, cannot be split over the replicas and their
    micro-batches."""
    if config.data.train_batch_size is None:
        return
    size = per_replica_batch_size(strategy, config.data.train_batch_size, "train_batch_size")
    if config.fit.micro_batches != AUTO and size % config.fit.micro_batches:
        raise UserError(
            f"--micro_batches={config.fit.micro_batches}: does not divide the {size} images of a replica "
            f"(--train_batch_size={config.data.train_batch_size} over {strategy.num_replicas_in_sync})"
        )


def parts_of_batch(config: Config, strategy: tf.distribute.Strategy) -> int:
    """Into how many parts, each with a loss of its own, the global batch is cut."""
    return strategy.num_replicas_in_sync * config.fit.micro_batches


def say(text: str) -> None:
    """A line for the person watching; standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def shown(path: str) -> str:
    """A file's name as text that can be written: bytes in it that are not UTF-8 as \\udcXX."""
    return path.encode(errors="backslashreplace").decode()


def dataset_of(config: Config) -> ImageDataset:
    """The dataset of `--dataset`, its classes checked against `--num_label_classes`."""
    data = config.data
    dataset = open_dataset(
        data.dataset,
        data_dir=data.data_dir,
        label_file=data.label_file,
        validation_fraction=data.validation_fraction,
        skip_corrupt=data.skip_corrupt,
        reading=reading_of(config),
    )
    wanted = config.network.num_label_classes
    if wanted is not None and wanted != dataset.num_classes:
        raise UserError(f"--num_label_classes={wanted}: --dataset={data.dataset} has {dataset.num_classes} classes")
    return dataset


def reading_of(config: Config) -> Reading:
    """How encoded images are read; the workers of a data service run no Python."""
    return Reading(config.data.max_pixels, config.data.exif_orientation, with_pillow=config.data.data_service is None)


def check_images(config: Config, dataset: ImageDataset, image_size: int, crop_padding: int, *splits: str) -> None:
    """Opens splits and checks their images, and says what has been left out of them.

    By the manifest of a run directory only what is new is decoded; see `--check_images`.

    Raises UserError for a split that is absent or empty, without --skip_corrupt for the first bad image, and where a
    run of `--model_dir` began with other files.
    """
    least = images.least_side(image_size, crop_padding)
    known = seen.known_faults(config, dataset, splits, least)
    dataset.check(*splits, least_side=least, known=known, decode=config.data.check_images != "none")
    for line in left_out.lines(dataset.name, dataset.faults()):
        say(line)


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
                raise UserError(f"{culprit} (--skip_corrupt leaves it out)") from error
        raise


def resolved(config: Config, dataset: ImageDataset, start: Checkpoint | None = None) -> Config:
    """The config with sizes, classes and crops filled in, which depend on the dataset or a starting checkpoint; what
    depends on the number of images is filled in by `recipe.completed`.

    Args:
      start: the checkpoint that training starts from, whose sizes then are the defaults.
    """
    network, data = config.network, config.data
    network = dataclasses.replace(
        network,
        input_image_size=network.input_image_size
        or (start.image_size if start else dataset.image_size or presets.image_size(network.arch)),
        num_label_classes=dataset.num_classes,
        depth_multiplier=network.depth_multiplier or (start.depth_multiplier if start else 1.0),
    )
    padding, area = default_crops(network.input_image_size)
    if start and start.image_size == network.input_image_size:
        padding = start.crop_padding
    for name in ("train_batch_size", "eval_batch_size"):
        if getattr(data, name) is not None:
            check_pixels(getattr(data, name), network.input_image_size, name, limits.MOST_BATCH_PIXELS)
    data = dataclasses.replace(
        data,
        crop_padding=crop_padding_of(config, padding),
        min_crop_area=area if data.min_crop_area is None else data.min_crop_area,
    )
    return dataclasses.replace(config, network=network, data=data)


def default_crops(image_size: int) -> tuple[int, float]:
    """`--crop_padding` and `--min_crop_area` where neither flag nor checkpoint gives them."""
    if image_size < CROPPED_SIDE:
        return SMALL_CROP_PADDING, SMALL_MIN_CROP_AREA
    return images.CROP_PADDING, MIN_CROP_AREA


def update_check(config: Config) -> UpdateCheck:
    """What is done about gradients that are long or not finite; within the strategy's scope."""
    fit = config.fit
    scale_loss = config.run.precision == "float16"
    return UpdateCheck(clip_norm=fit.clip_gradient_norm, skip=fit.on_nan == "skip", scale_loss=scale_loss)


def training_input(
    config: Config,
    strategy: tf.distribute.Strategy,
    dataset: ImageDataset,
    normalization: Normalization,
    held_out: ImageDataset | None = None,
):
    """`make_batches(start_step)` for the loop: an iterator over distributed training batches.

    With `held_out` each batch is followed, in the same tensors, by one of as many images of that set.
    """
    data = config.data
    augment = augmentations.by_name(data.augment, data.randaugment_layers, data.randaugment_magnitude)
    if data.data_service:
        machines.reach(data.data_service)

    def make_batches(start_step: int):
        def pipeline(shard: int, num_shards: int) -> tf.data.Dataset:
            batches = part(dataset, shard, num_shards)
            if held_out is None:
                return batches
            return tf.data.Dataset.zip(batches, part(held_out, shard, num_shards)).map(
                lambda mine, other: tuple(tf.concat(pair, 0) for pair in zip(mine, other, strict=True))
            )

        def part(of: ImageDataset, shard: int, num_shards: int) -> tf.data.Dataset:
            return train_batches(
                of,
                image_size=config.network.input_image_size,
                normalization=normalization,
                batch_size=data.train_batch_size // num_shards,
                seed=config.run.seed,
                start_step=start_step,
                min_crop_area=data.min_crop_area,
                crop_padding=data.crop_padding,
                augment=augment,
                shard=shard,
                num_shards=num_shards,
                by_file=data.shard_by_file,
                data_service=data.data_service,
            )

        return iter(distribute(strategy, pipeline))

    return make_batches


def measuring_input(config: Config, strategy: tf.distribute.Strategy, dataset: ImageDataset, **pixels):
    """Distributed batches of training images as evaluation cuts them, `--recalibrate_batches` of them and the same
    ones each time it is iterated; `pixels` as in `evaluation_input`."""

    def pipeline(shard: int, num_shards: int) -> tf.data.Dataset:
        batches = train_batches(
            dataset,
            batch_size=config.data.train_batch_size // num_shards,
            seed=config.run.seed,
            shard=shard,
            num_shards=num_shards,
            as_evaluated=True,
            **pixels,
        )
        return batches.take(config.fit.recalibrate_batches)

    return distribute(strategy, pipeline)


def crop_padding_of(config: Config, described: int) -> int:
    """`--crop_padding`, else what is described."""
    given = config.data.crop_padding
    return described if given is None else given


def evaluation_input(config: Config, strategy: tf.distribute.Strategy, dataset: ImageDataset, **pixels):
    """Distributed validation batches, iterable again and again; `pixels`: size, padding and normalisation of
    `eval_batches`."""
    per_replica_batch_size(strategy, config.data.eval_batch_size, "eval_batch_size")

    def pipeline(shard: int, num_shards: int) -> tf.data.Dataset:
        return eval_batches(
            dataset,
            batch_size=config.data.eval_batch_size // num_shards,
            shard=shard,
            num_shards=num_shards,
            **pixels,
        )

    return distribute(strategy, pipeline)


def open_run(
    config: Config,
    strategy: tf.distribute.Strategy,
    dataset: ImageDataset,
    splits: Sequence[str],
    files: dict[str, str],
) -> rundir.RunDirectory:
    """The run directory, refused if it was made with other (resolved) settings, or other numbers of images in
    `splits`. Tells what else has changed."""
    files = {
        **files,
        "labels.txt": labels_text(dataset),
        "data.txt": left_out.data_text(dataset, shown(dataset.name), splits),
    }
    if dataset.left_out:
        files["skipped.json"] = left_out.skipped_text(dataset)
    settings = config.read_settings()
    comparable = {name: value for name, value in settings.items() if name not in _FREE}
    check_present(pathlib.Path(config.run.model_dir))
    directory = rundir.prepare(config.run.model_dir, config.settings(), comparable, files, is_chief=is_chief(strategy))
    for note in directory.notes:
        say(note)
    if is_chief(strategy):
        seen.write(config, dataset, splits, directory.path)
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
