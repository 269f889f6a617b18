from __future__ import annotations

import io
import os
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from dataset_cases import write_labels

from autonl_tf.data import manifest, tfds_source
from autonl_tf.data.datasets import open_dataset
from autonl_tf.data.tfds_source import prepare
from autonl_tf.errors import UserError
from autonl_tf.prepare import left_out


def test_a_progress_bar_becomes_a_line_every_ten_seconds_and_text_plain_lines(monkeypatch):
    said, clock = io.StringIO(), iter(range(0, 60, 4))
    monkeypatch.setattr(tfds_source.time, "monotonic", lambda: next(clock))
    told = tfds_source.Told(said)
    print("\x1b[1mDownloading and preparing\x1b[0m", file=told)
    for step in tfds.core.utils.tqdm(range(8), desc="Generating", file=told, mininterval=0, miniters=1, leave=False):
        del step
    lines = said.getvalue().splitlines()
    assert lines[0] == "Downloading and preparing" and 2 <= len(lines) <= 6
    assert all(re.match(r"Generating: +\d+%\|.*\| \d/8 ", line) and line.isprintable() for line in lines[1:])


def test_tfds_gives_the_encoded_bytes_and_the_test_split_to_validate_on(tiny_pictures, encode):
    contents = {
        "train": [(encode(i, 30 + i, 40), "bee") for i in range(3)],
        "test": [(encode(9, file_format="PNG"), "cat")],
    }
    dataset = open_dataset("tfds:tiny_pictures", data_dir=tiny_pictures(contents))
    assert dataset.class_names == ("ant", "bee", "cat") and dataset.image_size is None
    read = sorted(e["image"].numpy() for e in dataset.examples("train"))
    assert read == sorted(image for image, _ in contents["train"])
    assert [int(e["label"]) for e in dataset.examples("validation")] == [2]


def test_a_test_split_beside_a_validation_split_is_one_of_its_own(tiny_pictures, encode):
    contents = {name: [(encode(i), "bee")] for i, name in enumerate(("train", "validation", "test"))}
    dataset = open_dataset("tfds:tiny_pictures", data_dir=tiny_pictures(contents))
    rest, tested = dataset.tested(None, 0)
    assert rest is dataset and [e["image"].numpy() for e in tested.examples("validation")] == [encode(2)]


def test_a_test_split_without_labels_is_left_out_and_told(tiny_pictures, encode, caplog):
    contents = {"train": [(encode(0), "bee")], "validation": [(encode(1), "cat")], "test": [(encode(2), -1)]}
    caplog.set_level("INFO")
    dataset = open_dataset("tfds:tiny_pictures", data_dir=tiny_pictures(contents))
    assert not dataset.has("test") and dataset.has("validation")
    assert "tfds:tiny_pictures: its test images are not used: they have no labels" in caplog.text


def test_where_the_only_other_split_is_a_test_split_without_labels_training_images_are_held_out(tiny_pictures, encode):
    contents = {"train": [(encode(i), "bee") for i in range(8)], "test": [(encode(9), -1)]}
    dataset = open_dataset("tfds:tiny_pictures", data_dir=tiny_pictures(contents), validation_fraction=0.25)
    assert (dataset.size("train"), dataset.size("validation"), dataset.has("test")) == (6, 2, False)


def test_tfds_without_a_second_split_is_divided(tiny_pictures, encode):
    contents = {"train": [(encode(i), "bee") for i in range(20)]}
    dataset = open_dataset("tfds:tiny_pictures", data_dir=tiny_pictures(contents), validation_fraction=0.25)
    train, validation = ([e["image"].numpy() for e in dataset.examples(s)] for s in ("train", "validation"))
    assert len(train) == 15 and len(validation) == 5 and len(set(train + validation)) == 20


def test_a_label_file_reorders_tfds_labels(tiny_pictures, encode, tmp_path):
    data_dir = tiny_pictures({"train": [(encode(0), "cat")], "test": [(encode(1), "ant")]})
    labels = write_labels(tmp_path, "cat\ndog\nbee\nant\n")
    dataset = open_dataset("tfds:tiny_pictures", data_dir=data_dir, label_file=labels)
    assert dataset.class_names == ("cat", "dog", "bee", "ant")
    assert [int(e["label"]) for s in ("train", "validation") for e in dataset.examples(s)] == [0, 3]
    with pytest.raises(UserError, match="'bee' is not in label file"):
        open_dataset("tfds:tiny_pictures", data_dir=data_dir, label_file=write_labels(tmp_path, "ant\ncat\n"))


