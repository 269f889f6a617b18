"""ImageNet's classes by synset and name: the file, as label file, and in what is shown of predictions."""

import subprocess
import sys

import pytest
from dataset_cases import listing

from autonl_tf.data import imagenet
from autonl_tf.data.datasets import open_dataset
from autonl_tf.data.labels import read_label_file
from autonl_tf.errors import UserError


def test_the_classes_are_a_thousand_in_label_order():
    synsets, names = imagenet.synsets(), imagenet.names()
    assert len(set(synsets)) == len(names) == 1000 and list(synsets) == sorted(synsets)
    for label, synset, name in (
        (0, "n01440764", "tench"),
        (134, "n02012849", "crane"),
        (281, "n02123045", "tabby"),
        (517, "n03126707", "crane"),
        (999, "n15075141", "toilet tissue"),
    ):
        assert (synsets[label], names[label]) == (synset, name)


def test_reading_them_needs_no_tensorflow():
    code = "import sys; from autonl_tf.data import imagenet; imagenet.names(); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_class_is_titled_by_its_synset_alone():
    assert imagenet.titled("n02123045") == "n02123045 tabby"
    assert imagenet.untitled("n02123045 tabby") == "n02123045"
    for other in ("tabby", "n02123045 tabby", "n99999999", ""):
        assert imagenet.titled(other) == other
    for other in ("tabby", "n02123045", "n02123045 lion", "n99999999 x", ""):
        assert imagenet.untitled(other) == other


def test_the_label_file_imagenet_gives_a_folder_of_some_synsets_their_labels(make_folder):
    root = make_folder({f"{synset}/1.jpg": None for synset in ("n02123045", "n01440764", "n15075141")})
    dataset = open_dataset(f"folder:{root}", label_file="imagenet", validation_fraction=0)
    assert dataset.class_names == imagenet.synsets()
    assert listing(dataset, "train") == [
        ("n01440764/1.jpg", 0),
        ("n02123045/1.jpg", 281),
        ("n15075141/1.jpg", 999),
    ]
    with pytest.raises(UserError, match=r"class 'ant' is not in label file imagenet \(1000 names\)"):
        open_dataset("folder:" + make_folder({f"{name}/1.jpg": None for name in ("ant", "bee")}), label_file="imagenet")


def test_titles_written_as_labels_read_back_as_synsets(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"{line}\n" for line in read_label_file("imagenet").lines))
    assert read_label_file(str(path)).names() == imagenet.synsets()
