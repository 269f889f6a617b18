"""Rounds: each process reads its own, every epoch whole, and a resumed sequence goes on; the tf.data service."""

import collections
import itertools
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from dataset_cases import numbered
from hypothesis import given, settings
from hypothesis import strategies as st

from autonl_tf.data import own_files
from autonl_tf.data.example_order import IndexedSplit, RecordFile, RecordSplit
from autonl_tf.data.tfrecord import count_records

SEED = 3


def indexed(size):
    return IndexedSplit(size, lambda index: {"image": tf.strings.as_string(index), "label": tf.cast(index, tf.int32)})


def records(folder, sizes, bad=(), known=True):
    """A split of files that hold the numbers 0, 1, 2, ... in order."""
    paths, number = [], itertools.count()
    for index, size in enumerate(sizes):
        paths.append(str(folder / f"part-{index}"))
        with tf.io.TFRecordWriter(paths[-1]) as writer:
            for _ in range(size):
                writer.write(str(next(number)))
    counted = count_records(tuple(paths))
    assert counted == list(sizes)
    files = tuple(RecordFile(path, 0, size if known else -1) for path, size in zip(paths, counted, strict=True))

    return RecordSplit(files, numbered, sum(sizes), tuple(f"{paths[file]}#{record}" for file, record in bad), window=5)


def labels(split, count, start_block=0, block=4, shard=0, num_shards=1):
    """(positions, labels) of the first `count` elements."""
    stream = own_files.endless(split, SEED, start_block, block, shard, num_shards)
    pairs = list(stream.elements.map(stream.load).take(count).as_numpy_iterator())
    return [int(position) for position, _ in pairs], [int(example["label"]) for _, example in pairs]


@settings(max_examples=6)
@given(st.integers(1, 40), st.integers(1, 8), st.integers(1, 3))
def test_shards_of_an_indexed_split_share_out_every_epoch(size, block, num_shards):
    length = block * (1024 // block) * num_shards
    found = [labels(indexed(size), length // num_shards, 0, block, s, num_shards) for s in range(num_shards)]
    pairs = sorted(pair for shard in found for pair in zip(*shard, strict=True))
    assert [position for position, _ in pairs] == list(range(length))
    whole = length // size * size
    epochs = np.array([label for _, label in pairs[:whole]]).reshape(-1, size)
    assert (np.sort(epochs, axis=1) == np.arange(size)).all()


@pytest.mark.parametrize("num_shards", [1, 2, 3, 8])
@pytest.mark.parametrize("known", [True, False])
def test_shards_of_record_files_share_out_every_epoch(tmp_path, num_shards, known):
    sizes, epochs = (7, 3, 5, 4, 6, 5), 4
    split = records(tmp_path, sizes, known=known)
    assert own_files.has_own_files(split, num_shards) == (known and num_shards <= 6)
    seen = collections.Counter()
    positions = set()
    for shard in range(num_shards):
        # Rounds that lie wholly within the first epochs, of this shard.
        per_round = max(1, min(16, len(sizes) // num_shards))
        rounds = tf.data.Dataset.range(epochs * len(sizes) // (per_round * num_shards))
        dataset = rounds.flat_map(partial(own_files._files, split, SEED, per_round, shard, num_shards))
        for position, _, record in dataset.as_numpy_iterator():
            assert position not in positions
            positions.add(position)
            seen[int(record)] += 1
    assert set(seen.values()) == {epochs} and len(seen) == sum(sizes)


@pytest.mark.parametrize("kind", ["indexed", "records", "records with bad ones"])
@pytest.mark.parametrize("num_shards", [1, 2])
def test_a_later_start_goes_on_as_the_uninterrupted_sequence(tmp_path, kind, num_shards):
    bad = ((0, 1), (2, 0), (2, 4)) if kind == "records with bad ones" else ()
    split = indexed(300) if kind == "indexed" else records(tmp_path, (7, 3, 5, 4, 6, 5), bad)
    for shard in range(num_shards):
        whole = labels(split, 1400 if kind == "indexed" else 120, 0, 4, shard, num_shards)
        for block in (5, 17) if kind != "indexed" else (255, 256):
            later = labels(split, 8, block, 4, shard, num_shards)
            assert later == tuple(part[4 * block : 4 * block + 8] for part in whole)


def test_the_order_follows_from_the_seed_and_differs_by_epoch(tmp_path):
    split = records(tmp_path, (7, 3, 5, 4, 6, 5))
    first, again = labels(split, 60), labels(split, 60)
    assert first == again
    assert first[1][:30] != first[1][30:]


def test_the_workers_of_a_service_make_every_batch_once():
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
    address = dispatcher.target.split("://")[1]
    workers = [service.WorkerServer(service.WorkerConfig(dispatcher_address=address)) for _ in range(2)]
    split = indexed(2048)
    stream = own_files.endless(split, SEED, 0, 256, 0, 1)
    batches = stream.elements.map(lambda *element: stream.load(*element)[1]["label"]).batch(256, drop_remainder=True)
    served = batches.apply(service.distribute(service.ShardingPolicy.DYNAMIC, dispatcher.target))
    # 16 batches of 4 rounds: two workers are never far apart, and an epoch has 8 batches.
    found = [tuple(batch) for batch in served.take(16).as_numpy_iterator()]
    made = [tuple(batch) for batch in batches.take(32).as_numpy_iterator()]
    assert len(set(found)) == 16 and set(found) <= set(made)
    del served, workers
