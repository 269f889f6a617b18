from __future__ import annotations

import bz2
import lzma
import os

import pytest
import tensorflow as tf
from dataset_cases import write_labels

from autonl_tf.data import datasets, tfrecord
from autonl_tf.data.datasets import open_dataset
from autonl_tf.errors import UserError


def test_stored_labels_1_to_1000_become_0_to_999(make_imagenet, encode):
    records = [(encode(0), 1), (encode(1), 1000)]
    dataset = open_dataset("imagenet_tfrecord:" + make_imagenet({"train": [records[:1], records[1:]]}))
    assert [int(e["label"]) for e in dataset.examples("train")] == [0, 999]
    assert [e["image"].numpy() for e in dataset.examples("train")] == [encode(0), encode(1)]
    assert dataset.num_classes == 1000 and dataset.class_names[-1] == "999"
    assert dataset.size("validation") == 0


@pytest.mark.parametrize(("limit", "skip"), [(1 << 20, False), (1 << 20, True), (0, True)])
@pytest.mark.parametrize("label", [0, 4])
def test_a_label_out_of_range_names_the_record(make_imagenet, encode, tmp_path, monkeypatch, label, limit, skip):
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", limit)
    root = make_imagenet({"train": [[(encode(0), 1), (encode(1), label)]]})
    labels = write_labels(tmp_path, "ant\nbee\ncat\n")
    with pytest.raises(UserError, match=r"outside 1\.\.3.*train-00000-of-00001#1"):
        open_dataset("imagenet_tfrecord:" + root, label_file=labels, skip_corrupt=skip).check("train")


