"""How close the training input comes to its bound: decoding, cropping and resizing alone, on the same threads.

Takes a directory of JPEG photographs (any depth; a class folder each, or not); without one, images of the built-in set
stand in, which at 64 px say little about photographs. Measures, in interleaved rounds:

  bound        JPEG files held in memory, their crops known: the two kernels that decode a crop and resize it, no more
  pipeline     what `--mode=train` runs: files, order, crops, flips, normalisation, batches
  autoaugment, randaugment   the same with --augment

Prints medians of images per second of wall time; ends in one line of JSON with `ratio_to_decode` (pipeline / bound),
and `cpu_ratio_to_decode`, the same by processor time, for machines on which other work runs.

    python benchmarks/input_pipeline.py [DIRECTORY] [--size=224] [--batch=64] [--threads=N] [--images=1600] [--rounds=5]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import tensorflow as tf

from autonl_tf.arch.spec import Normalization
from autonl_tf.data import images
from autonl_tf.data.augment import policies
from autonl_tf.data.batches import train_batches
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.data.demo import IMAGE_SIZE, demo_image
from autonl_tf.data.demo_scene import SceneSettings
from autonl_tf.data.example_order import of_files

SEED = 1
MIN_CROP_AREA = 0.08
WARM_UP = 4  # batches: traces, fills what is buffered
CHUNK = 64  # scalars of the bound handed over at a time


def write_demo(directory: str) -> None:
    """As many images of the built-in set as photographs were measured."""
    scene = SceneSettings(kind="far", image_size=IMAGE_SIZE)
    for number in range(200):
        (pathlib.Path(directory) / f"{number}.jpg").write_bytes(demo_image(scene, 0, "train", number)[0])


def dataset_of(directory: str) -> ImageDataset:
    """The JPEG images below a directory as a training split, all of one label."""
    paths = sorted(str(path) for path in pathlib.Path(directory).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        sys.exit(f"error: {directory}: no JPEG images (.jpg, .jpeg) below it")
    dataset = ImageDataset(directory, ["any"], 224, {"train": lambda: of_files(paths)})
    dataset.check("train", decode=False)
    return dataset


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


def speed_of(batches: tf.data.Dataset, batch: int, count: int, threads: int) -> tuple[float, float]:
    """Images per second, and per second of processor time: the latter hardly minds what else the machine does."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    iterator = iter(batches.with_options(options))
    for _ in range(WARM_UP):
        next(iterator)
    steps = -(-count // batch)
    began, began_cpu = time.perf_counter(), time.process_time()
    for _ in itertools.repeat(None, steps):
        next(iterator)
    done = steps * batch
    return done / (time.perf_counter() - began), done / (time.process_time() - began_cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", help="of photographs; default: images of the built-in set")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--images", type=int, default=1600, help="timed in each run")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if options.directory is None:
            write_demo(made)
        measure(options, dataset_of(options.directory or made))


def measure(options: argparse.Namespace, dataset: ImageDataset) -> None:
    def pipeline(name: str) -> tf.data.Dataset:
        return train_batches(
            dataset,
            image_size=options.size,
            normalization=Normalization(),
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
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(options.rounds):
        for name, (batches, batch) in variants.items():
            speeds[name].append(speed_of(batches, batch, options.images, options.threads))
    medians, cpu_medians = (
        {name: statistics.median(pair[which] for pair in found) for name, found in speeds.items()} for which in (0, 1)
    )
    for name, found in speeds.items():
        slowest, fastest = min(found)[0], max(found)[0]
        print(
            f"{name:<12} {medians[name]:7.0f} images/s (from {slowest:.0f} to {fastest:.0f}), "
            f"{1000 / cpu_medians[name]:.2f} ms of processor time an image"
        )
    ratios = {}
    for name in ("pipeline", "autoaugment", "randaugment"):
        prefix = "" if name == "pipeline" else f"{name}_"
        ratios[f"{prefix}ratio_to_decode"] = round(medians[name] / medians["bound"], 4)
        ratios[f"{prefix}cpu_ratio_to_decode"] = round(cpu_medians[name] / cpu_medians["bound"], 4)
    print(
        json.dumps(
            {
                "photographs" if options.directory else "demo_images": dataset.size("train"),
                **{name: value for name, value in vars(options).items() if name != "directory"},
                "tensorflow": tf.__version__,
                **{f"{name}_images_per_second": round(value, 1) for name, value in medians.items()},
                **ratios,
            }
        )
    )


if __name__ == "__main__":
    main()
