"""The order in which each process reads record files of its own: `--shard_by_file`, and a tf.data service.

The endless training sequence is cut into rounds, which need nothing of each other. A round is a few record files, or a
stretch of positions; shard s of S takes every S-th. So a process reads its own files alone, and the workers of a
tf.data service can each make whole rounds. Within each epoch every file, or example, falls to exactly one round; the
order follows from (seed, epoch). Which images make up a step depends on S, unlike in `example_order`.
"""

from __future__ import annotations

import functools
import itertools

import tensorflow as tf

from autonl_tf.data.example_order import (
    ENDLESS,
    FILES_AT_ONCE,
    KEYS_PER_FILE,
    IndexedSplit,
    RecordSplit,
    Stream,
    in_turn,
    permutation,
    shuffled,
    untuned,
)

_POSITIONS = 1024  # of a round of an indexed split, about


def has_own_files(split: IndexedSplit | RecordSplit, num_shards: int) -> bool:
    """Whether each of `num_shards` processes can read files of its own: enough of them, each with a known size."""
    return (
        isinstance(split, RecordSplit)
        and len(split.files) >= num_shards
        and all(file.take >= 0 for file in split.files)
    )


def endless(
    split: IndexedSplit | RecordSplit, seed: int, start_block: int, block: int, shard: int, num_shards: int
) -> Stream:
    """This shard of the endless sequence, from its `start_block`-th block on.

    Its elements come from a range of round numbers, which is what a tf.data service hands out. Where the sizes of
    record files are not known, the position to start at is reckoned with their mean.
    """
    done = start_block * block
    if isinstance(split, IndexedSplit):
        length = block * max(1, _POSITIONS // block)
        first, rest = divmod(done, length)
        read = functools.partial(_stretch, split, seed, length, shard, num_shards)
    else:
        per_round = max(1, min(FILES_AT_ONCE, len(split.files) // num_shards))
        first, rest = _first_round(split, seed, done, per_round, shard, num_shards)
        read = functools.partial(_files, split, seed, per_round, shard, num_shards)

    def of_round(number: tf.Tensor) -> tf.data.Dataset:
        return read(number).skip(tf.where(number == first, tf.constant(rest, tf.int64), 0))

    return Stream(untuned(tf.data.Dataset.range(first, ENDLESS).flat_map(of_round)), split.load, split.name)


def _stretch(split: IndexedSplit, seed, length, shard, num_shards, number) -> tf.data.Dataset:
    """`length` positions in a row."""
    begin = (number * num_shards + shard) * length
    positions = tf.range(begin, begin + length)
    indices, _ = _in_epoch_order(positions, split.size, seed, lambda epoch: epoch)
    return tf.data.Dataset.from_tensor_slices((positions, indices))


def _items(number, per_round, shard, num_shards):
    """The numbers, in the endless sequence of files, of a round's files."""
    return (number * per_round + tf.range(per_round, dtype=tf.int64)) * num_shards + shard


def _files(split: RecordSplit, seed, per_round, shard, num_shards, number) -> tf.data.Dataset:
    """The records of a round's files, read in turn and shuffled in windows."""
    items = _items(number, per_round, shard, num_shards)
    files, epochs = _in_epoch_order(items, len(split.files), seed, lambda epoch: -1 - epoch)
    takes = tf.constant([file.take for file in split.files], tf.int64)
    known = all(file.take >= 0 for file in split.files)

    def read_file(file: tf.Tensor, epoch: tf.Tensor) -> tf.data.Dataset:
        records = split.read_file(file)
        if known:
            records = records.apply(tf.data.experimental.assert_cardinality(takes[file]))
        # A position of its own for every example of every epoch.
        base = epoch * (len(split.files) * KEYS_PER_FILE)
        return records.map(lambda key, record: (base + key, key, record))

    records = split.without_bad(in_turn(tf.data.Dataset.from_tensor_slices((files, epochs)), read_file, per_round))

    def of_window(window: tf.Tensor, columns: tuple[tf.Tensor, ...]) -> tf.data.Dataset:
        return shuffled(columns, seed, (number * num_shards + shard) * (1 << 20) + window)

    return records.batch(split.window).enumerate().flat_map(of_window)


def _first_round(split: RecordSplit, seed, done, per_round, shard, num_shards) -> tuple[int, int]:
    """The round in which this shard's `done`-th record is, and how many of its records come before."""
    sizes = split.file_sizes()

    @functools.lru_cache(maxsize=2)
    def order(epoch: int):
        return permutation(len(sizes), seed, -1 - epoch).numpy()

    for number in itertools.count():
        items = _items(number, per_round, shard, num_shards).numpy()
        size = sum(sizes[order(int(item) // len(sizes))[int(item) % len(sizes)]] for item in items)
        if done < size:
            return number, done
        done -= size
    raise AssertionError  # itertools.count has no end


def _in_epoch_order(positions, size: int, seed, stream_of) -> tuple[tf.Tensor, tf.Tensor]:
    """What stands at ascending positions of an endless row of permutations of 0 .. size-1, and their epochs."""
    epochs = positions // size
    orders = tf.map_fn(
        lambda epoch: permutation(size, seed, stream_of(epoch)),
        tf.range(epochs[0], epochs[-1] + 1),
        fn_output_signature=tf.TensorSpec([size], tf.int64),
    )
    return tf.gather_nd(orders, tf.stack([epochs - epochs[0], positions % size], axis=1)), epochs
