from __future__ import annotations

import io
import os
import unicodedata

import pytest
from dataset_cases import listing, two_classes
from mode_cases import configure
from PIL import Image

from autonl_tf.data import facts, folder, images
from autonl_tf.data.calibration import open_calibration
from autonl_tf.data.datasets import open_dataset
from autonl_tf.errors import UserError
from autonl_tf.settings import agreement
from autonl_tf.settings.files import matching


def _product(tops, classes):
    """{TOP/CLASS/1.jpg: None} for every top and class."""
    return {f"{top}/{name}/1.jpg": None for top in tops for name in classes}


def test_train_and_val_folders_are_the_splits_with_sorted_classes(make_folder):
    files = ["train/bee/1.jpg", "train/Ant nest/a b.JPEG", "train/ünïcode/ä.png", "val/bee/2.jpeg"]
    dataset = open_dataset("folder:" + make_folder(dict.fromkeys(files), "with space ü"))
    assert dataset.class_names == ("Ant nest", "bee", "ünïcode")
    assert dataset.num_classes == 3 and dataset.image_size is None
    assert listing(dataset, "train") == [("Ant nest/a b.JPEG", 0), ("bee/1.jpg", 1), ("ünïcode/ä.png", 2)]
    assert listing(dataset, "validation") == [("bee/2.jpeg", 1)]
    for example in dataset.examples("train"):
        assert images.decode(example["image"]).shape == (40, 56, 3)


def picture(width, height, format="PNG"):
    data = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 90)).save(data, format)
    return data.getvalue()


def test_a_folder_of_squares_of_one_size_has_that_size(make_folder):
    files = {f"{split}/{name}/{n}.png": picture(32, 32) for split in ("train", "val") for name in "ab" for n in (0, 1)}
    root = make_folder(files | {"train/a/2.jpg": picture(32, 32, "JPEG"), "val/a/bad.png": b"no image"})
    set_, _ = facts.known(f"folder:{root}")
    assert set_.image_size == open_dataset(f"folder:{root}").image_size == 32
    for other in ((32, 31), (31, 31)):
        root = make_folder({"val/b/2.png": picture(*other)})
        assert folder.list_folder(root).image_size is None


def test_images_are_made_smaller_to_the_networks_size_and_never_larger():
    def size(images, mode="train", space="around:efficientnet_lite1"):
        words = ["--arch=autonl_s"] if mode == "train" else [f"--search_space={space}"]
        config = configure(f"--mode={mode}", "--dataset=demo", "--model_dir=run", *words)
        return agreement.image_size(config, facts.Facts("a set", ("a", "b"), images, ()), None)

    assert [size(images) for images in (32, 224, 512, None)] == [32, 224, 224, 224]
    assert [size(images, "search") for images in (64, 512, None)] == [64, 240, 240]
    # LightNL of stride 2 does not fit the last maps at 28 and 32 px.
    assert [size(images, "search", "paper") for images in (28, 32, 64)] == [56, 64, 64]


@pytest.mark.parametrize(
    ("kind", "names"),
    {
        "train": "train Train TRAIN training Training trn train_set training-images TrainingData train2017 seg_train "
        "asl_alphabet_train trainval traindata X_train",
        "validation": "val Val valid validation Validation dev devel evaluation holdout val_images my_valid valset",
        "test": "test Test testing TESTING tst test_set x_test testdata",
        None: "ant trainer contest testament valley device evaluate_this train_test test_tubes val-d'or été 2019",
    }.items(),
)
def test_a_split_is_known_by_its_usual_names(kind, names):
    assert {name: folder.split_kind(name) for name in names.split()} == dict.fromkeys(names.split(), kind)


@pytest.mark.parametrize(("first", "second"), [("Training", "Testing"), ("seg_train/seg_train", "seg_dev/seg_dev")])
def test_folders_of_such_names_are_the_splits(make_folder, first, second):
    files = [f"{first}/ant/1.jpg", f"{first}/bee/1.jpg", f"{second}/ant/2.jpg"]
    dataset = open_dataset("folder:" + make_folder(dict.fromkeys(files)))
    assert dataset.class_names == ("ant", "bee")
    assert listing(dataset, "train") == [("ant/1.jpg", 0), ("bee/1.jpg", 1)]
    assert listing(dataset, "validation") == [("ant/2.jpg", 0)]


