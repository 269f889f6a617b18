"""Images that set the ranges of an int8 network: any will do that look like those it will see; labels do not matter."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from autonl_tf.data import bad_images, images
from autonl_tf.data.datasets import ImageDataset, open_dataset
from autonl_tf.data.facts import calibration_files
from autonl_tf.data.reading import AS_SHOWN, DAMAGED, MISSING, UNREADABLE, BadExample, Reading
from autonl_tf.errors import UserError

_log = logging.getLogger(__name__)


def open_calibration(
    name: str, data_dir: str | None = None, skip_corrupt: bool = False, reading: Reading = AS_SHOWN
) -> list[str] | ImageDataset:
    """What `--calibration_dataset` names: for `folder:PATH` any directory of images, else a dataset by name.

    Raises:
      UserError: it is not there, or holds no images.
    """
    return calibration_files(name) or open_dataset(
        name, data_dir=data_dir, skip_corrupt=skip_corrupt, images_only=True, reading=reading
    )


def calibration_images(
    source: list[str] | ImageDataset,
    count: int,
    *,
    image_size: int,
    crop_padding: int,
    skip_corrupt: bool = False,
    reading: Reading = AS_SHOWN,
) -> np.ndarray:
    """At most `count` images, chosen by a fixed seed: float32 [N, S, S, 3] in the scale of 0 to 255, cropped as for
    evaluation. A dataset gives those of its training split.

    Raises:
      UserError: an image that cannot be read or decoded (with `skip_corrupt`: all of them), or a dataset without
        training images.
    """
    prepared, least = [], images.least_side(image_size, crop_padding)
    if isinstance(source, ImageDataset):
        source.check("train", least_side=least)
        candidates = _of_dataset(source)
    else:
        candidates = _of_files(source)
    for name, read in candidates:
        try:
            encoded = read()
            prepared.append(images.preprocess_for_eval(tf.constant(encoded), image_size, crop_padding, reading).numpy())
            if len(prepared) == count:
                break
            continue
        except FileNotFoundError:
            reason = MISSING
        except OSError as error:
            reason = f"{UNREADABLE}: {error.strerror}"
        except tf.errors.InvalidArgumentError:
            reason = bad_images.why_bad(encoded, least, reading) or DAMAGED
        fault = f"calibration: {BadExample(0, name, reason).told(reading)}"
        if not skip_corrupt:
            raise UserError(f"{fault} (--skip_corrupt leaves it out)")
        _log.warning("left out: %s", fault)
    if not prepared:
        raise UserError("none of the calibration images can be read and decoded")
    return np.stack(prepared)


def _of_dataset(dataset: ImageDataset) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """The name of each image, in random order, and what gives its bytes."""
    for example in dataset.examples("train", shuffle_seed=0).as_numpy_iterator():
        yield example["name"].decode("utf-8", "replace"), functools.partial(bytes, example["image"])


def _of_files(paths: list[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    for index in np.random.default_rng(0).permutation(len(paths)):
        yield paths[index], Path(paths[index]).read_bytes
