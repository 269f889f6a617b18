"""Every mistake with images and labels: one line names the culprit, code 2, nothing written."""

import json
import os
import re
import shutil

import pytest
from mode_cases import CLASSES, class_folder, given, run
from PIL import Image

from autonl_tf.errors import UserError

FITTING = ["training", "searching"]


@pytest.mark.parametrize("words", FITTING)
@pytest.mark.parametrize("name", ["nosuch", "folder:", "nosuch:here", "demo:nosuch"])
def test_an_unknown_data_set_is_refused(words, name, request, refused):
    refused(given(request.getfixturevalue(words), dataset=name), rf"unknown data set '{name}'; expected one of demo")


@pytest.mark.parametrize("words", FITTING)
def test_a_folder_that_is_missing_empty_or_of_one_class_is_refused(words, request, tmp_path, refused):
    words = request.getfixturevalue(words)
    refused(given(words, dataset=f"folder:{tmp_path}/none"), r"/none: no such directory")
    (tmp_path / "empty").mkdir()
    refused(given(words, dataset=f"folder:{tmp_path}/empty"), r"/empty: no images in class folders")
    class_folder(tmp_path / "one", {"train": 1, "val": 1}, classes=["ant"])
    refused(given(words, dataset=f"folder:{tmp_path}/one"), r"/one: only one class, 'ant'")


@pytest.mark.parametrize("words", FITTING)
def test_a_corrupt_picture_is_refused_by_name(words, request, spoilt, refused):
    refused(given(request.getfixturevalue(words), dataset=f"folder:{spoilt}"), r"corrupt image .*/train/bee/1\.jpg: ")


def test_a_run_that_left_images_out_goes_on_however_its_paths_are_written(training, spoilt, tmp_path, monkeypatch):
    shutil.copy(spoilt / "train" / "bee" / "1.jpg", spoilt / "train" / "bee" / os.fsdecode(b"\xe9.jpg"))
    run(*given(training, dataset=f"folder:{spoilt}"), "--skip_corrupt")
    left_out = json.loads((tmp_path / "run" / "skipped.json").read_text())["train"]["images"]
    assert sorted(left_out) == [f"{spoilt}/train/bee/1.jpg", f"{spoilt}/train/bee/\\udce9.jpg"]
    run(*given(training, dataset=f"folder:{spoilt}"), "--skip_corrupt")
    assert json.loads((tmp_path / "run" / "skipped.json").read_text())["train"]["images"] == left_out
    monkeypatch.chdir(spoilt)
    run(*given(training, dataset="folder:../spoilt"), "--skip_corrupt")


def test_skip_corrupt_counts_what_it_leaves_out_and_goes_on(home, trained, training, spoilt, tmp_path, capsys):
    dataset = f"--dataset=folder:{spoilt}"
    run(*given(training, dataset=f"folder:{spoilt}"), "--skip_corrupt")
    assert "left out 2 corrupt images" in (said := capsys.readouterr().err)
    assert "(train: 1 cut short; validation: 1 cut short)" in said
    assert "train 5 images, left out 1 cut short\n" in (tmp_path / "run" / "data.txt").read_text()
    report = json.loads((tmp_path / "run" / "skipped.json").read_text())
    culprit = {f"{spoilt}/train/bee/1.jpg": "cut short"}
    assert report["train"] == {"corrupt": {"cut short": 1}, "not_read": {}, "images": culprit}
    run("--mode=eval", f"--model_dir={home}/trained", dataset, "--skip_corrupt", "--json")
    said = capsys.readouterr()
    scores = json.loads(said.out)
    assert (scores["count"], scores["skipped"]) == (5, {"corrupt": {"cut short": 1}, "not_read": {}})
    assert "left out 1 corrupt images" in said.err
    words = ("--mode=export", f"--model_dir={home}/trained", dataset, "--skip_corrupt", "--formats=savedmodel")
    run(*words, f"--output={tmp_path}/export")
    assert json.loads((tmp_path / "export" / "card.json").read_text())["accuracy"]["count"] == 5
    assert "left out 1 corrupt images" in capsys.readouterr().err


