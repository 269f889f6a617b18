from __future__ import annotations

import os

import pytest
from dataset_cases import listing, two_classes

from autonl_tf.data import bad_images, datasets, reading
from autonl_tf.data.datasets import open_dataset
from autonl_tf.errors import UserError


def bad_files(good: bytes) -> dict[str, tuple[bytes, str]]:
    return {
        "ant/cut short.jpg": (good[: len(good) // 2], reading.CUT_SHORT),
        "ant/empty.jpg": (b"", reading.EMPTY),
        "bee/page.JPEG": (b"<html>not found</html>", reading.NOT_AN_IMAGE),
        "bee/no end.jpg": (good[:-2], reading.CUT_SHORT),
        "bee/header.png": (b"\x89PNG\r\n\x1a\n", reading.CUT_SHORT),
        "bee/no tables.jpg": (good[:20] + b"\xff\xd9", reading.DAMAGED),
    }


@pytest.mark.parametrize("number", range(6))
def test_a_corrupt_file_stops_with_its_name_and_the_reason(make_folder, encode, number):
    name, (data, reason) = list(bad_files(encode(1)).items())[number]
    root = make_folder(two_classes() | {name: data})
    dataset = open_dataset("folder:" + root, validation_fraction=0)
    with pytest.raises(UserError) as error:
        dataset.check("train")
    assert f"{root}/{name}" in str(error.value) and reason in str(error.value)


def test_the_first_corrupt_file_in_order_is_the_one_named(make_folder):
    bad = {f"ant/{i:04d}.jpg": b"bad" for i in range(130, 400, 7)}
    root = make_folder({f"{c}/{i:04d}.jpg": None for c in ("ant", "bee") for i in range(400)} | bad)
    with pytest.raises(UserError, match=r"ant/0130\.jpg"):
        open_dataset("folder:" + root, validation_fraction=0).size("train")


def test_skip_corrupt_counts_and_leaves_out_exactly_the_corrupt_files(make_folder, encode):
    bad = bad_files(encode(1))
    good = {f"{c}/{i:04d}.jpg": None for c in ("ant", "bee") for i in range(100)}
    root = make_folder(good | {name: data for name, (data, _) in bad.items()})
    dataset = open_dataset("folder:" + root, validation_fraction=0, skip_corrupt=True)
    assert dataset.size("train") == 200
    assert {name for name, _ in listing(dataset, "train")} == set(good)
    found = {os.path.relpath(e.name, root): e.reason for e in dataset.left_out["train"]}
    assert found == {name: reason for name, (_, reason) in bad.items()}
    counts = {reading.CUT_SHORT: 3, reading.EMPTY: 1, reading.NOT_AN_IMAGE: 1, reading.DAMAGED: 1}
    assert dataset.faults() == {"train": {"corrupt": counts, "not_read": {}}}


def test_skip_corrupt_with_nothing_left_is_an_error(make_folder):
    root = make_folder({"ant/1.jpg": b"x", "bee/1.jpg": b"x"})
    with pytest.raises(
        UserError, match=r"none of 2 train images can be used; the first: corrupt image .*/ant/1\.jpg: not an image"
    ):
        open_dataset("folder:" + root, validation_fraction=0, skip_corrupt=True).size("train")


def test_a_class_that_loses_its_last_training_image_is_named(make_folder):
    root = make_folder(two_classes() | {"cat/1.jpg": b"x", "cat/2.jpg": b""})
    with pytest.raises(UserError, match="class 'cat' has no image left to train on: none of 2 can be used"):
        open_dataset("folder:" + root, validation_fraction=0, skip_corrupt=True).check("train")


def test_odd_but_good_images_are_not_taken_for_corrupt(make_folder, encode):
    odd = {
        "ant/grey.jpg": encode(1, mode="L"),
        "ant/cmyk.jpg": encode(1, mode="CMYK"),
        "ant/really a png.JPEG": encode(1, file_format="PNG"),
        "bee/16 bits.png": encode(1, file_format="PNG", mode="I;16"),
        "bee/one pixel.jpg": encode(1, 1, 1),
        "bee/animation.gif": encode(1, file_format="GIF"),
        "bee/windows.bmp": encode(1, file_format="BMP"),
    }
    dataset = open_dataset("folder:" + make_folder(odd), validation_fraction=0)
    assert dataset.size("train") == len(odd)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_an_image_that_leaves_no_crop_is_named(make_folder, encode, file_format):
    root = make_folder(two_classes(count=2) | {"ant/dot.JPEG": encode(1, 1, 9, file_format)})
    dataset = open_dataset("folder:" + root, validation_fraction=0)
    with pytest.raises(UserError, match=r"ant/dot\.JPEG: too small to leave a crop \(--skip_corrupt"):
        dataset.check("train", least_side=2)
    dataset = open_dataset("folder:" + root, validation_fraction=0, skip_corrupt=True)
    dataset.check("train", least_side=2)
    assert dataset.size("train") == 4
    assert dataset.faults() == {"train": {"corrupt": {}, "not_read": {reading.TOO_SMALL: 1}}}
    dataset = open_dataset("folder:" + root, validation_fraction=0)
    dataset.check("train", least_side=1)
    assert dataset.size("train") == 5
    with pytest.raises(ValueError, match="checked before"):
        dataset.check("train", least_side=2)


def test_a_file_that_cannot_be_read_is_named(make_folder):
    root = make_folder(two_classes(count=2))
    os.symlink(f"{root}/nowhere.jpg", f"{root}/ant/link ü.jpg")
    with pytest.raises(UserError, match=r"^image .*/ant/link ü\.jpg: missing \(--skip_corrupt"):
        open_dataset("folder:" + root, validation_fraction=0).check("train")
    dataset = open_dataset("folder:" + root, validation_fraction=0, skip_corrupt=True)
    assert dataset.size("train") == 4
    assert dataset.faults() == {"train": {"corrupt": {}, "not_read": {reading.MISSING: 1}}}


def test_what_is_no_regular_file_is_refused_instead_of_waited_for(make_folder):
    root = make_folder(two_classes(count=2))
    os.mkfifo(f"{root}/bee/pipe.jpg")
    with pytest.raises(UserError, match=r"bee/pipe\.jpg: .* not a regular file"):
        open_dataset("folder:" + root, validation_fraction=0)


def test_a_large_set_says_that_it_is_being_checked(make_folder, monkeypatch, caplog):
    monkeypatch.setattr(datasets, "_MANY_IMAGES", 10)
    monkeypatch.setattr(bad_images, "_PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(bad_images, "_FIRST_WORD_SECONDS", 0.0)
    root = make_folder(two_classes(count=80))
    with caplog.at_level("INFO", logger="autonl_tf"):
        open_dataset("folder:" + root, validation_fraction=0).check("train")
    assert "decoding 160 train images once" in caplog.text
    assert "decoded 128 of 160, 0 bad so far" in caplog.text


def test_only_the_first_of_many_are_told_one_by_one(make_folder, caplog):
    root = make_folder(two_classes(count=2) | {f"ant/bad{i}.jpg": b"" for i in range(30)})
    with caplog.at_level("INFO", logger="autonl_tf"):
        open_dataset("folder:" + root, validation_fraction=0, skip_corrupt=True).check("train")
    assert caplog.text.count(": empty") == 20 and "left out 10 more" in caplog.text
