"""Finding the examples whose image cannot be used, before training meets them.

Some are corrupt; others are sound, but of a kind or form that is not read, too large or too small. The two are told and
counted apart.
"""

from __future__ import annotations

import collections
import logging
import os
import time
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from autonl_tf.data import headers, images, other_kinds, signatures
from autonl_tf.data.example_order import Stream
from autonl_tf.data.reading import (
    AS_SHOWN,
    CUT_SHORT,
    DAMAGED,
    IS_NOT_READ,
    MISSING,
    TOO_SMALL,
    UNREADABLE,
    BadExample,
    Reading,
)
from autonl_tf.errors import UserError, first_line
from autonl_tf.plain_text import shown

_CHUNK = 64  # examples one thread checks in a row
# Eighth-scale decoding reads all of the compressed data but leaves out most of the arithmetic.
_JPEG_SCALE = 8
_FIRST_WORD_SECONDS, _PROGRESS_SECONDS = 2.0, 15.0
_NAMED = 20  # at most so many of the images left out are listed
# First bytes of a kind, what stands behind all else when the file is whole, and what that follows.
_ENDINGS = ((b"\xff\xd8\xff", b"\xff\xd9", b"\xff\xda"), (b"\x89PNG", b"IEND", b"IDAT"))

_log = logging.getLogger(__name__)


def find_bad(
    stream: Stream, count: int, first_only: bool, least_side: int = 1, reading: Reading = AS_SHOWN
) -> list[BadExample]:
    """Decodes the `count` examples of a stream in parallel and returns those that cannot be used, in order.

    An image with a side below `least_side` pixels cannot be used either. The stream's positions must be 0 .. count-1 in
    order. With `first_only` it stops at the first. Errors of the stream itself (a record file that cannot be
    read) are raised, not reported, and so is a record that is no example (`UserError`), or has a label out of range
    (`tf.errors.InvalidArgumentError`).
    """

    def check(*element: tf.Tensor) -> tf.Tensor:
        position, example = stream.load(*element)
        return images.checked(position, _shorter_side(example["image"], reading) >= least_side, TOO_SMALL)

    def check_chunk(*elements: tf.Tensor) -> tf.data.Dataset:
        # Errors are swallowed here, inside a chunk, which ends whatever happens; at the end of the whole
        # stream an error that comes again at every call would be swallowed for ever.
        return tf.data.Dataset.from_tensor_slices(elements).map(check).ignore_errors()

    threads = 2 * (os.cpu_count() or 1)
    good = stream.elements.batch(_CHUNK).interleave(
        check_chunk, cycle_length=threads, block_length=_CHUNK, num_parallel_calls=threads, deterministic=True
    )
    missing: list[int] = []
    expected = 0
    told = time.monotonic() - _PROGRESS_SECONDS + _FIRST_WORD_SECONDS
    for batch in good.batch(_CHUNK).prefetch(2).as_numpy_iterator():
        for position in batch.tolist():
            missing.extend(range(expected, position))
            expected = position + 1
        if missing and first_only:
            break
        if time.monotonic() - told > _PROGRESS_SECONDS:
            told = time.monotonic()
            _log.info("checking images: decoded %d of %d, %d bad so far", expected, count, len(missing))
    else:
        missing.extend(range(expected, count))
    return _explain(stream, count, missing[:1] if first_only else missing, least_side, reading)


def count_faults(examples: Iterable[BadExample]) -> dict[str, dict[str, int]]:
    """How many there are of each fault, `corrupt` and `not_read` apart, the faults in alphabetical order."""
    counts = {"corrupt": collections.Counter(), "not_read": collections.Counter()}
    for example in examples:
        group = counts["corrupt" if example.is_corrupt else "not_read"]
        group[example.reason.removesuffix(IS_NOT_READ)] += 1
    return {group: dict(sorted(found.items())) for group, found in counts.items()}


def tell(left_out: Sequence[BadExample], reading: Reading) -> None:
    """Notes images that have been left out, the first of them one by one."""
    for example in left_out[:_NAMED]:
        _log.warning("left out %s", shown(example.told(reading)))
    if len(left_out) > _NAMED:
        _log.warning("left out %d more", len(left_out) - _NAMED)


def why_bad(image_bytes: bytes, least_side: int = 1, reading: Reading = AS_SHOWN) -> str | None:
    """Why an encoded image cannot be used, or None when it can be."""
    try:
        side = int(_shorter_side(tf.constant(image_bytes), reading))
    except tf.errors.OpError as error:
        return reading.too_large if reading.too_large in error.message else _why_undecodable(image_bytes, reading)
    return None if side >= least_side else TOO_SMALL


def _why_undecodable(image_bytes: bytes, reading: Reading) -> str:
    try:
        refusal = headers.header(tf.constant(image_bytes)).refusal.numpy().decode()
    except tf.errors.OpError:
        refusal = ""
    if not (reading.with_pillow and signatures.kind_of(image_bytes) in other_kinds.KINDS):
        return refusal or (CUT_SHORT if _lacks_its_end(image_bytes) else DAMAGED)
    try:
        other_kinds.bmp_of(image_bytes, reading)
    except other_kinds.UnusableImageError as error:
        if str(error) != DAMAGED:
            return str(error)
    return CUT_SHORT if refusal == CUT_SHORT else DAMAGED


def _shorter_side(image_bytes: tf.Tensor, reading: Reading) -> tf.Tensor:
    """The shorter side in pixels, once the whole image has been decoded."""

    def of_jpeg() -> tf.Tensor:
        data, height, width = images.jpeg(image_bytes, reading)
        pixels = tf.io.decode_jpeg(data, channels=3, ratio=_JPEG_SCALE)
        # The side must be computed from the pixels, or the decoding is pruned away.
        return tf.minimum(height, width) + tf.cast(tf.size(pixels) == 0, tf.int32)

    def of_other() -> tf.Tensor:
        return tf.reduce_min(tf.shape(images.decode(image_bytes, reading))[:2])

    return tf.cond(headers.is_jpeg(image_bytes), of_jpeg, of_other)


def _lacks_its_end(image_bytes: bytes) -> bool:
    for start, end, before in _ENDINGS:
        if image_bytes.startswith(start):
            return image_bytes.rfind(end) <= image_bytes.rfind(before)
    return False


def _explain(stream: Stream, count: int, positions: list[int], least_side: int, reading: Reading) -> list[BadExample]:
    if not positions:
        return []
    wanted = np.zeros(count, bool)
    wanted[positions] = True
    is_wanted = tf.constant(wanted)
    chosen = stream.elements.enumerate().filter(lambda number, *_: is_wanted[number])
    found = []
    for number, element in chosen.take(len(positions)):
        name = os.fsdecode(stream.name(*element).numpy())
        try:
            _, example = stream.load(*element)
        except tf.errors.InvalidArgumentError as error:
            if "assertion failed" in error.message:  # which names the record
                raise
            raise UserError(f"bad record: {name}: {first_line(error)}") from error
        except tf.errors.OpError as error:
            gone = isinstance(error, tf.errors.NotFoundError)
            found.append(BadExample(int(number), name, MISSING if gone else UNREADABLE))
            continue
        why = why_bad(example["image"].numpy(), least_side, reading) or UNREADABLE
        found.append(BadExample(int(number), name, why))
    return found
