"""Images that set the ranges of an int8 network: any will do that look like those it will see; labels do not matter."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from autonl_tf.data import bad_images, images
from autonl_tf.data.datasets import ImageDataset, open_dataset
from autonl_tf.data.facts import calibration_files
from autonl_tf.data.reading import AS_SHOWN, DAMAGED, MISSING, UNREADABLE, Reading
from autonl_tf.errors import UserError

_HINT = "(--skip_corrupt leaves it out)"

_log = logging.getLogger(__name__)


def open_calibration(
    name: str, data_dir: str | None = None, skip_corrupt: bool = False, reading: Reading = AS_SHOWN
) -> list[str] | ImageDataset:
    """What `--calibration_dataset` names: for `folder:PATH` any directory of images, else a dataset by name.

    Raises:
      UserError: it is not there, or holds no images.
    """
    paths = calibration_files(name)
    if paths is not None:
        return paths
    return open_dataset(name, data_dir=data_dir, skip_corrupt=skip_corrupt, images_only=True, reading=reading)


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
        candidates = _of_files(source, skip_corrupt)
    for name, encoded in candidates:
        try:
            prepared.append(images.preprocess_for_eval(tf.constant(encoded), image_size, crop_padding, reading).numpy())
        except tf.errors.InvalidArgumentError:
            reason = bad_images.why_bad(encoded, least, reading) or DAMAGED
            fault = f"calibration: {bad_images.BadExample(0, name, reason).told(reading)}"
            if not skip_corrupt:
                raise UserError(f"{fault} {_HINT}") from None
            _log.warning("left out: %s", fault)
        if len(prepared) == count:
            break
    if not prepared:
        raise UserError("none of the calibration images can be read and decoded")
    return np.stack(prepared)


def _of_dataset(dataset: ImageDataset) -> Iterator[tuple[str, bytes]]:
    """(name, encoded image) in random order."""
    for example in dataset.examples("train", shuffle_seed=0).as_numpy_iterator():
        yield example["name"].decode("utf-8", "replace"), example["image"]


def _of_files(paths: list[str], skip_corrupt: bool) -> Iterator[tuple[str, bytes]]:
    """Likewise, of those that can be read."""
    for index in np.random.default_rng(0).permutation(len(paths)):
        try:
            yield paths[index], _read(paths[index])
        except UserError as error:
            if not skip_corrupt:
                raise UserError(f"{error} {_HINT}") from None
            _log.warning("left out: %s", error)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise UserError(f"calibration: image {path}: {MISSING}") from None
    except OSError as error:
        raise UserError(f"calibration: image {path}: {UNREADABLE}: {error.strerror}") from None
