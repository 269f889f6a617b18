"""The commands of docs/own_data.md, one after the other, on a folder like CIFAR-10 with the lengths cut."""

import pathlib
import re
import shlex

import pytest
from mode_cases import ARCH, class_folder, given, run

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "own_data.md"
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHORT = {"train_batch_size": 10, "train_steps": 3, "eval_every_epochs": 100}


def commands():
    return [shlex.split(line)[2:] for line in re.findall(r"^python main\.py .*$", PAGE.read_text(), re.MULTILINE)]


def test_the_tutorial_runs_from_the_folder_to_the_predictions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    class_folder(tmp_path / "photos", {"train": 2, "val": 1}, classes=CIFAR)
    class_folder(tmp_path / "before", {"train": 2, "val": 1})
    (tmp_path / "arch.txt").write_text(ARCH)
    first = ["--mode=train", "--arch=arch.txt", "--dataset=folder:before", "--model_dir=start", "--input_image_size=32"]
    run(*given(first, **SHORT | {"train_batch_size": 3}))
    said = ""
    for words in commands():
        if "--mode=train" in words:
            words = [word for word in given(words, **SHORT) if not word.startswith("--train_epochs")]
        run(*words)
        said += capsys.readouterr().err
    assert [line.split(":")[0] for line in said.splitlines() if "classifier" in line][:2] == [
        "loaded",
        "new classifier",
    ]
    assert re.search(r"frozen: backbone; [\d,]+ of [\d,]+ numbers are trained", said)
    assert {path.name for path in (tmp_path / "report").iterdir()} >= {"classes.csv", "confusion.csv", "confusion.png"}
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + len(CIFAR)
    assert (tmp_path / "export" / "labels.txt").read_text().split() == list(CIFAR)


def test_the_page_names_only_parts_that_exist():
    from autonl_tf.networks.parts import ACCEPTED

    for part in ("stem", "blocks", "head", "backbone", "logits"):
        assert part in ACCEPTED
    assert len(commands()) == 5


@pytest.mark.parametrize("words", commands(), ids=lambda words: words[0])
def test_every_flag_of_the_page_exists(words):
    from absl import flags

    from autonl_tf import config

    values = flags.FlagValues()
    config.define_flags(values)
    assert values(["main.py", *words]) == ["main.py"]