def test_images_to_score_that_are_files_to_train_on_are_told(make_folder, encode, caplog):
    names = ("ant/0.jpg", "ant/1.jpg", "bee/0.jpg", "bee/1.jpg")
    files = {f"{split}/{name}": encode(number) for split in ("train", "val") for number, name in enumerate(names)}
    files["val/bee/1.jpg"] = bytes(reversed(files["train/bee/1.jpg"]))  # of the same size
    folder = make_folder(files)
    open_dataset(f"folder:{folder}")
    assert f"3 of 4 validation images are also training images ({folder}/val/ant/0.jpg first)" in caplog.text
    caplog.clear()
    open_dataset("folder:" + make_folder({name: files[name] for name in files if "0.jpg" in name}, "bare"))
    assert "2 of 2 validation" in caplog.text
    caplog.clear()
    open_dataset("folder:" + make_folder(dict.fromkeys(files), "other"))
    assert "training images" not in caplog.text
    image = encode(0)
    inner = {"train/ant/x/0.jpg": image, "train/ant/y/0.jpg": bytes(reversed(image)), "train/bee/1.jpg": encode(1)}
    open_dataset("folder:" + make_folder(inner | {"val/ant/0.jpg": image}, "inner"))
    assert "1 of 1 validation images are also training images" in caplog.text


def test_validation_and_test_are_splits_of_their_own(make_folder, caplog):
    files = [f"{split}/{name}/{split}.jpg" for split in ("Train", "Valid", "test") for name in ("ant", "bee")]
    with caplog.at_level("INFO", logger="autonl_tf"):
        dataset = open_dataset("folder:" + make_folder(dict.fromkeys([*files, "loose.jpg", "notes/a.txt"])))
    assert [name for name, _ in listing(dataset, "validation")] == ["ant/Valid.jpg", "bee/Valid.jpg"]
    assert [name for name, _ in listing(dataset, "test")] == ["ant/test.jpg", "bee/test.jpg"]
    assert "Train/ for train, Valid/ for validation, test/ for test; not used: notes/, loose.jpg" in caplog.text
    assert "2 classes (ant, bee), 2 images to train on, 2 to validate on, 2 to test on" in caplog.text


