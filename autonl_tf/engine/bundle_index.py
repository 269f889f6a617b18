"""The index of a TensorFlow checkpoint, read before TensorFlow reads it: what it claims must lie in the data files.

TensorFlow takes the memory for a tensor by the shape in the index, and ends the process at one that is no shape. The
index is a sorted table of LevelDB's form: blocks of entries, each a key (less what it shares with the one before) and a
value, here a `BundleEntryProto`; a block that says where those are; a footer that says where that is. Source:
TensorFlow's `tensor_bundle.h` and `lib/io/table_format.txt`.
"""

from __future__ import annotations

import glob
import math
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto

_MOST = 1 << 24  # bytes of an index: 100,000 tensors and more
_MOST_TIMES = 50  # bytes of keys for each of the index
_FOOTER, _MAGIC = 48, bytes.fromhex("57fb808b247547db")
_TRAILER = 5  # of a block: a byte that says how it is compressed, and a checksum


def fault_of_index(prefix: str | Path) -> str | None:
    """What is wrong with what the index of the checkpoint at `prefix` claims, or None.

    Raises:
      OSError: a file cannot be looked at.
    """
    index = Path(f"{prefix}.index")
    size = index.stat().st_size
    if size > _MOST:
        return f"its index has {size} bytes; accepted: at most {_MOST}"
    data = list(index.parent.glob(f"{glob.escape(index.stem)}.data-*"))
    if not data:
        return f"its data, {index.stem}.data-*, is missing"
    held = sum(path.stat().st_size for path in data)
    try:
        for key, value in _entries(index.read_bytes()):
            if key and not _fits(BundleEntryProto.FromString(value), held):
                name = key[:100].decode(errors="replace")
                return f"its index says of {name} what its data files do not hold"
    except (DecodeError, IndexError, TypeError, ValueError) as error:
        return f"its index is not an sstable of tensors: {error}"
    return None


def _fits(entry: BundleEntryProto, held: int) -> bool:
    """Whether a tensor has a shape, and no more bytes than the data files have."""
    sides = [dim.size for dim in entry.shape.dim]
    if entry.shape.unknown_rank or min(sides, default=0) < 0 or not 0 <= entry.size <= held:
        return False
    dtype = tf.as_dtype(entry.dtype)  # raises a TypeError
    if dtype in (tf.string, tf.variant, tf.resource):
        return math.prod(sides) <= held
    size = math.prod(sides) * dtype.size
    return size <= held if entry.slices else size == entry.size


def _entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of every entry of a table. Raises IndexError or ValueError for anything else."""
    footer = table[-_FOOTER:]
    if len(footer) < _FOOTER or footer[-len(_MAGIC) :] != _MAGIC:
        raise ValueError("it has no footer")
    offset = 0
    for _ in range(2):  # where a block of notes is, which TensorFlow leaves empty
        _, offset = _varint(footer, offset)
    behind, most = 0, _MOST_TIMES * len(table)
    for _, handle in _of_block(table, *_block(table, footer, offset)):
        start, end = _block(table, handle, 0)
        if start < behind:
            raise ValueError("its blocks overlap")
        behind = end
        for key, value in _of_block(table, start, end):
            most -= len(key)
            if most < 0:
                raise ValueError("its keys are too long")
            yield key, value


def _block(table: bytes, handle: bytes, offset: int) -> tuple[int, int]:
    """Start and end of the block that the handle at `offset` points to."""
    start, offset = _varint(handle, offset)
    size, _ = _varint(handle, offset)
    end = start + size
    if size < 4 or end + _TRAILER > len(table) or table[end] != 0:
        raise ValueError("a block is compressed or not in it")
    return start, end


def _of_block(table: bytes, offset: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of every entry of a block."""
    end -= 4 * (1 + int.from_bytes(table[end - 4 : end], "little"))  # behind them: which keys are whole
    key = b""
    while offset < end:
        shared, offset = _varint(table, offset)
        own, offset = _varint(table, offset)
        length, offset = _varint(table, offset)
        if shared > len(key) or offset + own + length > end:
            raise ValueError("an entry is longer than its block")
        key = key[:shared] + table[offset : offset + own]
        yield key, table[offset + own : offset + own + length]
        offset += own + length


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    """The number at `offset`, seven bits a byte, and the offset behind it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = data[offset]
        number |= (byte & 127) << shift
        offset += 1
        if byte < 128:
            return number, offset
    raise ValueError("a number has too many bytes")
