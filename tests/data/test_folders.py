from __future__ import annotations

import os
import unicodedata

import pytest
from dataset_cases import listing, two_classes

from autonl_tf.data import datasets, folder, images
from autonl_tf.data.datasets import open_dataset
from autonl_tf.errors import UserError


def test_train_and_val_folders_are_the_splits_with_sorted_classes(make_folder):
    files = ["train/bee/1.jpg", "train/Ant nest/a b.JPEG", "train/ünïcode/ä.png", "val/bee/2.jpeg"]
    dataset = open_dataset("folder:" + make_folder(dict.fromkeys(files), "with space ü"))
    assert dataset.class_names == ("Ant nest", "bee", "ünïcode")
    assert dataset.num_classes == 3 and dataset.image_size == 224
    assert listing(dataset, "train") == [("Ant nest/a b.JPEG", 0), ("bee/1.jpg", 1), ("ünïcode/ä.png", 2)]
    assert listing(dataset, "validation") == [("bee/2.jpeg", 1)]
    for example in dataset.examples("train"):
        assert images.decode(example["image"]).shape == (40, 56, 3)


@pytest.mark.parametrize("name", ["val", "validation", "test"])
def test_each_name_of_the_second_split_is_taken(make_folder, name):
    files = ["train/ant/1.jpg", "train/bee/1.jpg", f"{name}/ant/2.jpg"]
    dataset = open_dataset("folder:" + make_folder(dict.fromkeys(files)))
    assert (dataset.size("train"), dataset.size("validation")) == (2, 1)


def test_a_lone_val_folder_is_the_validation_split(make_folder):
    dataset = open_dataset("folder:" + make_folder({"val/ant/1.jpg": None, "val/bee/1.jpg": None}))
    assert (dataset.size("train"), dataset.size("validation")) == (0, 2)
    with pytest.raises(UserError, match="no train images"):
        dataset.examples("train")


def test_a_class_may_be_called_train(make_folder):
    dataset = open_dataset("folder:" + make_folder({f"{c}/{i}.jpg": None for c in ("bus", "train") for i in "123"}))
    assert dataset.class_names == ("bus", "train")


def test_a_folder_without_a_second_split_is_divided_by_the_hash_of_the_name(make_folder, tmp_path):
    root = make_folder(two_classes(count=150))
    dataset = open_dataset("folder:" + root, validation_fraction=0.2)
    validation = set(listing(dataset, "validation"))
    train = set(listing(dataset, "train"))
    assert not validation & train and len(validation | train) == 300
    assert 35 <= len(validation) <= 90
    # More files, and train/ as a folder of its own, move none of those that were there.
    make_folder({f"bee/new{i}.jpg": None for i in range(20)})
    again = set(listing(open_dataset("folder:" + root, validation_fraction=0.2), "validation"))
    assert {row for row in again if "new" not in row[0]} == validation
    (tmp_path / "moved").mkdir()
    os.rename(root, tmp_path / "moved" / "train")
    moved = open_dataset(f"folder:{tmp_path}/moved", validation_fraction=0.2)
    assert set(listing(moved, "validation")) == again


def test_the_split_does_not_depend_on_how_unicode_is_composed():
    composed, decomposed = (unicodedata.normalize(form, "bee/ä.jpg") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert folder._hash_share(composed) == folder._hash_share(decomposed)


def test_neither_part_of_a_hash_split_is_empty_unless_asked_for(make_folder):
    root = make_folder({"ant/1.jpg": None, "bee/1.jpg": None, "bee/2.jpg": None})
    for fraction in (1e-9, 1 - 1e-9):
        dataset = open_dataset("folder:" + root, validation_fraction=fraction)
        assert min(dataset.size("train"), dataset.size("validation")) == 1
    assert open_dataset("folder:" + root, validation_fraction=0.0).size("validation") == 0
    assert open_dataset("folder:" + root, validation_fraction=1.0).size("validation") == 3


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no images in class folders"),
        ({"ant/readme.txt": b"x", "bee/readme.txt": b"x"}, "no images in class folders"),
        ({"ant/1.jpg": None, "ant/2.jpg": None}, "only one class, 'ant'"),
        ({"train/ant/1.jpg": None, "val/ant/2.jpg": None}, "only one class, 'ant'"),
        ({"ant/1.jpg": None, "bee/1.jpg": None, "cat/notes.txt": b"x"}, "class folder 'cat' has no images"),
        ({"ant/1.jpg": None, "bee/1.jpg": None, "loose.jpg": None}, "loose.jpg is in no class folder"),
        ({"train/ant/1.jpg": None, "train/bee/1.jpg": None, "val/cow/1.jpg": None}, "class 'cow'"),
    ],
)
def test_a_bad_folder_is_an_error_that_says_what_is_wrong(make_folder, files, message):
    root = make_folder(files)
    with pytest.raises(UserError, match=message) as error:
        open_dataset("folder:" + root)
    assert root in str(error.value) and "\n" not in str(error.value)


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such directory"):
        open_dataset(f"folder:{tmp_path}/nowhere")
    with pytest.raises(UserError, match=r"nowhere: no such directory"):
        open_dataset(f"imagenet_tfrecord:{tmp_path}/nowhere")


@pytest.mark.parametrize("name", ["demos", "demo:far2", "folder:", "tfds", "cifar10", "imagenet_tfrecord"])
def test_an_unknown_name_lists_what_is_accepted(name):
    with pytest.raises(UserError) as error:
        open_dataset(name)
    assert repr(name) in str(error.value) and datasets.ACCEPTED in str(error.value)


@pytest.mark.parametrize("fraction", [-0.1, 1.5])
def test_a_fraction_outside_0_to_1_is_refused(make_folder, fraction):
    with pytest.raises(UserError, match="validation_fraction"):
        open_dataset("folder:" + make_folder(two_classes(count=1)), validation_fraction=fraction)


def test_links_to_folders_are_followed_once(make_folder):
    root = make_folder({"ant/1.jpg": None, "bee/1.jpg": None, "more/2.jpg": None}, "linked")
    os.rename(f"{root}/more", f"{root}/../more")
    os.symlink(f"{root}/../more", f"{root}/ant/more")
    os.symlink(f"{root}/ant", f"{root}/ant/itself")
    dataset = open_dataset("folder:" + root, validation_fraction=0)
    assert listing(dataset, "train") == [("ant/1.jpg", 0), ("more/2.jpg", 0), ("bee/1.jpg", 1)]
