"""How close the training input comes to its bound: decoding, cropping and resizing alone, on the same threads.

Takes a directory of photographs (any depth; a class folder each, or not). Measures, in interleaved rounds:

  bound        JPEG files held in memory, their crops known: the two kernels that decode a crop and resize it, no more
  pipeline     what `--mode=train` runs: files, order, crops, flips, normalisation, batches
  autoaugment, randaugment   the same with --augment

Prints medians of images per second; ends in one line of JSON with `ratio_to_decode` (pipeline / bound).

    python benchmarks/input_pipeline.py DIRECTORY [--size=224] [--batch=64] [--threads=N] [--images=1600] [--rounds=5]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pathlib
import statistics
import sys
import time

import tensorflow as tf

from autonl_tf.data import images
from autonl_tf.data.augment import policies
from autonl_tf.data.batches import train_batches
from autonl_tf.data.datasets import ImageDataset, OpenedSplit
from autonl_tf.data.folder import EXTENSIONS, LabelledFiles

SEED = 1
MIN_CROP_AREA = 0.08
WARM_UP = 4  # batches: traces, fills what is buffered
CHUNK = 64  # scalars of the bound handed over at a time


def dataset_of(directory: str) -> ImageDataset:
    """The images below a directory as a training split, all of one label."""
    paths = sorted(str(path) for path in pathlib.Path(directory).rglob("*") if path.suffix.lower() in EXTENSIONS)
    if not paths:
        sys.exit(f"error: {directory}: no images below it")
    split = LabelledFiles(tuple(paths), (0,) * len(paths)).split()
    opened = OpenedSplit(split, check=False, without=lambda found: split)
    return ImageDataset(directory, ["any"], 224, {"train": lambda: opened})


def bound_of(dataset: ImageDataset, count: int, size: int) -> tf.data.Dataset:
    """The same files in the same order with the same crops; one number of each resized image comes out."""
    stream = dataset.split("train").endless(SEED)

    def window(*element):
        position, example = stream.load(*element)
        seed = tf.stack([tf.constant(SEED, tf.int64), position])
        shape = tf.image.extract_jpeg_shape(example["image"])
        crop_seed = tf.random.experimental.stateless_split(seed, 2)[0]
        choose = images.random_crop(crop_seed, size, MIN_CROP_AREA, images.CROP_PADDING)
        return example["image"], choose(shape[0], shape[1])

    data, crops = zip(*stream.elements.take(count).map(window, tf.data.AUTOTUNE), strict=True)
    known = (tf.stack(data), tf.stack(crops))

    def decode_and_resize(data, crop):
        image = tf.image.decode_and_crop_jpeg(data, crop, channels=3)
        resized = tf.raw_ops.ResizeBicubic(
            images=image[tf.newaxis], size=[size, size], align_corners=False, half_pixel_centers=False
        )
        return resized[0, 0, 0, 0]

    made = tf.data.Dataset.from_tensor_slices(known).repeat()
    return made.map(decode_and_resize, tf.data.AUTOTUNE, deterministic=True).batch(CHUNK).prefetch(2)


def images_per_second(batches: tf.data.Dataset, batch: int, count: int, threads: int) -> float:
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    iterator = iter(batches.with_options(options))
    for _ in range(WARM_UP):
        next(iterator)
    steps = -(-count // batch)
    began = time.perf_counter()
    for _ in itertools.repeat(None, steps):
        next(iterator)
    return steps * batch / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--images", type=int, default=1600, help="timed in each run")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    dataset = dataset_of(options.directory)

    def pipeline(name: str) -> tf.data.Dataset:
        return train_batches(
            dataset,
            image_size=options.size,
            batch_size=options.batch,
            seed=SEED,
            min_crop_area=MIN_CROP_AREA,
            augment=policies.by_name(name),
        )

    variants = {
        "bound": (bound_of(dataset, options.images, options.size), CHUNK),
        "pipeline": (pipeline("none"), options.batch),
        "autoaugment": (pipeline("autoaugment"), options.batch),
        "randaugment": (pipeline("randaugment"), options.batch),
    }
    speeds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(options.rounds):
        for name, (batches, batch) in variants.items():
            speeds[name].append(images_per_second(batches, batch, options.images, options.threads))
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    for name, found in speeds.items():
        print(f"{name:<12} {medians[name]:7.0f} images/s (from {min(found):.0f} to {max(found):.0f})")
    print(
        json.dumps(
            {
                "photographs": dataset.size("train"),
                **{name: value for name, value in vars(options).items() if name != "directory"},
                "tensorflow": tf.__version__,
                **{f"{name}_images_per_second": round(value, 1) for name, value in medians.items()},
                "ratio_to_decode": round(medians["pipeline"] / medians["bound"], 4),
                "autoaugment_ratio_to_decode": round(medians["autoaugment"] / medians["bound"], 4),
                "randaugment_ratio_to_decode": round(medians["randaugment"] / medians["bound"], 4),
            }
        )
    )


if __name__ == "__main__":
    main()
