from __future__ import annotations

import collections

import numpy as np
import pytest
import tensorflow as tf
from dataset_cases import numbered
from hypothesis import given, settings
from hypothesis import strategies as st

from autonl_tf.arch.spec import Normalization
from autonl_tf.data import datasets, example_order, images, own_files
from autonl_tf.data.augment import policies
from autonl_tf.data.batches import eval_batches, predict_batches, train_batches, usable_files
from autonl_tf.data.datasets import ImageDataset, open_dataset
from autonl_tf.data.example_order import IndexedSplit, RecordFile, RecordSplit, shard_count
from autonl_tf.errors import UserError

SIZE = 8
AUTONL = Normalization()


def numbered_dataset(size: int, split: str = "train") -> ImageDataset:
    """Images whose label is their number."""
    picture = tf.io.encode_png(np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3))

    def fetch(index):
        label = tf.cast(index, tf.int32)
        return {"image": picture, "label": label, "name": tf.strings.as_string(index)}

    return ImageDataset("numbers", [str(i) for i in range(size)], SIZE, {split: lambda: IndexedSplit(size, fetch)})


@pytest.fixture
def record_split(tmp_path):
    """record_split(records per file, window) -> RecordSplit whose labels count on over all files."""

    def make(counts, window=5, **options) -> RecordSplit:
        files, number = [], 0
        for i, count in enumerate(counts):
            path = str(tmp_path / f"{i}.tfrecord")
            with tf.io.TFRecordWriter(path) as writer:
                for _ in range(count):
                    writer.write(str(number).encode())
                    number += 1
            files.append(RecordFile(path))

        return RecordSplit(tuple(files), numbered, number, window=window, **options)

    return make


def labels_of(stream, count=None) -> list[int]:
    elements = stream.elements if count is None else stream.elements.take(count)
    loaded = elements.map(lambda *e: stream.load(*e)[1]["label"])
    return [int(label) for label in loaded]


def positions_of(stream, count) -> list[int]:
    return [int(p) for p in stream.elements.take(count).map(lambda *e: stream.load(*e)[0])]


def numbered_split(size):
    return IndexedSplit(size, lambda i: {"image": "", "label": tf.cast(i, tf.int32), "name": ""})


# --- orders, on both kinds of split


@settings(max_examples=8)
@given(st.integers(1, 40), st.integers(0, 2**40), st.integers(0, 1000))
def test_every_image_comes_once_an_epoch_in_memory(size, seed, epoch):
    order = labels_of(numbered_split(size).once(seed, epoch))
    assert sorted(order) == list(range(size))


