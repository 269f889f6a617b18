"""Image classification sets of TensorFlow Datasets, read as encoded bytes."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from autonl_tf.data import images
from autonl_tf.data.example_order import Example, RecordFile, RecordSplit
from autonl_tf.errors import UserError

_VALIDATION_NAMES = ("validation", "val", "test")  # the first that exists is taken
_DTYPES = ("uint8", "uint16")  # of images
_TELL_SECONDS = 10.0  # between two lines of a progress bar
_MOVES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # of a terminal's cursor, and its colours

_log = logging.getLogger(__name__)


def load_builder(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """The prepared builder of `tfds:NAME`, prepared (and downloaded) now if it is not.

    Raises `UserError` for an unknown name and for a set that cannot be prepared.
    """
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise UserError(f"tfds:{name}: TensorFlow Datasets knows no such set, nor does {data_dir}") from error
    except (ValueError, TypeError, AssertionError) as error:
        raise UserError(f"tfds:{name}: {_told(error)}") from error
    prepare(builder, f"tfds:{name}")
    return builder


def prepare(builder: tfds.core.DatasetBuilder, source: str) -> None:
    """Prepares a set in its data directory unless that is done already, be it by another process meanwhile."""
    if not builder.is_prepared():
        _log.info("%s: preparing it in %s", source, builder.data_path)
        told = Told(sys.stderr)
        try:
            with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
                builder.download_and_prepare()
        except Exception as error:  # whatever a third party's download and generation code raises
            if not builder.is_prepared():
                where = builder.data_path
                raise UserError(f"{source}: not prepared in {where} and it cannot be now: {_told(error)}") from error
            builder.info.read_from_directory(builder.data_path)  # not of this builder's own, discarded files
    if not builder.info.splits:  # another process was faster, and this builder was made before
        builder.info.read_from_directory(builder.data_path)


def _told(error: BaseException) -> str:
    return textwrap.shorten(str(error), 300) or type(error).__name__


class Told(io.TextIOBase):
    """A stream that TensorFlow Datasets writes to, in place of standard output, which is for results: text goes to
    `stream` as plain lines, and a progress bar as a line every ten seconds."""

    def __init__(self, stream: TextIO):
        self._stream, self._next = stream, time.monotonic() + _TELL_SECONDS

    def write(self, text: str) -> int:
        line, now = _MOVES.sub("", text).strip(), time.monotonic()
        if "\r" in text:
            if now < self._next:
                return len(text)
            self._next = now + _TELL_SECONDS
        if line:
            self._stream.write(f"{line}\n")
        return len(text)


def image_and_label(
    builder: tfds.core.DatasetBuilder, source: str, images_only: bool = False
) -> tuple[str, str | None]:
    """The names of the image and the class label among a set's features, the latter None with `images_only`.

    Raises `UserError` where there is not one of each, and for images of numbers that no PNG or JPEG holds: TensorFlow
    Datasets keeps float32 as the bytes of a PNG's colours.
    """
    features = builder.info.features
    if not isinstance(features, tfds.features.FeaturesDict):
        raise UserError(f"{source}: not an image classification set (its features have no names)")

    def the_only(kind: type, what: str) -> str:
        keys = [key for key, feature in features.items() if type(feature) is kind]
        keys = [key for key in keys if key in (builder.info.supervised_keys or ())] or keys
        if len(keys) != 1:
            raise UserError(f"{source}: not an image classification set (it has {len(keys)} {what} features)")
        return keys[0]

    image = the_only(tfds.features.Image, "image")
    if (dtype := np.dtype(features[image].np_dtype).name) not in _DTYPES:
        raise UserError(f"{source}: its images are of {dtype}; accepted: {' or '.join(_DTYPES)}")
    return image, None if images_only else the_only(tfds.features.ClassLabel, "class label")


def square_side(builder: tfds.core.DatasetBuilder, image_key: str) -> int | None:
    """The side of the set's images in pixels where all are squares of one size."""
    height, width = builder.info.features[image_key].shape[:2]
    return height if height is not None and height == width else None


def split_instructions(
    builder: tfds.core.DatasetBuilder,
    source: str,
    validation_fraction: float,
    keys: tuple[str, str | None],
    labels: list[int],
) -> dict[str, str]:
    """Which TFDS split, or slice of one, is 'train', which 'validation' and, where that is another, which 'test'.

    A test split without labels is not used. A set without a second split gives the last `validation_fraction` of its
    training split away. `keys` and `labels` are those of `tfds_split`.
    """
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    if sizes.get("test") and not _is_labelled(tfds_split(builder, source, "test", keys, labels), builder, keys):
        _log.info("%s: its test images are not used: they have no labels", source)
        del sizes["test"]
    instructions = {"train": "train"} if "train" in sizes else {}
    if validation := next((name for name in _VALIDATION_NAMES if name in sizes), None):
        instructions["validation"] = validation
    if "test" in sizes and "test" not in instructions.values():
        instructions["test"] = "test"
    if not instructions:
        raise UserError(f"{source}: no split train, {', '.join(_VALIDATION_NAMES)}; it has {sorted(sizes)}")
    if "validation" not in instructions:
        kept = sizes["train"] - round(sizes["train"] * validation_fraction)
        instructions = {"train": f"train[:{kept}]", "validation": f"train[{kept}:]"}
    return instructions


def tfds_split(
    builder: tfds.core.DatasetBuilder, source: str, instruction: str, keys: tuple[str, str | None], labels: list[int]
) -> RecordSplit:
    """The records of one split; label l of the set becomes `labels[l]`, all labels 0 where it has no key.

    Raises `UserError` for a set prepared in another file format than TFRecord, or whose files are missing.
    """
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise UserError(
            f"{source}: prepared as {builder.info.file_format.value}; prepare it with file_format='tfrecord'"
        )
    files = []
    for part in builder.info.splits[instruction].file_instructions:
        path = os.fspath(part.filename)
        if not tf.io.gfile.exists(path):
            raise UserError(f"{source}: missing shard {path}")
        files.append(RecordFile(path, part.skip, part.take))
    total = sum(file.take for file in files)
    return RecordSplit(tuple(files), _parser(builder.info.features, keys, labels), total)


def _is_labelled(split: RecordSplit, builder: tfds.core.DatasetBuilder, keys: tuple[str, str | None]) -> bool:
    """Whether the first record's label is not -1, as those that are held back are; what cannot be read is told where it
    is used."""
    image_key, label_key = keys
    try:
        record = next(iter(split.once().elements))[-1]
        example = builder.info.features.deserialize_example(record, decoders={image_key: tfds.decode.SkipDecoding()})
        return label_key is None or int(example[label_key]) != -1
    except tf.errors.OpError:
        return True


def _parser(
    features: Any, keys: tuple[str, str | None], labels: list[int]
) -> Callable[[tf.Tensor, tf.Tensor], Example]:
    image_key, label_key = keys
    encoded = {image_key: tfds.decode.SkipDecoding()}
    wanted = tf.constant(labels, tf.int32)

    def parse(record: tf.Tensor, name: tf.Tensor) -> Example:
        example = features.deserialize_example(record, decoders=encoded)
        if label_key is None:
            return {"image": example[image_key], "label": tf.constant(0), "name": name}
        own = example[label_key]
        inside = (own >= 0) & (own < len(labels))
        own = images.checked(own, inside, f"label outside 0..{len(labels) - 1} (record, label):", name, own)
        return {"image": example[image_key], "label": tf.gather(wanted, own), "name": name}

    return parse