def test_a_label_out_of_range_met_on_the_way_can_be_named_afterwards(make_imagenet, encode, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", 0)
    root = make_imagenet({"train": [[(encode(0), 1), (encode(1), 4)]]})
    dataset = open_dataset("imagenet_tfrecord:" + root, label_file=write_labels(tmp_path, "ant\nbee\ncat\n"))
    dataset.check("train")
    with pytest.raises(UserError, match=r"bad record: .*outside 1\.\.3.*train-00000-of-00001#1") as error:
        dataset.find_bad("train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("limit", [1 << 20, 0])
def test_a_record_of_other_features_behind_good_ones_is_named(
    make_imagenet, encode, monkeypatch, limit, imagenet_record
):
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", limit)
    root = make_imagenet({"train": [[], [(encode(0), 1)]]})
    good = imagenet_record(encode(0), 1)
    with tf.io.TFRecordWriter(f"{root}/train-00001-of-00002") as writer:
        for record in (good, good, b""):
            writer.write(record)
    with pytest.raises(UserError) as error:
        dataset = open_dataset("imagenet_tfrecord:" + root)
        dataset.check("train")
        dataset.find_bad("train")
    assert f"bad record: {root}/train-00001-of-00002#2: Feature: image/" in str(error.value)
    assert "{{" not in str(error.value)


def test_a_shard_that_goes_missing_on_the_way_is_named(make_imagenet, encode, monkeypatch):
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", 0)
    root = make_imagenet({"train": [[(encode(i), 1)] for i in range(3)]})
    dataset = open_dataset("imagenet_tfrecord:" + root)
    dataset.check("train")
    os.remove(f"{root}/train-00001-of-00003")
    with pytest.raises(UserError, match="train-00001-of-00003"):
        dataset.find_bad("train")


@pytest.mark.parametrize("missing", [0, 2])
def test_a_missing_shard_is_named(make_imagenet, encode, missing):
    root = make_imagenet({"train": [[(encode(i), 1)] for i in range(4)]})
    os.remove(f"{root}/train-{missing:05d}-of-00004")
    with pytest.raises(UserError, match=f"train-{missing:05d}-of-00004"):
        open_dataset("imagenet_tfrecord:" + root)


def test_a_directory_without_shards_says_what_they_are_called(tmp_path):
    with pytest.raises(UserError, match="train-00000-of-01024"):
        open_dataset(f"imagenet_tfrecord:{tmp_path}")


def test_a_pipe_in_place_of_a_shard_is_refused_without_waiting_for_it(make_imagenet, encode):
    root = make_imagenet({"validation": [[(encode(0), 1)], []]})
    path = f"{root}/validation-00001-of-00002"
    os.remove(path)
    os.mkfifo(path)
    with pytest.raises(UserError, match="validation-00001-of-00002: no regular file"):
        open_dataset("imagenet_tfrecord:" + root).check("validation")


@pytest.mark.parametrize("cut", [3, 40])
def test_a_truncated_record_file_is_named(make_imagenet, encode, cut):
    root = make_imagenet({"validation": [[(encode(i), 1)] for i in range(3)]})
    path = f"{root}/validation-00001-of-00003"
    os.truncate(path, os.path.getsize(path) - cut)
    with pytest.raises(UserError, match="validation-00001-of-00003"):
        open_dataset("imagenet_tfrecord:" + root).check("validation")


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_a_record_file_with_a_wrong_checksum_is_named(make_imagenet, encode, monkeypatch, limit):
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", limit)
    root = make_imagenet({"train": [[(encode(i), 1), (encode(i + 9), 1)] for i in range(3)]})
    path = f"{root}/train-00002-of-00003"
    with open(path, "r+b") as file:
        file.seek(-20, os.SEEK_END)
        file.write(b"\0\1\2\3")
    dataset = open_dataset("imagenet_tfrecord:" + root, skip_corrupt=True)
    with pytest.raises(UserError, match=r"corrupt TFRecord file .*train-00002-of-00003"):
        dataset.check("train")


def test_records_of_other_features_are_refused(tmp_path):
    path = tmp_path / "train-00000-of-00001"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(UserError, match="not an ImageNet example"):
        open_dataset(f"imagenet_tfrecord:{tmp_path}").check("train")


def test_the_first_record_is_that_of_the_first_shard_that_has_any(make_imagenet, encode):
    root = make_imagenet({"train": [[], [(encode(0), 0)]]})
    with pytest.raises(UserError, match="train-00001-of-00002: its first record has label 0"):
        open_dataset("imagenet_tfrecord:" + root).check("train")


def test_a_file_that_is_no_record_file_is_refused(tmp_path):
    (tmp_path / "train-00000-of-00001").write_bytes(b"hello, this is plain text and no record")
    with pytest.raises(UserError, match="train-00000-of-00001"):
        open_dataset(f"imagenet_tfrecord:{tmp_path}").check("train")


@pytest.mark.parametrize(("compression", "told"), [("GZIP", "GZIP"), ("ZLIB", "zlib")])
def test_compressed_records_are_told_as_such(tmp_path, encode, compression, told, imagenet_record):
    path = tmp_path / "train-00000-of-00001"
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for number in range(3):
            writer.write(imagenet_record(encode(number), 1))
    with pytest.raises(UserError, match=rf"train-00000-of-00001: a compressed TFRecord file \({told}\)"):
        open_dataset(f"imagenet_tfrecord:{tmp_path}").check("train")


@pytest.mark.parametrize(("compress", "told"), [(bz2.compress, "bzip2"), (lzma.compress, "xz")])
def test_files_compressed_by_other_tools_are_told_as_such(tmp_path, compress, told):
    path = tmp_path / "train-00000-of-00001"
    path.write_bytes(compress(bytes(1000)))
    with pytest.raises(UserError, match=rf"train-00000-of-00001: a compressed TFRecord file \({told}\)"):
        tfrecord.count_records((str(path),))


@pytest.mark.parametrize("labels", [(0, 1, 2), (2, 1, 0)])
def test_labels_counted_from_zero_are_told_as_such(make_imagenet, encode, tmp_path, labels):
    root = make_imagenet({"train": [[(encode(number), label) for number, label in enumerate(labels)]]})
    names = write_labels(tmp_path, "ant\nbee\ncat\n")
    with pytest.raises(UserError, match=r"train-00000-of-00001.*counted from 0|counted from 0.*train-00000-of-00001#2"):
        open_dataset(f"imagenet_tfrecord:{root}", label_file=names).check("train")


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_images_too_small_to_crop_in_records_are_skipped(make_imagenet, encode, monkeypatch, limit):
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", limit)
    shards = [[(encode(i, side, side), 1) for i, side in enumerate((1, 2, 40))]]
    dataset = open_dataset("imagenet_tfrecord:" + make_imagenet({"train": shards}), skip_corrupt=True)
    dataset.check("train", least_side=2)
    assert dataset.size("train") == 2 and len(dataset.left_out["train"]) == 1
    assert dataset.left_out["train"][0].name.endswith("train-00000-of-00001#0")


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_corrupt_images_in_records_are_skipped_and_counted(make_imagenet, encode, monkeypatch, limit):
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", limit)
    data = [encode(i) if i % 4 else b"broken" for i in range(24)]
    shards = [[(image, 1) for image in data[i : i + 6]] for i in range(0, 24, 6)]
    dataset = open_dataset("imagenet_tfrecord:" + make_imagenet({"train": shards}), skip_corrupt=True)
    assert dataset.size("train") == 18 and len(dataset.left_out["train"]) == 6
    kept = [e["image"].numpy() for e in dataset.examples("train", shuffle_seed=3)]
    assert sorted(kept) == sorted(image for image in data if image != b"broken")


def test_a_corrupt_image_in_a_large_record_set_can_be_named_afterwards(make_imagenet, encode, monkeypatch):
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", 0)
    root = make_imagenet({"train": [[(encode(0), 1)], [(encode(1), 1), (encode(2)[:100], 1)]]})
    dataset = open_dataset("imagenet_tfrecord:" + root)
    assert dataset.size("train") == 3
    assert dataset.find_bad("train") == f"corrupt image {root}/train-00001-of-00002#1: cut short"


def test_a_record_file_that_has_gone_is_not_called_corrupt(make_imagenet, encode, monkeypatch):
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", 0)
    root = make_imagenet({"train": [[(encode(0), 1)], [(encode(1), 1)]]})
    dataset = open_dataset("imagenet_tfrecord:" + root)
    assert dataset.size("train") == 2
    os.remove(f"{root}/train-00001-of-00002")
    with pytest.raises(UserError, match=r"^TFRecord file .*/train-00001-of-00002: No such file or directory$"):
        dataset.find_bad("train")