def imagenet_records(root, pictures, picture="1.jpg"):
    """Pictures of a class folder as one record file a split, one picture of each class."""
    import tensorflow as tf

    for split, folder in (("train", "train"), ("validation", "val")):
        with tf.io.TFRecordWriter(str(root / f"{split}-00000-of-00001")) as writer:
            for label, name in enumerate(CLASSES, start=1):
                image = tf.train.BytesList(value=[(pictures / folder / name / picture).read_bytes()])
                features = {
                    "image/encoded": tf.train.Feature(bytes_list=image),
                    "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
    (root / "labels.txt").write_text("".join(f"{name}\n" for name in CLASSES))


@pytest.mark.parametrize("mode", ["train", "eval", "export"])
def test_a_corrupt_picture_met_on_the_way_is_named(mode, home, trained, training, spoilt, tmp_path, monkeypatch):
    from autonl_tf.data import datasets

    # As for a set too large to be checked before it is used.
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", 0)
    imagenet_records(tmp_path, spoilt)
    data = {"dataset": f"imagenet_tfrecord:{tmp_path}", "label_file": tmp_path / "labels.txt"}
    split = "train" if mode == "train" else "validation"
    if mode != "train":
        training = [f"--mode={mode}", f"--model_dir={home}/trained", f"--output={tmp_path}/export"]
    with pytest.raises(UserError, match=rf"corrupt image .*{split}-00000-of-00001#1: cut short .*--skip_corrupt"):
        run(*given(training, **data))
    assert not (tmp_path / "export").exists()
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_a_run_on_records_without_names_can_be_named_later(home, training, tmp_path, capsys):
    imagenet_records(tmp_path, home / "pictures", picture="0.jpg")
    run(*given(training, dataset=f"imagenet_tfrecord:{tmp_path}", train_batch_size=3))
    (tmp_path / "names.txt").write_text("".join(f"n{label:04}\n" for label in range(1000)))
    capsys.readouterr()
    picture = home / "pictures" / "val" / "ant" / "0.jpg"
    run("--mode=predict", f"--model_dir={tmp_path}/run", f"--images={picture}", f"--label_file={tmp_path}/names.txt")
    assert len(re.findall(r"\bn0\d{3} ", capsys.readouterr().out)) == 5


class Broken:
    """A data set with one bad image, which is looked for."""

    name = "records"

    def find_bad(self, split):
        return "corrupt image records-00000-of-00001#1: cut short"


def test_a_record_file_of_another_length_is_looked_for_and_named():
    import tensorflow as tf

    from autonl_tf.prepare.inputs import naming_corrupt

    with pytest.raises(UserError, match="corrupt image records-00000"), naming_corrupt(Broken(), "train"):
        list(tf.data.Dataset.range(3).apply(tf.data.experimental.assert_cardinality(4)))


def test_what_xla_cannot_compile_is_no_corrupt_image():
    import tensorflow as tf

    from autonl_tf.prepare.inputs import naming_corrupt

    @tf.function(jit_compile=True)
    def step():
        return tf.random.stateless_gamma([2], [1, 2], 0.5)

    with pytest.raises(tf.errors.InvalidArgumentError, match="compile"), naming_corrupt(Broken(), "train"):
        step()


def test_a_lost_data_service_is_named():
    import tensorflow as tf

    from autonl_tf.prepare.inputs import naming_corrupt

    lost = tf.errors.UnavailableError(None, None, "failed to connect\nto all addresses")
    with (
        pytest.raises(UserError, match=r"--data_service=grpc://a:1: lost: failed to connect; start it again"),
        naming_corrupt(Broken(), "train", data_service="grpc://a:1"),
    ):
        raise lost
    with pytest.raises(tf.errors.UnavailableError), naming_corrupt(Broken(), "train"):
        raise lost


def test_a_class_folder_whose_name_is_not_text_is_refused(training, tmp_path, refused):
    root = class_folder(tmp_path / "odd", {"train": 1, "val": 1}, classes=["ant", "b\udcff"])
    refused(given(training, dataset=f"folder:{root}"), r"name of the class folder 'b\\udcff' is not UTF-8")


@pytest.mark.parametrize("words", FITTING)
def test_a_class_the_label_file_does_not_name_is_refused(words, request, tmp_path, refused):
    words = request.getfixturevalue(words)
    (tmp_path / "labels.txt").write_text("ant\nbee\ndog\n")
    refused(given(words, label_file=tmp_path / "labels.txt"), r"class 'cat' is not in label file .*labels\.txt")
    refused(given(words, label_file=tmp_path / "none.txt"), r"label file .*none\.txt: No such file")


@pytest.mark.parametrize("words", FITTING)
def test_another_number_of_classes_than_the_datas_is_refused(words, request, refused):
    refused(given(request.getfixturevalue(words), num_label_classes=4), r"--num_label_classes=4: .* has 3 classes")


@pytest.mark.parametrize("words", FITTING)
def test_a_picture_that_leaves_no_crop_is_refused_by_name(words, request, tmp_path, refused):
    root = class_folder(tmp_path / "dots", {"train": 2, "val": 1})
    Image.new("RGB", (1, 5)).save(root / "train" / "cat" / "0.jpg")
    refused(given(request.getfixturevalue(words), dataset=f"folder:{root}"), r"/train/cat/0\.jpg: too small")


def test_a_line_feed_in_a_pictures_name_makes_no_second_line(home, trained, tmp_path, capsys):
    shutil.copy(home / "pictures" / "val" / "ant" / "0.jpg", tmp_path / "a\nb.jpg")
    run("--mode=predict", f"--model_dir={home}/trained", f"--images={tmp_path}/*.jpg")
    assert re.fullmatch(r"/.*/a\\nb\.jpg: .*%\n", capsys.readouterr().out)


def test_predicting_a_picture_that_leaves_no_crop_names_it(home, trained, tmp_path, refused):
    Image.new("RGB", (1, 5)).save(tmp_path / "dot.png")
    words = ["--mode=predict", f"--model_dir={home}/trained", f"--images={tmp_path}/dot.png"]
    refused(words, r"/dot\.png: too small to leave a crop")
