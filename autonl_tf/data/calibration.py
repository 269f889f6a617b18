"""Images that set the ranges of an int8 network: any will do that look like those it will see; labels do not matter."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from autonl_tf.data import images
from autonl_tf.data.datasets import ImageDataset, open_dataset
from autonl_tf.data.folder import EXTENSIONS
from autonl_tf.errors import UserError, first_line


def open_calibration(name: str, data_dir: str | None = None) -> list[str] | ImageDataset:
    """What `--calibration_dataset` names: for `folder:PATH` any directory of images, else a dataset by name.

    Raises:
      UserError: it is not there, or holds no images.
    """
    kind, _, root = name.partition(":")
    if kind != "folder" or not root:
        return open_dataset(name, data_dir=data_dir)
    if not os.path.isdir(root):
        raise UserError(f"--calibration_dataset={name}: no such directory")
    paths = _image_files(root)
    if not paths:
        raise UserError(f"--calibration_dataset={name}: no images there ({', '.join(EXTENSIONS)})")
    return paths


def _image_files(root: str) -> list[str]:
    """Every image below `root`/train if there is such a folder, else below `root`; sorted."""
    train = os.path.join(root, "train")
    found = []
    for directory, folders, names in os.walk(train if os.path.isdir(train) else root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(directory, name) for name in names if _is_image(name)]
    return sorted(found)


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def calibration_images(
    source: list[str] | ImageDataset, count: int, *, image_size: int, crop_padding: int
) -> np.ndarray:
    """At most `count` images, chosen by a fixed seed: float32 [N, S, S, 3] in the scale of 0 to 255, cropped as for
    evaluation. Of a dataset, from its training split.

    Raises:
      UserError: an image that cannot be read or decoded, or a dataset without training images.
    """
    prepared = []
    for name, encoded in _chosen(source, count):
        try:
            prepared.append(images.preprocess_for_eval(tf.constant(encoded), image_size, crop_padding).numpy())
        except tf.errors.InvalidArgumentError as error:
            raise UserError(f"calibration image {name} cannot be decoded: {first_line(error)}") from None
    return np.stack(prepared)


def _chosen(source: list[str] | ImageDataset, count: int):
    """(name, encoded image) of the chosen ones."""
    if isinstance(source, ImageDataset):
        for example in source.examples("train", shuffle_seed=0).take(count).as_numpy_iterator():
            yield example["name"].decode("utf-8", "replace"), example["image"]
        return
    for index in np.random.default_rng(0).permutation(len(source))[:count]:
        path = source[index]
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe could be waited on for ever
            raise UserError(f"calibration image {path}: not a regular file")
        try:
            with open(path, "rb") as file:
                yield path, file.read()
        except OSError as error:
            raise UserError(f"calibration image {path} cannot be read: {error.strerror}") from None
