"""Batches of images for training, evaluation and prediction, normalised as the network's architecture says."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from autonl_tf.arch.spec import Normalization
from autonl_tf.data import bad_images, images, own_files
from autonl_tf.data.augment.policies import Augmentation
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.data.example_order import PROCESSORS, Stream, of_files, shard_count
from autonl_tf.data.reading import AS_SHOWN, BadExample, Reading, check_bad


def train_batches(
    dataset: ImageDataset,
    *,
    image_size: int,
    normalization: Normalization,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    min_crop_area: float = 0.08,
    crop_padding: int = images.CROP_PADDING,
    augment: Augmentation | None = None,
    shard: int = 0,
    num_shards: int = 1,
    by_file: bool = False,
    data_service: str | None = None,
    as_evaluated: bool = False,
) -> tf.data.Dataset:
    """The endless training sequence: (images float32 [batch, side, side, 3], labels int32 [batch]).

    Images are normalised. The images of all epochs follow each other, each epoch in the order of
    (seed, epoch), and batches run across its end: every image once an epoch, none dropped. Batch t of all
    shards together holds positions t * num_shards * batch_size and on, so their union does not depend on
    `num_shards`. Crop, flip and `augment` of an image follow from (seed, position). `start_step` is the number of
    batches (of this dataset) already seen: from there on the batches are those of an uninterrupted run.

    With `by_file` each shard reads record files of its own (see `own_files`), where that can be; elsewhere every shard
    goes through all records and takes its own.

    `data_service` is a tf.data service's dispatcher (grpc://HOST:PORT): its workers make whole rounds, each once, and
    what they have ready comes first. Batches are then not in a given order, and a resumed run may miss or repeat images
    of the rounds that were being made.

    With `as_evaluated` images are cut as `eval_batches` cuts them, and not changed.
    """
    split = dataset.split("train")
    if data_service or (by_file and own_files.has_own_files(split, num_shards)):
        stream = own_files.endless(split, seed, start_step, batch_size, shard, num_shards)
    else:
        stream = split.endless(seed, start_step, batch_size, shard, num_shards)
    normalize = images.normalizer((image_size, image_size), normalization)

    def prepare(*element: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        position, example = stream.load(*element)
        if as_evaluated:
            image = images.preprocess_for_eval(example["image"], image_size, crop_padding, dataset.reading)
        else:
            image_seed = tf.stack([tf.constant(seed, tf.int64), position])
            image = images.preprocess_for_train(
                example["image"], image_size, image_seed, min_crop_area, crop_padding, augment, dataset.reading
            )
        return normalize(image), example["label"]

    calls = tf.data.AUTOTUNE if data_service else PROCESSORS  # its workers have processors of their own
    batches = stream.elements.map(prepare, num_parallel_calls=calls, deterministic=True)
    batches = batches.batch(batch_size, drop_remainder=True)
    if data_service:
        service = tf.data.experimental.service
        batches = batches.apply(service.distribute(service.ShardingPolicy.DYNAMIC, data_service))
    return _finish(batches)


def eval_batches(
    dataset: ImageDataset,
    *,
    image_size: int,
    normalization: Normalization,
    batch_size: int,
    crop_padding: int = images.CROP_PADDING,
    split: str = "validation",
    shard: int = 0,
    num_shards: int = 1,
) -> tf.data.Dataset:
    """Every image of a split once: (images float32 [batch, side, side, 3], labels, weights [batch]).

    Images are normalised, labels int32, weights float32. All shards give the same number of batches, all of
    one shape; what is missing is filled with examples of weight 0 (zero images, label 0).
    """
    examples = dataset.split(split)
    size = examples.size
    stream = examples.once(None, 0, batch_size, shard, num_shards)
    rounds = -(-size // (batch_size * num_shards))
    padding = rounds * batch_size - shard_count(size, batch_size, shard, num_shards)
    batches = _once(stream, padding, image_size, normalization, batch_size, crop_padding, dataset.reading)
    return _finish(batches.apply(tf.data.experimental.assert_cardinality(rounds)))


def usable_files(
    files: Sequence[str],
    *,
    image_size: int,
    crop_padding: int = images.CROP_PADDING,
    skip_corrupt: bool = False,
    reading: Reading = AS_SHOWN,
) -> tuple[list[str], list[BadExample]]:
    """The image files that can be used, in order, and those that cannot, each decoded once to find out.

    Raises `UserError` for the first that cannot be used; with `skip_corrupt` where none can.
    """
    least = images.least_side(image_size, crop_padding)
    bad = bad_images.find_bad(of_files(files).once(), len(files), not skip_corrupt, least, reading)
    check_bad(bad, len(files), skip_corrupt, reading)
    bad_images.tell(bad, reading)
    left_out = {example.position for example in bad}
    return [path for position, path in enumerate(files) if position not in left_out], bad


def predict_batches(
    files: Sequence[str],
    *,
    image_size: int,
    normalization: Normalization,
    batch_size: int,
    crop_padding: int = images.CROP_PADDING,
    reading: Reading = AS_SHOWN,
) -> tf.data.Dataset:
    """Image files in order: (images float32 [batch, side, side, 3] normalised, weights float32 [batch]).

    The last batch is filled with zero images of weight 0. The files are those of `usable_files`.
    """
    stream, padding = of_files(files).once(), -len(files) % batch_size
    batches = _once(stream, padding, image_size, normalization, batch_size, crop_padding, reading)
    return _finish(batches.map(lambda pixels, labels, weights: (pixels, weights)))


def _once(
    stream: Stream,
    padding: int,
    image_size: int,
    normalization: Normalization,
    batch_size: int,
    crop_padding: int,
    reading: Reading,
) -> tf.data.Dataset:
    """The stream's examples as (images, labels, weights 1) in batches, then `padding` examples of weight 0."""
    normalize = images.normalizer((image_size, image_size), normalization)

    def prepare(*element: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        _, example = stream.load(*element)
        image = images.preprocess_for_eval(example["image"], image_size, crop_padding, reading)
        return normalize(image), example["label"], tf.constant(1.0)

    real = stream.elements.map(prepare, PROCESSORS, deterministic=True)
    nothing = (tf.zeros([image_size, image_size, 3]), tf.constant(0), tf.constant(0.0))
    padded = real.concatenate(tf.data.Dataset.from_tensors(nothing).repeat(padding))
    return padded.batch(batch_size, drop_remainder=True)


def _finish(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Many images are made at once; to share out the work on one of them too would cost more than it gains.
    options.threading.max_intra_op_parallelism = 1
    # Where a batch follows a map, each image is written into its place in the batch by the thread that made it.
    options.experimental_optimization.map_and_batch_fusion = True
    # The shards are made here; tf.distribute must not divide them once more.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.prefetch(2).with_options(options)
