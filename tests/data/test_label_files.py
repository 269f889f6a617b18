from __future__ import annotations

import pytest
from dataset_cases import listing, two_classes, write_labels

from autonl_tf.data.datasets import open_dataset
from autonl_tf.data.labels import labels_text
from autonl_tf.errors import UserError


def test_a_label_file_fixes_order_and_number_of_the_classes(make_folder, tmp_path):
    labels = write_labels(tmp_path, "cow Bos taurus\nbee\nant formica rufa\n")
    dataset = open_dataset("folder:" + make_folder(two_classes(count=1)), label_file=labels, validation_fraction=0)
    assert dataset.class_names == ("cow", "bee", "ant")
    assert listing(dataset, "train") == [("ant/0.jpg", 2), ("bee/0.jpg", 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ant\ncow\n", "'bee' is not in label file"),
        ("", "empty"),
        ("\n \n", "empty"),
        ("ant a\nbee\nant x\n", "line 3: 'ant' was already on line 1"),
        ("ant\n\nbee\n", "line 2: blank"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_a_bad_label_file_is_an_error(make_folder, tmp_path, text, message):
    labels = write_labels(tmp_path, text)
    with pytest.raises(UserError, match=message) as error:
        open_dataset("folder:" + make_folder(two_classes(count=1)), label_file=labels)
    assert labels in str(error.value)


def test_a_missing_label_file_is_named(make_folder, tmp_path):
    with pytest.raises(UserError, match=r"labels\.txt: No such file"):
        open_dataset("folder:" + make_folder(two_classes(count=1)), label_file=str(tmp_path / "labels.txt"))


def test_the_labels_that_a_run_writes_serve_as_label_file_though_names_hold_blanks(make_folder, tmp_path):
    root = make_folder({f"{c}/1.jpg": None for c in ("Ant nest", "Ant hill", "bee")})
    own = open_dataset("folder:" + root, validation_fraction=0)
    labels = write_labels(tmp_path, labels_text(own.class_names))
    assert labels_text(own.class_names) == "Ant hill\nAnt nest\nbee\n"
    again = open_dataset("folder:" + root, validation_fraction=0, label_file=labels)
    assert again.class_names == own.class_names
    turned = write_labels(tmp_path, "bee\r\nAnt nest \r\ncat\r\nAnt hill\r\n")
    dataset = open_dataset("folder:" + root, validation_fraction=0, label_file=turned)
    assert dataset.class_names == ("bee", "Ant nest", "cat", "Ant hill")
    assert sorted(listing(dataset, "train")) == [("Ant hill/1.jpg", 3), ("Ant nest/1.jpg", 1), ("bee/1.jpg", 0)]


def test_every_line_of_a_runs_labels_is_a_name_where_only_others_hold_blanks(make_folder, tmp_path):
    root = make_folder({f"{c}/1.jpg": None for c in ("ant", "bee")})
    labels = write_labels(tmp_path, labels_text(("ant", "bee", "new delhi", "new york")))
    dataset = open_dataset("folder:" + root, validation_fraction=0, label_file=labels)
    assert dataset.class_names == ("ant", "bee", "new delhi", "new york")


def test_blanks_of_all_kinds_are_alike_in_folders_and_label_files(make_folder, tmp_path):
    root = make_folder({f"{c}/1.jpg": None for c in ("new\u00a0york", "bee")})
    labels = write_labels(tmp_path, "bee\nnew\u2003york\n")
    dataset = open_dataset("folder:" + root, validation_fraction=0, label_file=labels)
    assert dataset.class_names == ("bee", "new york")


def test_of_classes_that_a_label_file_names_some_may_have_validation_images_alone(make_folder, tmp_path):
    root = make_folder(dict.fromkeys(["train/ant/1.jpg", "train/bee/1.jpg", "val/cat/1.jpg"]))
    (tmp_path / "labels.txt").write_text("ant\nbee\ncat\n")
    dataset = open_dataset("folder:" + root, label_file=str(tmp_path / "labels.txt"))
    assert listing(dataset, "validation") == [("cat/1.jpg", 2)]
    with pytest.raises(UserError, match="the training split has no class 'cat' of the validation split"):
        open_dataset("folder:" + root)


def test_a_class_of_the_test_split_alone_is_refused(make_folder):
    root = make_folder(dict.fromkeys(["train/ant/1.jpg", "train/bee/1.jpg", "val/bee/1.jpg", "test/Bee/1.jpg"]))
    with pytest.raises(UserError, match=r"has no class 'Bee' of the test split \(it has 'bee'\)"):
        open_dataset("folder:" + root)


@pytest.mark.parametrize("name", ["", "a\nb", "a\u2028b", "a\n"])
def test_a_name_that_is_no_line_is_not_written(name):
    with pytest.raises(UserError, match=r"class 1: the name .* is not one line of text, which labels\.txt needs"):
        labels_text(("ant", name))
