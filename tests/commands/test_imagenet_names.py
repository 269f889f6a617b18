"""A network whose classes are ImageNet's synsets: their names are in what is shown, and data of synsets matches it."""

import csv
import json

import numpy as np
import pytest
from mode_cases import SHORT, class_folder, run

import autonl_tf
from autonl_tf.data import imagenet
from autonl_tf.errors import UserError

SOME = ("n01440764", "n02123045", "n15075141")
TITLES = ["n01440764 tench", "n02123045 tabby", "n15075141 toilet tissue"]


@pytest.fixture(scope="module")
def known(home, tmp_path_factory):
    """A run directory of 1000 classes trained on a folder of three of them, with the label file `imagenet`."""
    root = tmp_path_factory.mktemp("known")
    class_folder(root / "pictures", {"train": 2, "val": 1}, classes=SOME)
    data = (f"--dataset=folder:{root}/pictures", "--label_file=imagenet")
    run("--mode=train", f"--arch={home}/arch.txt", *data, *SHORT, f"--model_dir={root}/run")
    return root


def test_the_run_holds_the_synsets(known):
    assert json.loads((known / "run" / "model.json").read_text())["class_names"] == list(imagenet.synsets())


def test_predictions_are_named(known, tmp_path, capsys):
    words = ("--mode=predict", f"--model_dir={known}/run", f"--images={known}/pictures/val")
    capsys.readouterr()
    run(*words, "--json", f"--output={tmp_path}/p.csv")
    best = [json.loads(line)["best"] for line in capsys.readouterr().out.splitlines()]
    titles = {imagenet.titled(synset) for synset in imagenet.synsets()}
    assert len(best) == 3 and all(len(row) == 5 and {name for name, _ in row} <= titles for row in best)
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[1] for row in rows] == [row[0][0] for row in best]
    run(*words, "--label_file=imagenet")
    assert best[0][0][0] in capsys.readouterr().out.splitlines()[0]


def test_a_folder_of_some_synsets_is_evaluated_by_imagenets_labels(known, tmp_path, capsys):
    words = ("--mode=eval", f"--model_dir={known}/run", f"--dataset=folder:{known}/pictures")
    with pytest.raises(UserError, match=r"has 1000 classes, .* has 3; --label_file=imagenet gives"):
        run(*words)
    run(*words, "--label_file=imagenet", f"--output={tmp_path}/report")
    with open(tmp_path / "report" / "classes.csv", newline="") as file:
        seen = [row["class"] for row in csv.DictReader(file) if row["images"] == "1"]
    assert sorted(seen) == TITLES


def test_an_export_names_its_classes_and_they_read_back_as_synsets(known, tmp_path):
    data = (f"--dataset=folder:{known}/pictures", "--label_file=imagenet")
    out = f"--output={tmp_path}/out"
    run("--mode=export", f"--model_dir={known}/run", *data, out, "--formats=savedmodel")
    lines = (tmp_path / "out" / "labels.txt").read_text().splitlines()
    assert [lines[0], lines[281], lines[999]] == TITLES
    run("--mode=eval", f"--model_dir={known}/run", data[0], f"--label_file={tmp_path}/out/labels.txt")
    run("--mode=eval", f"--init_checkpoint={tmp_path}/out", *data)
    scores = np.eye(1000)[[281]]
    for directory in (known / "run", tmp_path / "out"):
        assert autonl_tf.decode_predictions(scores, 1, directory) == [[(281, "n02123045 tabby", 1.0)]]
