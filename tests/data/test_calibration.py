"""Images that set the ranges of an int8 network: any will do, whatever their labels; a bad one is named or left out."""

import os

import pytest

from autonl_tf.data.calibration import calibration_images, open_calibration
from autonl_tf.errors import UserError


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: os.symlink("nowhere.jpg", path), r"^calibration: image .*odd\.jpg: missing "),
        (os.mkfifo, r"odd\.jpg: named as an image but not a regular file"),
    ],
    ids=["a link to nothing", "a pipe"],
)
def test_what_is_no_file_is_refused_by_name(make, said, tmp_path):
    make(tmp_path / "odd.jpg")
    with pytest.raises(UserError, match=said):
        chosen(open_calibration(f"folder:{tmp_path}"))


def chosen(source, count=99, **others):
    return calibration_images(source, count, image_size=32, crop_padding=32, **others)


def test_bad_files_are_left_out_where_that_is_asked_for(make_folder, encode, caplog):
    root = make_folder({"a.jpg": None, "b/c.jpg": None, "b/d.png": b"no image", "e.jpg": encode(5, 1, 1)})
    os.symlink("nowhere.jpg", f"{root}/link.jpg")
    paths = open_calibration(f"folder:{root}")
    with pytest.raises(UserError, match=r"calibration: corrupt image .*\(--skip_corrupt leaves it out\)"):
        chosen(paths)
    for count, expected in ((99, 2), (1, 1)):
        assert chosen(paths, count, skip_corrupt=True).shape == (expected, 32, 32, 3)
    for name in ("d.png: not an image", "/e.jpg: too small", "link.jpg: missing"):
        assert name in caplog.text
    with pytest.raises(UserError, match="none of the calibration images"):
        chosen([f"{root}/b/d.png"], skip_corrupt=True)


def test_folders_are_followed_through_links_once(make_folder):
    elsewhere = make_folder({"x.jpg": None}, "elsewhere")
    root = make_folder({"ant/a.jpg": None, ".hidden/h.jpg": None})
    os.symlink(elsewhere, f"{root}/linked")
    os.symlink(root, f"{root}/ant/back")
    names = [os.path.relpath(path, root) for path in open_calibration(f"folder:{root}")]
    assert names == ["ant/a.jpg", "linked/x.jpg"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("train/ant/a.jpg", "val/ant/b.jpg"), 1),
        (("train/a.jpg", "val/b.jpg", "test/c.jpg"), 1),
        (("train/a.jpg", "bus/b.jpg"), 2),  # a class of that name
        (("val/ant/b.jpg",), 1),
    ],
)
def test_a_training_split_is_taken_alone_and_a_class_called_train_is_not(make_folder, files, expected):
    assert len(open_calibration(f"folder:{make_folder(dict.fromkeys(files))}")) == expected


def test_labels_of_records_do_not_matter(make_imagenet, tiny_pictures, encode, monkeypatch):
    records = make_imagenet({"train": [[(encode(0), 0), (encode(1), 5000)]]})
    assert len(chosen(open_calibration(f"imagenet_tfrecord:{records}"))) == 2
    monkeypatch.setattr(tiny_pictures.builder, "names", ("ant",))
    data_dir = tiny_pictures({"train": [(encode(i), "ant") for i in range(3)], "test": [(encode(9), "ant")]})
    assert len(chosen(open_calibration("tfds:tiny_pictures", data_dir))) == 3


def test_bad_records_are_left_out_too(make_imagenet, encode):
    records = (
        f"imagenet_tfrecord:{make_imagenet({'train': [[(encode(0), 1), (b'no image', 2), (encode(5, 1, 1), 3)]]})}"
    )
    with pytest.raises(UserError, match=r"corrupt image .*\(--skip_corrupt leaves it out\)"):
        chosen(open_calibration(records))
    assert len(chosen(open_calibration(records, skip_corrupt=True), skip_corrupt=True)) == 1
