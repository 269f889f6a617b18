"""Finding the examples whose image cannot be used, before training meets them."""

from __future__ import annotations

import collections
import logging
import os
import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from autonl_tf.data import images
from autonl_tf.data.splits import Stream

# The kinds of faults, as they are counted and told.
EMPTY = "empty"
NOT_AN_IMAGE = "not a JPEG, PNG, GIF, BMP or WebP image"
CUT_SHORT = "cut short"
DAMAGED = "damaged"
TOO_SMALL = "too small to leave a crop"
UNREADABLE = "cannot be read"

_CHUNK = 64  # examples one thread checks in a row
# Eighth-scale decoding reads all of the compressed data but leaves out most of the arithmetic.
_JPEG_SCALE = 8
_PROGRESS_SECONDS = 30.0
# First bytes of a format, what the last ones hold when the file is whole, and how many those are.
_ENDINGS = ((b"\xff\xd8\xff", b"\xff\xd9", 32), (b"\x89PNG", b"IEND", 32), (b"GIF8", b"\x3b", 1))

_log = logging.getLogger(__name__)


class CorruptExample(NamedTuple):
    """One image that cannot be used: its position in the stream, its name, and which kind of fault it has."""

    position: int
    name: str
    reason: str


def find_corrupt(stream: Stream, count: int, first_only: bool, least_side: int = 1) -> list[CorruptExample]:
    """Decodes the `count` examples of a stream in parallel and returns those that fail, in order.

    An image with a side of fewer than `least_side` pixels fails too. The stream's positions must be 0 .. count-1 in
    order. With `first_only` it stops at the first failure. Errors of the stream itself (a record file that cannot be
    read) are raised, not reported, and so is a record that is no example (`tf.errors.InvalidArgumentError`).
    """

    def check(*element: tf.Tensor) -> tf.Tensor:
        position, example = stream.load(*element)
        large_enough = tf.debugging.Assert(_shorter_side(example["image"]) >= least_side, [TOO_SMALL])
        with tf.control_dependencies([large_enough]):
            return tf.identity(position)

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
    told = time.monotonic()
    for batch in good.batch(_CHUNK).prefetch(2).as_numpy_iterator():
        for position in batch.tolist():
            missing.extend(range(expected, position))
            expected = position + 1
        if missing and first_only:
            break
        if time.monotonic() - told > _PROGRESS_SECONDS:
            told = time.monotonic()
            _log.info("decoded %d of %d images to find corrupt ones: %d so far", expected, count, len(missing))
    else:
        missing.extend(range(expected, count))
    return _explain(stream, count, missing[:1] if first_only else missing, least_side)


def count_kinds(examples: Iterable[CorruptExample]) -> dict[str, int]:
    """How many there are of each kind of fault, the kinds in alphabetical order."""
    return dict(sorted(collections.Counter(example.reason for example in examples).items()))


def why_corrupt(image_bytes: bytes, least_side: int = 1) -> str | None:
    """The kind of fault that keeps an encoded image from being used, or None when it can be."""
    if not image_bytes:
        return EMPTY
    try:
        side = int(_shorter_side(tf.constant(image_bytes)))
    except tf.errors.OpError as error:
        if "Unknown image file format" in error.message:
            return NOT_AN_IMAGE
        return CUT_SHORT if _lacks_its_end(image_bytes) else DAMAGED
    return None if side >= least_side else TOO_SMALL


def _shorter_side(image_bytes: tf.Tensor) -> tf.Tensor:
    """The shorter side in pixels, once the whole image has been decoded."""

    def of_jpeg() -> tf.Tensor:
        pixels = tf.io.decode_jpeg(image_bytes, channels=3, ratio=_JPEG_SCALE)
        # The side must be computed from the pixels, or the decoding is pruned away.
        nothing = tf.cast(tf.size(pixels) == 0, tf.int32)
        return tf.reduce_min(tf.image.extract_jpeg_shape(image_bytes)[:2]) + nothing

    return tf.cond(tf.io.is_jpeg(image_bytes), of_jpeg, lambda: tf.reduce_min(tf.shape(images.decode(image_bytes))[:2]))


def _lacks_its_end(image_bytes: bytes) -> bool:
    for start, end, within in _ENDINGS:
        if image_bytes.startswith(start):
            return end not in image_bytes[-within:]
    return False


def _explain(stream: Stream, count: int, positions: list[int], least_side: int) -> list[CorruptExample]:
    if not positions:
        return []
    wanted = np.zeros(count, bool)
    wanted[positions] = True
    is_wanted = tf.constant(wanted)
    chosen = stream.elements.enumerate().filter(lambda number, *_: is_wanted[number])
    found = []
    for number, element in chosen.take(len(positions)):
        element = element if isinstance(element, tuple) else (element,)
        name = stream.name(*element).numpy().decode("utf-8", "replace")
        try:
            _, example = stream.load(*element)
        except tf.errors.InvalidArgumentError:
            raise
        except tf.errors.OpError:
            found.append(CorruptExample(int(number), name, UNREADABLE))
            continue
        why = why_corrupt(example["image"].numpy(), least_side) or UNREADABLE
        found.append(CorruptExample(int(number), name, why))
    return found
