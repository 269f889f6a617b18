"""What a run remembers of its images: every change is told, nothing damaged is believed, nothing is decoded twice."""

from __future__ import annotations

import os

import pytest
from dataset_cases import two_classes

from autonl_tf.data import bad_images, reading
from autonl_tf.data.datasets import open_dataset
from autonl_tf.data.manifest import Entry, Manifest, changes, digest, parse

ENTRIES = (
    Entry("train", "train/ant/1.jpg", 10, 5, "ant", ""),
    Entry("train", "train/b\udcff/2.jpg", 20, 6, "bee", "cut short"),
    Entry("validation", "val/ant/3.jpg", 30, 7, "ant"),
)


def test_a_manifest_is_read_back_and_with_any_other_byte_refused():
    record = Manifest(ENTRIES, {"least_side": 2})
    text = record.text()
    assert parse(text) == record
    assert record.faults({"least_side": 2}) == {
        ("train/ant/1.jpg", 10, 5): "",
        ("train/b\udcff/2.jpg", 20, 6): "cut short",
    }
    assert record.faults({"least_side": 3}) == {}
    head = text.index("\n")
    for index in range(len(text)):
        changed = text[:index] + chr(ord(text[index]) ^ 1) + text[index + 1 :]
        try:
            found = parse(changed)
        except ValueError:
            continue
        assert index < head and found.entries == ENTRIES  # how it was checked: then all is checked anew
        assert found.faults({"least_side": 2}) == {}
    for damaged in ("", "[]\n", "null\n", text[:-1], text + "\n", "[" * 10000):
        with pytest.raises(ValueError):
            parse(damaged)


def test_every_change_of_names_sizes_and_classes_is_told_and_times_are_none():
    first, second, _ = ENTRIES
    assert changes(ENTRIES, [entry._replace(time=99, fault=None) for entry in ENTRIES]) is None
    assert changes(ENTRIES, [first, second]) == "1 removed (val/ant/3.jpg of validation)"
    assert changes([first], ENTRIES[:2]) == "1 added (train/b\udcff/2.jpg of train)"
    assert changes([first], [first._replace(size=11)]) == "1 of another size (train/ant/1.jpg of train)"
    assert changes([first], [first._replace(label="bee")]).startswith(
        "1 of another class (train/ant/1.jpg of train (bee"
    )
    moved = first._replace(name="train/bee/1.jpg", label="bee")
    assert changes([first], [moved]) == "1 moved (train/ant/1.jpg of train to train/bee/1.jpg of train)"
    assert changes([first], [first._replace(split="validation")]).startswith("1 moved")
    many = [first._replace(name=f"{i}.jpg") for i in range(5)]
    assert changes([], many) == "5 added (0.jpg of train, 1.jpg of train, 2.jpg of train and 2 more)"
    assert len({digest([first]), digest([moved]), digest([first._replace(size=11)]), digest([])}) == 4
    assert digest([first]) == digest([first._replace(time=1, fault=None)])


def test_only_what_is_new_is_decoded_and_known_faults_are_counted(make_folder, monkeypatch):
    decoded = []

    def counted(stream, count, *rest):
        decoded.append(count)
        return find_bad(stream, count, *rest)

    find_bad = bad_images.find_bad
    monkeypatch.setattr(bad_images, "find_bad", counted)
    root = make_folder(two_classes(count=3) | {"ant/bad.jpg": b"bad", "bee/bad.jpg": b""})

    def checked(known, **how):
        dataset = open_dataset(f"folder:{root}", validation_fraction=0, skip_corrupt=True)
        dataset.check("train", known=known, **how)
        faults = {entry.name: entry.fault for entry in dataset.entries("train")}
        return dataset.size("train"), faults, Manifest(tuple(dataset.entries("train")), {}).faults({})

    size, faults, known = checked(None)
    assert (size, decoded.pop()) == (6, 8)
    assert faults["ant/bad.jpg"] == reading.NOT_AN_IMAGE and faults["bee/bad.jpg"] == reading.EMPTY
    assert checked(known)[:2] == (6, faults) and not decoded
    os.utime(f"{root}/ant/0.jpg", (1, 1))
    os.remove(f"{root}/bee/bad.jpg")
    make_folder({"ant/new.jpg": b"new"})
    size, again, _ = checked(known)
    assert (size, decoded.pop()) == (6, 2)
    assert again["ant/new.jpg"] == reading.NOT_AN_IMAGE and again["ant/0.jpg"] == ""
    assert set(checked({}, decode=False)[1].values()) == {None} and not decoded