def test_every_image_comes_once_an_epoch_from_records(record_split):
    split = record_split([7, 1, 12, 9], window=5)
    order = labels_of(split.endless(seed=3), 4 * 29)
    epochs = [order[i : i + 29] for i in range(0, len(order), 29)]
    assert all(sorted(epoch) == list(range(29)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert epochs == [labels_of(split.once(3, epoch)) for epoch in range(4)]
    assert order != labels_of(split.endless(seed=4), 4 * 29)


@pytest.mark.parametrize("kind", ["memory", "records"])
def test_the_order_does_not_depend_on_global_seeds(record_split, kind):
    split = record_split([9, 8]) if kind == "records" else numbered_split(17)
    first = labels_of(split.endless(seed=5), 40)
    tf.random.set_seed(1234)
    assert labels_of(split.endless(seed=5), 40) == first


@pytest.mark.parametrize("kind", ["memory", "records"])
@pytest.mark.parametrize("start", [5, 40])
def test_starting_at_a_block_continues_the_same_sequence(record_split, kind, start):
    split = record_split([9, 8, 6]) if kind == "records" else numbered_split(23)
    whole = labels_of(split.endless(seed=5, block=4), 50 * 4)
    rest = split.endless(seed=5, start_block=start, block=4)
    assert labels_of(rest, 9 * 4) == whole[start * 4 : start * 4 + 36]
    assert positions_of(rest, 5) == list(range(start * 4, start * 4 + 5))


@pytest.mark.parametrize("kind", ["memory", "records"])
@pytest.mark.parametrize("num_shards", [3])
def test_shards_divide_each_round_of_blocks(record_split, kind, num_shards):
    split = record_split([9, 8, 6]) if kind == "records" else numbered_split(23)
    block = 6 // num_shards
    whole = labels_of(split.endless(seed=5, block=6), 60)
    shards = [
        labels_of(split.endless(seed=5, start_block=2, block=block, shard=s, num_shards=num_shards), 8 * block)
        for s in range(num_shards)
    ]
    for step in range(8):
        together = [label for shard in shards for label in shard[step * block : (step + 1) * block]]
        assert together == whole[(step + 2) * 6 : (step + 3) * 6]


@pytest.mark.parametrize("kind", ["memory", "records"])
def test_one_epoch_is_divided_among_the_shards(record_split, kind):
    split = record_split([9, 8, 6]) if kind == "records" else numbered_split(23)
    parts = [labels_of(split.once(block=4, shard=s, num_shards=3)) for s in range(3)]
    assert sorted([label for part in parts for label in part]) == list(range(23))
    assert [len(part) for part in parts] == [shard_count(23, 4, s, 3) for s in range(3)] == [8, 8, 7]


@given(st.integers(0, 200), st.integers(1, 9), st.integers(1, 6))
def test_shard_counts_add_up(size, block, num_shards):
    taken = collections.Counter(position // block % num_shards for position in range(size))
    assert [shard_count(size, block, s, num_shards) for s in range(num_shards)] == [taken[s] for s in range(num_shards)]


def test_orders_differ_between_epochs_windows_and_seeds(record_split):
    split = record_split([40], window=20)
    windows = [
        tuple(split_label % 20 for split_label in labels_of(split.once(s, e))) for s in (1, 1 << 32) for e in (0, 1)
    ]
    assert len({half for order in windows for half in (order[:20], order[20:])}) == 8
    memory = numbered_split(40)
    assert len({tuple(labels_of(memory.once(s, e))) for s in (1, 1 << 32) for e in (0, 256)}) == 4


def test_records_in_memory_are_the_same_records(record_split):
    split = record_split([9, 8, 6])
    memory = split.in_memory()
    assert memory.size == split.size == 23
    assert labels_of(memory.once()) == labels_of(split.once())
    assert sorted(labels_of(memory.once(seed=1))) == list(range(23))


def test_records_left_out_by_name_do_not_come_again(record_split):
    split = record_split([5, 5])
    names = [e["name"].numpy().decode() for e in split.once().elements.map(lambda *x: split.once().load(*x)[1])]
    bad = (names[1], names[7])
    good = record_split([5, 5], bad=bad)
    assert good.size == 8
    assert sorted(labels_of(good.endless(seed=1), 8)) == sorted(labels_of(good.once()))
    assert len(labels_of(good.once())) == 8


def test_record_files_that_changed_size_stop_the_stream(record_split):
    split = record_split([5, 5])
    with tf.io.TFRecordWriter(split.files[1].path) as writer:
        writer.write(b"1")
    with pytest.raises(tf.errors.FailedPreconditionError):
        labels_of(split.endless(seed=1), 20)


# --- training batches


@pytest.fixture
def pictures(make_folder):
    files = {f"{c}/{i}.jpg": None for c in ("ant", "bee", "cat") for i in range(5)}
    return open_dataset("folder:" + make_folder(files), validation_fraction=0)


def take(batches, count):
    return [tuple(t.numpy() for t in batch) for batch in batches.take(count)]


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_training_batches_have_the_promised_types_and_never_end(pictures):
    batches = train_batches(pictures, image_size=16, normalization=AUTONL, batch_size=4, seed=1)
    assert batches.element_spec[0].shape == (4, 16, 16, 3)
    found = take(batches, 10)
    assert all(image.dtype == np.float32 and label.dtype == np.int32 for image, label in found)
    assert all(label.shape == (4,) for _, label in found)
    assert max(np.abs(image).max() for image, _ in found) < 4  # normalised


@pytest.mark.parametrize("start", [3, 4])
def test_a_restarted_run_sees_exactly_the_batches_of_an_uninterrupted_one(pictures, start):
    options = {"image_size": 16, "normalization": AUTONL, "batch_size": 4, "seed": 7}
    whole = take(train_batches(pictures, **options), 12)
    assert_same(take(train_batches(pictures, start_step=start, **options), 12 - start), whole[start:])


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_a_restarted_run_on_records_sees_the_same_batches(make_imagenet, encode, monkeypatch, limit):
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", limit)
    monkeypatch.setattr(example_order, "_WINDOW", 4)
    root = make_imagenet({"train": [[(encode(4 * j + i), 4 * j + i + 1) for i in range(4)] for j in range(3)]})
    dataset = open_dataset("imagenet_tfrecord:" + root)
    options = {"image_size": 16, "normalization": AUTONL, "batch_size": 5, "seed": 7}
    whole = take(train_batches(dataset, **options), 9)
    assert_same(take(train_batches(dataset, start_step=4, **options), 5), whole[4:])
    labels = np.concatenate([label for _, label in whole])[:36].reshape(3, 12)
    assert all(sorted(epoch) == list(range(12)) for epoch in labels)


def test_shards_together_see_the_batch_of_one(pictures):
    options = {"image_size": 16, "normalization": AUTONL, "seed": 7}
    whole = take(train_batches(pictures, batch_size=6, **options), 6)
    for num_shards in (2, 3):
        shards = [
            take(
                train_batches(pictures, batch_size=6 // num_shards, shard=s, num_shards=num_shards, **options),
                6,
            )
            for s in range(num_shards)
        ]
        joined = [
            tuple(np.concatenate(parts) for parts in zip(*step, strict=True)) for step in zip(*shards, strict=True)
        ]
        assert_same(joined, whole)


def test_the_same_image_is_augmented_anew_each_epoch(make_folder):
    dataset = open_dataset("folder:" + make_folder({"ant/1.jpg": None, "bee/1.jpg": None}), validation_fraction=0)
    options = {"image_size": 16, "normalization": AUTONL, "batch_size": 1}
    first, second = (
        {image.tobytes() for image, _ in take(train_batches(dataset, **options, seed=seed), 20)} for seed in (1, 2)
    )
    assert len(first) == 20 and not first & second


def test_another_seed_gives_another_order():
    dataset = numbered_dataset(50)
    options = {"image_size": SIZE, "normalization": AUTONL, "batch_size": 10}
    orders = [
        np.concatenate([label for _, label in take(train_batches(dataset, **options, seed=seed), 5)]) for seed in (1, 2)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
    assert orders[0].tolist() != orders[1].tolist()


@pytest.mark.parametrize("name", ["autoaugment", "randaugment"])
def test_augmented_batches_follow_the_plain_ones_and_resume_exactly(pictures, name):
    options = {"image_size": 16, "normalization": AUTONL, "batch_size": 4, "seed": 7}
    plain = take(train_batches(pictures, **options), 8)
    options["augment"] = policies.by_name(name)
    whole = take(train_batches(pictures, **options), 8)
    assert_same(take(train_batches(pictures, start_step=3, **options), 5), whole[3:])
    halves = [take(train_batches(pictures, **options | {"batch_size": 2}, shard=s, num_shards=2), 8) for s in (0, 1)]
    assert_same([tuple(map(np.concatenate, zip(*step, strict=True))) for step in zip(*halves, strict=True)], whole)
    changed = 0
    for (image, label), (before, same_label) in zip(whole, plain, strict=True):
        np.testing.assert_array_equal(label, same_label)
        pixels = image * AUTONL.stddev + AUTONL.mean
        np.testing.assert_allclose(pixels, np.round(pixels), atol=1e-3)  # augmented as uint8
        changed += sum(np.abs(a - b).max() > 0.1 for a, b in zip(image, before, strict=True))
    assert 16 <= changed <= 32


# --- evaluation batches


@settings(max_examples=8)
@given(st.integers(1, 23), st.integers(1, 9), st.integers(1, 3))
def test_evaluation_counts_each_image_once_for_any_batch_and_shards(size, batch, num_shards):
    dataset = numbered_dataset(size, "validation")
    seen, counts = [], []
    for shard in range(num_shards):
        batches = eval_batches(
            dataset,
            image_size=SIZE,
            normalization=AUTONL,
            batch_size=batch,
            shard=shard,
            num_shards=num_shards,
        )
        count = 0
        for image, label, weight in batches:
            assert image.shape == (batch, SIZE, SIZE, 3) and set(weight.numpy()) <= {0.0, 1.0}
            assert weight.dtype == tf.float32 and label.dtype == tf.int32
            seen += label.numpy()[weight.numpy() == 1].tolist()
            count += 1
        counts.append(count)
        assert int(batches.cardinality()) == count
    assert sorted(seen) == list(range(size))
    assert len(set(counts)) == 1
    assert counts[0] < size / (batch * num_shards) + 1


def test_evaluation_of_streamed_records_counts_each_once(make_imagenet, encode, monkeypatch):
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", 0)
    root = make_imagenet({"validation": [[(encode(i), 3 * j + i + 1) for i in range(3)] for j in range(3)]})
    dataset = open_dataset("imagenet_tfrecord:" + root)
    seen = []
    for shard in range(2):
        options = {"image_size": SIZE, "normalization": AUTONL, "batch_size": 2, "shard": shard, "num_shards": 2}
        for _, label, weight in eval_batches(dataset, **options):
            seen += label.numpy()[weight.numpy() == 1].tolist()
    assert sorted(seen) == list(range(9))


def test_evaluation_images_are_the_normalised_preprocessed_ones(pictures):
    ((image, label, weight),) = take(
        eval_batches(pictures, image_size=16, normalization=AUTONL, batch_size=20, split="train"), 1
    )
    assert weight.tolist() == [1.0] * 15 + [0.0] * 5 and not image[15:].any()
    for i, example in enumerate(pictures.examples("train")):
        expected = images.normalize(images.preprocess_for_eval(example["image"], 16), AUTONL)
        np.testing.assert_allclose(image[i], expected, rtol=1e-6, atol=1e-6)
        assert label[i] == int(example["label"])


def test_a_split_that_is_absent_is_an_error(pictures):
    with pytest.raises(UserError, match="no validation images"):
        eval_batches(pictures, image_size=16, normalization=AUTONL, batch_size=2)


# --- how iterators end


def test_no_pipeline_is_autotuned_so_that_its_iterators_end_at_once(pictures, record_split):
    """TensorFlow's thread for that may sleep for a minute after it was told to end, and the end of a run with it."""
    indexed, records = IndexedSplit(3, lambda index: {}), record_split([3, 4])
    streams = [of(split) for split in (indexed, records) for of in (type(split).once, lambda s: s.endless(seed=0))]
    streams.append(own_files.endless(records, 0, 0, 1, 0, 1))
    pixels = {"image_size": 16, "normalization": AUTONL, "batch_size": 2}
    pipelines = [*(stream.elements for stream in streams), train_batches(pictures, seed=0, **pixels)]
    pipelines += [eval_batches(pictures, split="train", **pixels), predict_batches(["a.jpg"], **pixels)]
    assert [pipeline.options().autotune.enabled for pipeline in pipelines] == [False] * len(pipelines)


# --- prediction batches


def test_prediction_keeps_the_order_of_the_files_and_pads_the_end(make_folder, encode):
    root = make_folder({f"{i} ü.jpg": encode(i) for i in range(5)})
    files = [f"{root}/{i} ü.jpg" for i in (3, 0, 4, 1, 2)]
    found = take(predict_batches(files, image_size=16, normalization=AUTONL, batch_size=2), 9)
    rows = np.concatenate([image for image, _ in found])
    weights = np.concatenate([weight for _, weight in found])
    assert weights.tolist() == [1.0] * 5 + [0.0]
    for row, i in zip(rows, (3, 0, 4, 1, 2), strict=False):
        expected = images.normalize(images.preprocess_for_eval(encode(i), 16), AUTONL)
        np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("data", "reason"), [(None, "missing"), (b"text", "not an image"), (b"", "empty")])
def test_a_file_that_cannot_be_classified_is_named(make_folder, encode, data, reason):
    root = make_folder({"good.jpg": encode(0)} | ({} if data is None else {"bad.jpg": data}))
    with pytest.raises(UserError, match=rf"bad\.jpg: {reason}"):
        usable_files([f"{root}/good.jpg", f"{root}/bad.jpg"], image_size=16)