def test_what_systems_put_among_images_is_no_class_and_no_image(make_folder):
    files = ["ant/1.jpg", "bee/1.jpg", "ant/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "$RECYCLE.BIN/S-1-5/2.jpg"]
    files += [
        f"{name}/3.jpg" for name in ("__MACOSX", "lost+found", "System Volume Information", "@eaDir", "found.000")
    ]
    files += [".git/4.jpg", ".ipynb_checkpoints/5.jpg", "ant/._1.jpg", "Thumbs.db/6.jpg"]
    root = make_folder(dict.fromkeys(files))
    dataset = open_dataset("folder:" + root, validation_fraction=0)
    assert listing(dataset, "train") == [("ant/1.jpg", 0), ("bee/1.jpg", 1)]
    assert len(open_calibration("folder:" + root)) == len(matching(root)) == 2


def test_files_that_are_not_named_as_images_are_told_and_named(make_folder, caplog):
    others = {"ant": ["2.jpg_100w"], "bee": [f"{number}.xml" for number in range(9)]}
    files = [f"{name}/{file}" for name, files in others.items() for file in ["1.jpg", *files]]
    folder = make_folder(dict.fromkeys(files))
    open_dataset(f"folder:{folder}", validation_fraction=0)
    assert f"{folder}/ant: a file left out, not named as images (2.jpg_100w)" in caplog.text
    assert f"{folder}/bee: 9 files left out, not named as images (0.xml, 1.xml, 2.xml, " in caplog.text


def test_a_glob_of_directories_alone_is_told_as_one(make_folder):
    folder = make_folder(dict.fromkeys(["ant/1.jpg", "bee/1.jpg"]))
    with pytest.raises(UserError, match=r"\*: no file, only directories \(.*/ant first\); accepted: .* or a glob$"):
        matching(f"{folder}/*")


def test_one_class_more_than_are_named_is_named_too(make_folder, caplog):
    folder = make_folder(dict.fromkeys(f"{name}/1.jpg" for name in "abcdef"))
    with caplog.at_level("INFO", logger="autonl_tf"):
        open_dataset(f"folder:{folder}", validation_fraction=0)
    assert "6 classes (a, b, c, d, e, f), " in caplog.text


def test_spellings_of_one_visible_name_are_one_class(make_folder):
    composed, decomposed = (unicodedata.normalize(form, "käfer") for form in ("NFC", "NFD"))
    files = [f"train/{decomposed}/1.jpg", f"train/{composed}/2.jpg", "train/ant/3.jpg", f"val/{composed}/4.jpg"]
    root = make_folder(dict.fromkeys([*files, "train/ant /5.jpg", "train/red ant/6.jpg", "val/red\xa0ant/7.jpg"]))
    dataset = open_dataset("folder:" + root)
    assert dataset.class_names == ("ant", composed, "red ant")
    assert [label for _, label in listing(dataset, "train")] == [0, 0, 1, 1, 2]
    assert [label for _, label in listing(dataset, "validation")] == [1, 2]


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
        # One image of each class is left to train on.
        assert {label for _, label in listing(dataset, "train")} == {0, 1} and dataset.size("validation") == 1
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
        ({"train/Ant/1.jpg": None, "train/bee/1.jpg": None, "val/ant/1.jpg": None}, r"'ant' .* \(it has 'Ant'\)"),
        (
            {"train/ant/1.jpg": None, "train/bee/1.txt": b"", "val/ant/1.jpg": None, "val/bee/1.jpg": None},
            "class folder 'bee' has no images in the training split",
        ),
        (_product(["2019", "2020"], ["ant", "bee"]), "2019/, 2020/ all hold ant/, bee/: these look like the classes"),
        ({**_product("xyz", ["ant", "bee"]), "w/1.jpg": None}, "x/, y/, z/ all hold ant/, bee/: these look like"),
        (_product(["amazon/images", "dslr/images"], ["ant", "bee"]), "amazon/, dslr/ all hold ant/, bee/: these look"),
        (_product(["train", "val"], ["Images", "masks"]), "Images/, masks/ look like the images and the annotations"),
        ({"train/1.jpg": None, "Test/1.jpg": None}, "Test/, train/ are splits without class folders"),
        (_product(["ant", "bee"], ["test", "train"]), "the splits are within the classes"),
        (_product(["train", "Training", "val"], ["ant", "bee"]), "Training/, train/ are all for train"),
        ({**_product(["pets"], ["ant", "bee"])}, r"only one class, 'pets'.*; give folder:.*/pets if"),
        ({**_product(["train"], ["steam", "diesel"]), "bus/1.jpg": None}, "train/ holds folders, as a split does, and"),
        ({"1.jpg": None, "2.jpg": None}, "no images in class folders; .* holds images, 1.jpg first"),
        ({"ant\nbee/1.jpg": None, "cat/1.jpg": None}, r"class 'ant\\nbee': holds the character U\+000A"),
        ({"\x1b[31mant/1.jpg": None, "cat/1.jpg": None}, r"holds the character U\+001B"),
        ({"tac\u202e/1.jpg": None, "cat/1.jpg": None}, r"holds the character U\+202E"),
        ({" /1.jpg": None, "cat/1.jpg": None}, "the name has no visible character"),
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
    assert repr(name) in str(error.value) and facts.ACCEPTED in str(error.value)


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


def test_one_directory_is_not_two_classes_nor_two_splits(make_folder):
    root = make_folder(dict.fromkeys(["ant/1.jpg", "bee/1.jpg"]))
    os.symlink("../bee", f"{root}/ant/more")
    with pytest.raises(UserError, match=r"/bee and .*/ant are one directory|/ant/more and .*/bee are one directory"):
        open_dataset("folder:" + root)
    split = make_folder(_product(["train"], ["ant", "bee"]), "split")
    os.symlink("train", f"{split}/val")
    with pytest.raises(UserError, match=r"train/ant are one directory"):
        open_dataset("folder:" + split)


def test_a_link_to_the_root_adds_nothing_and_one_to_nothing_is_refused(make_folder):
    root = make_folder(dict.fromkeys(["ant/1.jpg", "bee/1.jpg"]))
    os.symlink("..", f"{root}/ant/back")
    assert len(listing(open_dataset("folder:" + root, validation_fraction=0), "train")) == 2
    os.symlink("/not/mounted", f"{root}/cat")
    with pytest.raises(UserError, match=r"/cat: a link to nothing \(/not/mounted\)"):
        open_dataset("folder:" + root)


def test_what_may_be_meant_otherwise_is_told(make_folder, caplog):
    files = ["train/Ant/1.jpg", "train/ant/1.jpg", "train/bee/small/1.jpg", "val/Ant/1.jpg"]
    with caplog.at_level("INFO", logger="autonl_tf"):
        open_dataset("folder:" + make_folder(dict.fromkeys(files)))
    assert "'Ant' and 'ant' are two classes: their names differ in case" in caplog.text
    assert "no image to validate on of ant, bee" in caplog.text


def test_nested_folders_belong_to_their_class(make_folder):
    files = ["animals/cat/1.jpg", "animals/dog/1.jpg", "vehicles/car/1.jpg", "vehicles/bus/1.jpg"]
    dataset = open_dataset("folder:" + make_folder(dict.fromkeys(files)), validation_fraction=0)
    assert dataset.class_names == ("animals", "vehicles") and dataset.size("train") == 4
