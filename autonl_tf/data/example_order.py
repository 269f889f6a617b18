"""A split of a data set: its encoded examples, and the order in which all processes together read them.

An *example* is a dict `{image: string scalar (encoded), label: int32 scalar, name: string scalar}`. A
training run sees one endless sequence of positions g = 0, 1, 2, ...; g belongs to epoch `g // size`, and the
order within an epoch is a permutation given by (seed, epoch) alone. Shard s takes the s-th `block` of
every `num_shards * block` positions in a row: the shards together always see the same images, however many there
are.

`IndexedSplit` (files, or records in memory) permutes all examples and goes to any position at once.
`RecordSplit` streams record files: it permutes the files, reads 16 of them in turn and permutes windows of
4096 records; going to a position reads past the encoded records before it in that epoch. `own_files` has the order in
which each process reads files of its own instead.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

Example = dict[str, tf.Tensor]

FILES_AT_ONCE = 16
_RECORDS_IN_A_ROW = 16
_WINDOW = 4096  # records; ImageNet's are about 110 KB each
KEYS_PER_FILE = 1 << 32  # a record's key: file number * this + record number
_EPOCH_STRIDE = 1 << 32  # keeps the seeds of the windows of different epochs apart
ENDLESS = np.iinfo(np.int64).max
PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Stream(NamedTuple):
    """Elements that are cheap to make, and the costly graph function that turns one into an example."""

    elements: tf.data.Dataset
    load: Callable[..., tuple[tf.Tensor, Example]]  # (*element) -> (position int64, example)
    name: Callable[..., tf.Tensor]  # (*element) -> the example's name, also where it cannot be loaded


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset without autotuning, in it and in whatever is built on it, so that its iterators end at once.

    Autotuning has a thread that looks at the pipeline ever more rarely, at last once a minute. With TensorFlow 2.21 it
    may sleep on when it is told to end, and whoever lets go of the iterator waits: searches of 100, 300 and 1,875 steps
    stood still for 20, 51 and 88 s after their last checkpoint, and do not without it. Parallel calls and buffers are
    given instead.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def shard_count(size: int, block: int, shard: int, num_shards: int) -> int:
    """How many of the positions 0 .. size-1 fall to one shard."""
    full_rounds, rest = divmod(size, block * num_shards)
    return full_rounds * block + min(max(rest - shard * block, 0), block)


@dataclass(frozen=True)
class IndexedSplit:
    """Examples 0 .. size-1, by index: `fetch` and `name_of` are graph functions of an int64 scalar."""

    size: int
    fetch: Callable[[tf.Tensor], Example]
    name_of: Callable[[tf.Tensor], tf.Tensor] = tf.strings.as_string

    def once(self, seed: int | None = None, epoch: int = 0, block=1, shard=0, num_shards=1) -> Stream:
        """One epoch of this shard: in natural order, or in the order of (seed, epoch)."""
        positions = _own(tf.range(self.size, dtype=tf.int64), block, shard, num_shards)
        indices = positions if seed is None else tf.gather(permutation(self.size, seed, epoch), positions)
        return Stream(untuned(tf.data.Dataset.from_tensor_slices((positions, indices))), self.load, self.name)

    def endless(self, seed: int, start_block=0, block=1, shard=0, num_shards=1) -> Stream:
        """This shard of the endless training sequence, from its `start_block`-th block on."""
        start = start_block * block * num_shards

        def read_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            first = epoch * self.size
            left = tf.range(tf.maximum(first, start), first + self.size)
            positions = _own(left, block, shard, num_shards)
            indices = tf.gather(permutation(self.size, seed, epoch), positions - first)
            return tf.data.Dataset.from_tensor_slices((positions, indices))

        epochs = tf.data.Dataset.range(start // self.size, ENDLESS)
        return Stream(untuned(epochs.flat_map(read_epoch)), self.load, self.name)

    def taking(self, indices: Sequence[int]) -> IndexedSplit:
        """These of the examples alone."""
        taken = tf.constant(indices, tf.int64)
        return IndexedSplit(
            len(indices),
            lambda index: self.fetch(tf.gather(taken, index)),
            lambda index: self.name_of(tf.gather(taken, index)),
        )

    def load(self, position: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, Example]:
        return position, self.fetch(index)

    def name(self, position: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        return self.name_of(index)


def divided(split: IndexedSplit, share: float, seed: int) -> tuple[IndexedSplit, IndexedSplit]:
    """Two splits that share no example: one without, and one with, a random `share` of the examples."""
    order = np.random.default_rng(seed).permutation(split.size)
    held = round(share * split.size)
    return split.taking(np.sort(order[held:])), split.taking(np.sort(order[:held]))


@dataclass(frozen=True)
class RecordFile:
    """The records `skip` .. `skip + take - 1` of one TFRecord file; `take` -1: all that follow."""

    path: str
    skip: int = 0
    take: int = -1


@dataclass(frozen=True)
class RecordSplit:
    """Records streamed from TFRecord files.

    `parse` (graph function): (serialized string scalar, name string scalar) -> example; a name is
    `file#record`, the record counted from 0. `total` is the number of records in the files, checked while
    reading. `bad` are the names of records left out.
    """

    files: tuple[RecordFile, ...]
    parse: Callable[[tf.Tensor, tf.Tensor], Example]
    total: int
    bad: tuple[str, ...] = ()
    window: int = _WINDOW

    @property
    def size(self) -> int:
        return self.total - len(self.bad)

    def once(self, seed: int | None = None, epoch: int = 0, block=1, shard=0, num_shards=1) -> Stream:
        """One epoch of this shard: in natural order, or in the order of (seed, epoch)."""
        records = self._natural() if seed is None else self._epoch(seed, epoch)
        return Stream(_numbered(records, 0, block, shard, num_shards), self.load, self.name)

    def endless(self, seed: int, start_block=0, block=1, shard=0, num_shards=1) -> Stream:
        """This shard of the endless training sequence, from its `start_block`-th block on."""
        start = start_block * block * num_shards
        first_epoch, done = divmod(start, self.size)
        later = tf.data.Dataset.range(first_epoch + 1, ENDLESS).flat_map(lambda e: self._epoch(seed, e))
        records = self._epoch(seed, first_epoch, done).concatenate(later)
        return Stream(_numbered(records, start, block, shard, num_shards), self.load, self.name)

    def in_memory(self) -> IndexedSplit:
        """Reads all records (which must fit in memory) and gives access by index."""

        def parse(key: tf.Tensor, record: tf.Tensor) -> Example:
            return self.parse(record, self._key_name(key))

        parsed = untuned(self._natural()).map(parse, PROCESSORS, deterministic=True)
        columns = parsed.batch(self.size).get_single_element()

        def fetch(index: tf.Tensor) -> Example:
            return {key: tf.gather(column, index) for key, column in columns.items()}

        return IndexedSplit(self.size, fetch, lambda index: tf.gather(columns["name"], index))

    def load(self, position: tf.Tensor, key: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, Example]:
        return position, self.parse(record, self._key_name(key))

    def name(self, position: tf.Tensor, key: tf.Tensor, record: tf.Tensor) -> tf.Tensor:
        return self._key_name(key)

    def _key_name(self, key: tf.Tensor) -> tf.Tensor:
        path = tf.gather(tf.constant([file.path for file in self.files]), key // KEYS_PER_FILE)
        return tf.strings.join([path, tf.strings.as_string(key % KEYS_PER_FILE)], separator="#")

    def _natural(self) -> tf.data.Dataset:
        return self._read(tf.range(len(self.files), dtype=tf.int64))

    def _read(self, file_order: tf.Tensor) -> tf.data.Dataset:
        """(key int64, serialized string) of all good records, the files taken in the order given."""
        files = tf.data.Dataset.from_tensor_slices(file_order)
        records = in_turn(files, self.read_file, min(FILES_AT_ONCE, len(self.files)))
        # Fails, instead of going on with a shifted sequence, when the files do not hold what was counted.
        records = records.apply(tf.data.experimental.assert_cardinality(self.total))
        return self.without_bad(records)

    def read_file(self, number: tf.Tensor) -> tf.data.Dataset:
        """(key int64, serialized string) of one file's records, by its number; those left out are among them."""
        path = tf.constant([file.path for file in self.files])[number]
        skip = tf.constant([file.skip for file in self.files], tf.int64)[number]
        take = tf.constant([file.take for file in self.files], tf.int64)[number]
        records = tf.data.TFRecordDataset(path, buffer_size=1 << 20).skip(skip).take(take)
        return records.enumerate(number * KEYS_PER_FILE + skip)

    def without_bad(self, records: tf.data.Dataset) -> tf.data.Dataset:
        """(..., key, serialized) without the records that are left out."""
        if not self.bad:
            return records
        number_of = {file.path: i for i, file in enumerate(self.files)}
        parts = [name.rpartition("#") for name in self.bad]
        bad = tf.constant([number_of[path] * KEYS_PER_FILE + int(record) for path, _, record in parts], tf.int64)
        return records.filter(lambda *element: tf.reduce_all(element[-2] != bad))

    def file_sizes(self) -> list[int]:
        """How many records of each file are used; the mean where that is not known."""
        left_out = collections.Counter(name.rpartition("#")[0] for name in self.bad)
        mean = self.total // len(self.files)
        return [(file.take if file.take >= 0 else mean) - left_out[file.path] for file in self.files]

    def _epoch(self, seed: int, epoch: tf.Tensor | int, done: int = 0) -> tf.data.Dataset:
        """One epoch's records in the order of (seed, epoch), without its first `done`."""
        epoch = tf.cast(epoch, tf.int64)
        files = permutation(len(self.files), seed, -1 - epoch)
        skipped_windows, rest = divmod(done, self.window)
        windows = self._read(files).skip(skipped_windows * self.window).batch(self.window).prefetch(1)

        def of_window(number: tf.Tensor, window: tuple[tf.Tensor, ...]) -> tf.data.Dataset:
            return shuffled(window, seed, epoch * _EPOCH_STRIDE + number)

        return windows.enumerate(skipped_windows).flat_map(of_window).skip(rest)