def test_tfds_images_of_floats_are_refused(tiny_pictures, tmp_path, monkeypatch):
    """They are kept as the bytes of a PNG's colours."""
    monkeypatch.setattr(tiny_pictures.builder, "image", tfds.features.Image(shape=(8, 8, 1), dtype=np.float32))
    monkeypatch.setattr(tiny_pictures.builder, "_generate_examples", floats)
    tiny_pictures.builder.contents = {"train": ["ant", "bee"]}
    with pytest.raises(UserError, match="tfds:tiny_pictures: its images are of float32; accepted: uint8 or uint16"):
        open_dataset("tfds:tiny_pictures", data_dir=str(tmp_path / "floats"))


def floats(builder, split):
    for number, name in enumerate(builder.contents[split]):
        yield number, {"image": np.full([8, 8, 1], 0.5, np.float32), "label": name}


def test_an_unknown_tfds_name_is_an_error(tmp_path):
    with pytest.raises(UserError, match="tfds:no_such_set") as error:
        open_dataset("tfds:no_such_set", data_dir=str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_tfds_set_that_cannot_be_prepared_is_an_error(tiny_pictures, tmp_path):
    tiny_pictures.builder.contents = {"train": [(b"", "nope")]}
    with pytest.raises(UserError, match=r"tfds:tiny_pictures: not prepared in .*: .*nope"):
        open_dataset("tfds:tiny_pictures", data_dir=str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_set_that_another_process_prepares_meanwhile_is_read(tiny_pictures, encode, moment, tmp_path, monkeypatch):
    contents = {"train": [(encode(0), "cat")], "test": [(encode(1), "ant")]}
    tiny_pictures.builder.contents = contents
    builder = tiny_pictures.builder(data_dir=str(tmp_path / "tfds"))
    generate = builder._generate_examples

    def generate_slowly(split):
        tiny_pictures(contents)  # as another process would
        return generate(split)

    monkeypatch.setattr(builder, "_generate_examples", generate_slowly)
    if moment == "before":
        tiny_pictures(contents)
    prepare(builder, "tfds:tiny_pictures")
    splits = builder.info.splits
    assert {name: split.num_examples for name, split in splits.items()} == {"train": 1, "test": 1}
    assert all(os.path.exists(path) for split in splits.values() for path in split.filepaths)


def test_images_that_a_run_was_trained_on_are_told_where_another_share_is_held_out(
    tiny_pictures, encode, tmp_path, capsys
):
    directory = tiny_pictures({"train": [(encode(i), "bee") for i in range(10)]})

    def opened(fraction):
        return open_dataset("tfds:tiny_pictures", data_dir=directory, validation_fraction=fraction)

    entries = tuple(opened(0.2).entries("train", "validation"))
    (tmp_path / manifest.NAME).write_text(manifest.Manifest(entries, {}).text())
    for fraction, expected in (
        (0.2, {"validation": 2}),
        (0.1, {"validation": 1}),
        (0.5, {"train": 3, "validation": 2}),
    ):
        dataset = opened(fraction)
        seen = left_out.seen_by_run(tmp_path, dataset, "validation")
        assert +seen == expected
        left_out.trained_on(seen, dataset, "validation")
    said = capsys.readouterr().err
    assert said.count("the run was trained on") == said.count("3 of these 5 images are among those") == 1


def test_names_are_compared_as_they_are_shown(tiny_pictures, encode, tmp_path, monkeypatch):
    written, composed = "e\u0301te", "\u00e9te"
    monkeypatch.setattr(tiny_pictures.builder, "names", (written, "bee"))
    directory = tiny_pictures({"train": [(encode(0), written)], "test": [(encode(1), "bee")]})
    labels = write_labels(tmp_path, f"bee\n{composed}\n")
    dataset = open_dataset("tfds:tiny_pictures", data_dir=directory, label_file=labels)
    assert dataset.class_names == ("bee", composed) and [int(e["label"]) for e in dataset.examples("train")] == [1]
    monkeypatch.setattr(tiny_pictures.builder, "names", (written, composed))
    with pytest.raises(UserError, match=f"tfds:tiny_pictures: several classes have the name '{composed}'"):
        open_dataset("tfds:tiny_pictures", data_dir=tiny_pictures({"train": [(encode(0), written)]}))
