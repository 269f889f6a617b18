"""The commands of docs/own_data.md, one after the other, on a folder like CIFAR-10 with the lengths cut."""

import json
import pathlib
import re
import shlex

import numpy as np
import pytest
from mode_cases import class_folder, given, run
from PIL import Image
from sklearn.datasets import load_digits

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "own_data.md"
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHORT = {"train_batch_size": 10, "train_steps": 3, "eval_every_epochs": 100, "input_image_size": 32}


def commands():
    return [shlex.split(line)[2:] for line in re.findall(r"^python main\.py .*$", PAGE.read_text(), re.MULTILINE)]


def test_the_tutorial_runs_from_the_folder_to_the_predictions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    class_folder(tmp_path / "photos", {"train": 2, "val": 1}, classes=CIFAR)
    said = ""
    for words in commands()[:4]:  # the export is below
        if "--mode=train" in words:
            words = given(words, **SHORT)
        run(*words)
        said += capsys.readouterr().err
    shown = re.findall(r"^(?:loaded|new classifier|frozen): .*$", PAGE.read_text(), re.MULTILINE)
    assert shown == [line for line in said.splitlines() if line.startswith(("loaded: ", "new cl", "frozen: "))][:3]
    assert {path.name for path in (tmp_path / "report").iterdir()} >= {"classes.csv", "confusion.csv", "confusion.png"}
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + len(CIFAR)


def scanned_digits(root: pathlib.Path) -> None:
    """Three classes of scikit-learn's scans of handwritten digits: 8 of each to train on, 20 to validate on."""
    digits = load_digits()
    for label in (3, 5, 8):
        for number, pixels in enumerate(digits.images[digits.target == label][:28]):
            folder = root / ("train" if number < 8 else "val") / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray((pixels * (255 / 16)).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)
            image.convert("RGB").save(folder / f"{number}.png")


@pytest.mark.slow
def test_as_printed_and_on_real_images_all_of_the_network_does_not_end_below_the_classifier_alone(
    tmp_path, monkeypatch
):
    """But for the batch of an evaluation: 60 images are no multiple of 128, and what fills the last costs as much."""
    monkeypatch.chdir(tmp_path)
    scanned_digits(tmp_path / "photos")
    for words in commands():
        if words[0] in ("--mode=train", "--mode=export"):  # the others are above
            run(*words, "--eval_batch_size=20")
    records = {
        name: [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("tuned", "tuned2")
    }
    last = {
        name: [record["values"] for record in of if record["phase"] == "validation"][-1]["top1"]
        for name, of in records.items()
    }
    best = {name: json.loads((tmp_path / name / "best" / "best.json").read_text())["metric"] for name in records}
    assert best["tuned"] > 0.5  # a third is chance
    assert best["tuned2"] >= best["tuned"]
    assert last["tuned2"] > last["tuned"] - 0.1
    assert (tmp_path / "export" / "labels.txt").read_text().split() == ["3", "5", "8"]
    card = json.loads((tmp_path / "export" / "card.json").read_text())
    assert all(file["top1"] > best["tuned2"] - 0.05 for file in card["scores"]["files"])


def test_the_page_names_only_parts_that_exist():
    from autonl_tf.arch import blockstring
    from autonl_tf.commands.train.finetune import layers_of
    from autonl_tf.networks.network import build_network

    page = PAGE.read_text()
    (listed,) = re.findall(r"batch-norm statistics included: (.*?)\.\s", page, re.DOTALL)
    parts = re.findall(r"`([^`]+)`", listed)
    (factors,) = re.findall(r"^\| `--lr_multipliers=(\S+)`", page, re.MULTILINE)
    parts += [entry.split(":")[0] for entry in factors.split(",")]
    assert len(parts) > 6
    model = build_network(blockstring.parse("r21_k3_s11_e1_i32_o32_nonlocal0.25-1"), image_size=8, num_classes=2)
    for part in parts:
        assert layers_of(model, part, "the page")
    assert len(commands()) == 5


@pytest.mark.parametrize("words", commands(), ids=lambda words: words[0])
def test_every_flag_of_the_page_exists(words):
    from absl import flags

    from autonl_tf.cli import parsing

    values = flags.FlagValues()
    parsing.define_flags(values)
    assert values(["main.py", *words]) == ["main.py"]