def _own(positions: tf.Tensor, block: int, shard: int, num_shards: int) -> tf.Tensor:
    """Those of some positions (int64 vector) that fall to one shard."""
    return tf.boolean_mask(positions, positions // block % num_shards == shard)


def permutation(size: tf.Tensor | int, seed: int, stream: tf.Tensor | int) -> tf.Tensor:
    """The permutation of 0 .. size-1 that belongs to (seed, stream), int64 [size].

    `tf.random.experimental.index_shuffle` would need no memory, but for fewer than 65,536 elements it looks
    at eight bits of each number of its seed: after 256 epochs it repeats itself.
    """
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(stream, tf.int64)])
    draws = tf.random.stateless_uniform([size], key, None, None, tf.int64, alg="philox")
    return tf.cast(tf.argsort(draws, stable=True), tf.int64)


def in_turn(files: tf.data.Dataset, read: Callable[..., tf.data.Dataset], at_once: int) -> tf.data.Dataset:
    """The records of files, of which `at_once` are read in turn, some records of each in a row."""
    return files.interleave(
        read,
        cycle_length=at_once,
        block_length=_RECORDS_IN_A_ROW,
        num_parallel_calls=min(PROCESSORS, at_once),
        deterministic=True,
    )


def shuffled(columns: tuple[tf.Tensor, ...], seed: int, stream: tf.Tensor) -> tf.data.Dataset:
    """The rows of columns of one length in the order of `permutation`."""
    order = permutation(tf.size(columns[0], out_type=tf.int64), seed, stream)
    return tf.data.Dataset.from_tensor_slices(tuple(tf.gather(column, order) for column in columns))


def _numbered(records: tf.data.Dataset, start: int, block, shard, num_shards) -> tf.data.Dataset:
    """(position, key, serialized) of one shard's records."""
    numbered = untuned(records.enumerate(start).map(lambda position, record: (position, *record)))
    if num_shards == 1:
        return numbered
    return numbered.filter(lambda position, key, record: position // block % num_shards == shard)


def of_files(paths: Sequence[str], labels: Sequence[int] | None = None) -> IndexedSplit:
    """Random access to encoded files; without `labels` all are 0."""
    names = tf.constant([os.fsencode(path) for path in paths], tf.string)
    numbers = tf.constant(np.zeros(len(paths)) if labels is None else labels, tf.int32)

    def fetch(index: tf.Tensor) -> Example:
        path = tf.gather(names, index)
        return {"image": tf.io.read_file(path), "label": tf.gather(numbers, index), "name": path}

    return IndexedSplit(len(paths), fetch, lambda index: tf.gather(names, index))
