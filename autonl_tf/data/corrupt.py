"""Finding the examples whose image cannot be decoded, before training meets them."""

from __future__ import annotations

import os
from typing import NamedTuple

import tensorflow as tf

from autonl_tf.data import images
from autonl_tf.data.splits import Stream

_CHUNK = 64  # examples one thread checks in a row
# Eighth-scale decoding reads all of the compressed data but leaves out most of the arithmetic.
_JPEG_SCALE = 8


class CorruptExample(NamedTuple):
    """One image that cannot be used: its position in the stream, its name and why."""

    position: int
    name: str
    reason: str


def find_corrupt(stream: Stream, count: int, first_only: bool) -> list[CorruptExample]:
    """Decodes the `count` examples of a stream in parallel and returns those that fail, in order.

    The stream's positions must be 0 .. count-1 in order. With `first_only` it stops at the first failure.
    Errors of the stream itself (a record file that cannot be read) are raised, not reported.
    """

    def check(*element: tf.Tensor) -> tf.Tensor:
        position, example = stream.load(*element)
        pixels = _decode_to_check(example["image"])
        # The position must depend on the pixels, or the decoding is pruned away.
        return position + tf.cast(tf.size(pixels) == 0, tf.int64)

    def check_chunk(*elements: tf.Tensor) -> tf.data.Dataset:
        # Errors are swallowed here, inside a chunk, which ends whatever happens; at the end of the whole
        # stream an error that comes again at every call would be swallowed for ever.
        chunk = elements[0] if len(elements) == 1 else elements
        return tf.data.Dataset.from_tensor_slices(chunk).map(check).ignore_errors()

    threads = 2 * (os.cpu_count() or 1)
    good = stream.elements.batch(_CHUNK).interleave(
        check_chunk, cycle_length=threads, block_length=_CHUNK, num_parallel_calls=threads, deterministic=True
    )
    missing: list[int] = []
    expected = 0
    for batch in good.batch(_CHUNK).prefetch(2).as_numpy_iterator():
        for position in batch.tolist():
            missing.extend(range(expected, position))
            expected = position + 1
        if missing and first_only:
            break
    else:
        missing.extend(range(expected, count))
    return _explain(stream, missing[:1] if first_only else missing)


def why_corrupt(image_bytes: bytes) -> str | None:
    """Why an encoded image cannot be decoded, in a few words, or None when it can."""
    if not image_bytes:
        return "empty"
    try:
        _decode_to_check(tf.constant(image_bytes))
    except tf.errors.OpError as error:
        if "Unknown image file format" in error.message:
            return "not a JPEG, PNG, GIF, BMP or WebP image"
        return "damaged or cut short"
    return None


def _decode_to_check(image_bytes: tf.Tensor) -> tf.Tensor:
    return tf.cond(
        tf.io.is_jpeg(image_bytes),
        lambda: tf.io.decode_jpeg(image_bytes, channels=3, ratio=_JPEG_SCALE),
        lambda: images.decode(image_bytes),
    )


def _explain(stream: Stream, positions: list[int]) -> list[CorruptExample]:
    if not positions:
        return []
    wanted = tf.constant(positions, tf.int64)
    chosen = stream.elements.enumerate().filter(lambda number, *_: tf.reduce_any(number == wanted))
    found = []
    for number, element in chosen.take(len(positions)):
        element = element if isinstance(element, tuple) else (element,)
        try:
            _, example = stream.load(*element)
        except tf.errors.OpError as error:  # the message of a failed read names the file
            found.append(CorruptExample(int(number), error.message, "cannot be read"))
            continue
        name = example["name"].numpy().decode("utf-8", "replace")
        why = why_corrupt(example["image"].numpy()) or "cannot be read"
        found.append(CorruptExample(int(number), name, why))
    return found
