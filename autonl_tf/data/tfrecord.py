"""TFRecord files: how many records each holds, and ImageNet in the layout of the TPU codebases."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from autonl_tf.data import images
from autonl_tf.data.example_order import Example, RecordFile, RecordSplit, untuned
from autonl_tf.data.facts import shards_by_split
from autonl_tf.errors import UserError, first_line, system_failure

# Counting records takes a look at each header. Where the files are remote and as many as ImageNet's, its
# published size stands in (reading fails if that is wrong).
_PUBLISHED_SIZE = {("train", 1024): 1281167, ("validation", 128): 50000}
_IMAGE, _LABEL = "image/encoded", "image/class/label"
_FEATURES = {_IMAGE: tf.io.FixedLenFeature([], tf.string), _LABEL: tf.io.FixedLenFeature([], tf.int64)}
_FROM_ZERO = "so labels are counted from 0 here; accepted: counted from 1, as the TPU codebases write them"
# A record: its length (8 bytes, little endian), a checksum (4), the data, a checksum (4).
_LENGTH, _BEFORE, _AFTER = 8, 12, 4
_COUNTING_THREADS = 16
_COMPRESSED = {"GZIP": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0", "Zstandard": b"\x28\xb5\x2f\xfd"}


def list_imagenet_shards(directory: str) -> dict[str, tuple[str, ...]]:
    """As `shards_by_split`, of a directory on this machine or in a bucket."""
    if not tf.io.gfile.isdir(directory):
        raise UserError(f"imagenet_tfrecord:{directory}: no such directory")
    return shards_by_split(directory, tf.io.gfile.listdir(directory))


def imagenet_split(files: tuple[str, ...], split: str, num_classes: int | None) -> RecordSplit:
    """The records of one split; stored labels 1 .. num_classes become 0 .. num_classes - 1, all 0 where it is None.

    Raises `UserError` for a truncated or empty file set and for records of other features.
    """
    published = _PUBLISHED_SIZE.get((split, len(files)))
    known = not (published and "://" in files[0])
    sizes = count_records(files) if known else [-1] * len(files)
    total = sum(sizes) if known else published
    if not total:
        raise UserError(f"{os.path.dirname(files[0])}: the {split} files hold no records")
    parse = _imagenet_parser(num_classes)
    _check_first_record([path for path, size in zip(files, sizes, strict=True) if size], parse)
    return RecordSplit(tuple(RecordFile(path, 0, size) for path, size in zip(files, sizes, strict=True)), parse, total)


def count_records(files: tuple[str, ...]) -> list[int]:
    """The number of records of each file, read off the record headers alone.

    Raises `UserError` naming a file that ends within a record.
    """
    with ThreadPoolExecutor(_COUNTING_THREADS) as pool:
        return list(pool.map(_count_in_file, files))


def first_unreadable(files: tuple[RecordFile, ...]) -> str | None:
    """The first record file that is gone or cannot be read, or whose checksums do not hold, with why, in a line; or
    None."""
    for file in files:
        try:
            untuned(tf.data.TFRecordDataset(file.path)).reduce(0, lambda count, _: count + 1)
        except tf.errors.OpError as error:
            return told(file.path, error)
    return None


def first_unparsed(records: RecordSplit) -> str | None:
    """The first record without what is read of it, with why, in a line; or None."""
    stream = records.once()
    for element in stream.elements:
        try:
            stream.load(*element)
        except tf.errors.InvalidArgumentError as error:
            return f"{os.fsdecode(stream.name(*element).numpy())}: {first_line(error)}"
    return None


def told(name: str, error: Exception) -> str:
    """What is wrong with a record file that TensorFlow fails to read, in a line."""
    failure = system_failure(error)
    return f"TFRecord file {name}: {failure[1]}" if failure else f"corrupt TFRecord file {name}: {first_line(error)}"


def _count_in_file(path: str) -> int:
    if "://" not in path and not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe waits for its other end
        raise UserError(f"{path}: no regular file")
    with tf.io.gfile.GFile(path, "rb") if "://" in path else open(path, "rb", buffering=0) as file:
        file.seek(0, os.SEEK_END)
        end = file.tell()
        count = offset = 0
        while offset + _BEFORE <= end:
            file.seek(offset)
            offset += _BEFORE + int.from_bytes(file.read(_LENGTH), "little") + _AFTER
            count += 1
    if offset != end:
        _refuse_compressed(path)
        raise UserError(f"{path}: not a whole TFRecord file, it ends within record {max(count - 1, 0)}")
    return count


def _refuse_compressed(path: str) -> None:
    """Raises `UserError` where a file, known to hold no records as it is, begins as compressed ones do."""
    with tf.io.gfile.GFile(path, "rb") as file:
        start = file.read(6)
    is_zlib = start[:1] == b"\x78" and int.from_bytes(start[:2], "big") % 31 == 0
    kind = "zlib" if is_zlib else next((kind for kind, first in _COMPRESSED.items() if start.startswith(first)), None)
    if kind:
        raise UserError(f"{path}: a compressed TFRecord file ({kind}); accepted: record files that are not compressed")


def _imagenet_parser(num_classes: int | None) -> Callable[[tf.Tensor, tf.Tensor], Example]:
    def parse(record: tf.Tensor, name: tf.Tensor) -> Example:
        features = tf.io.parse_single_example(record, _FEATURES if num_classes else {_IMAGE: _FEATURES[_IMAGE]})
        if num_classes is None:
            return {"image": features[_IMAGE], "label": tf.constant(0), "name": name}
        stored = features[_LABEL]
        inside = (stored >= 1) & (stored <= num_classes)
        from_zero = tf.where(stored == 0, f", {_FROM_ZERO}", "")
        told = tf.strings.join([f"{_LABEL} outside 1..{num_classes}", from_zero, " (record, label):"])
        stored = images.checked(stored, inside, told, name, stored)
        return {"image": features[_IMAGE], "label": tf.cast(stored, tf.int32) - 1, "name": name}

    return parse


def _check_first_record(files: list[str], parse: Callable[[tf.Tensor, tf.Tensor], Example]) -> None:
    try:
        for record in tf.data.TFRecordDataset(files).take(1):
            parse(record, tf.constant(f"{files[0]}#0"))
    except tf.errors.DataLossError as error:
        _refuse_compressed(files[0])
        raise UserError(told(files[0], error)) from error
    except tf.errors.InvalidArgumentError as error:
        if _FROM_ZERO in error.message:
            raise UserError(f"{files[0]}: its first record has label 0, {_FROM_ZERO}") from error
        raise UserError(
            f"{files[0]}: its first record is not an ImageNet example ({_IMAGE}, {_LABEL}): {first_line(error)}"
        ) from error
