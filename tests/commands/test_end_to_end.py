"""The main job by command line: search, train, evaluate, predict and export on a class folder."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
from mode_cases import CLASSES, MAIN, class_folder, command, configure, run, tree, write_space

from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import network_cost
from autonl_tf.arch.spec import Normalization
from autonl_tf.commands.eval import run as eval
from autonl_tf.commands.predict import run as predict
from autonl_tf.commands.train import run as train
from autonl_tf.data.batches import predict_batches
from autonl_tf.engine.runlog import standard_error
from autonl_tf.prepare import checkpointed
from autonl_tf.space import space

SIZE, STEPS = 32, 4
SHORT = ("--input_image_size=32", "--train_batch_size=6", "--eval_batch_size=5", "--steps_per_loop=2")


class Story:
    """What the commands were given, wrote and said."""

    def __init__(self, root):
        self.root = root
        self.data = class_folder(root / "my pictures", {"train": 4, "val": 3})
        self.space = write_space(root / "space.json")
        self.said = {}
        self.dataset = f"--dataset=folder:{self.data}"
        self.train_words = (
            *("--mode=train", f"--arch={root}/search/arch.txt", f"--model_dir={root}/train", self.dataset, *SHORT),
            *(f"--train_steps={STEPS}", "--save_every_steps=2", "--eval_every_epochs=1"),
        )

    def run(self, name, *words):
        """In a process of its own."""
        done = command(*words, cwd=self.root)
        assert done.returncode == 0, done.stderr
        self.said[name] = done

    def run_here(self, name, *words):
        """In this process, whose TensorFlow has started already."""
        said = types.SimpleNamespace(stdout=io.StringIO(), stderr=io.StringIO())
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            patch.setattr(sys, "argv", [str(MAIN)])
            with contextlib.redirect_stdout(said.stdout), contextlib.redirect_stderr(said.stderr):
                run(*words)
        self.said[name] = types.SimpleNamespace(stdout=said.stdout.getvalue(), stderr=said.stderr.getvalue())

    def metrics(self):
        lines = (self.root / "train" / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    told = Story(tmp_path_factory.mktemp("story"))
    root = told.root
    told.run_here(
        "search",
        *("--mode=search", f"--search_space={told.space}", "--model_dir=search", told.dataset, *SHORT),
        *("--train_steps=8", "--cost_lambda=0.05"),
    )
    told.run_here("train", *told.train_words)
    told.uninterrupted = told.metrics()
    # As a kill after step 2 would have left it.
    for path in (root / "train" / "checkpoints").glob(f"ckpt-{STEPS}.*"):
        path.unlink()
    told.run("again", *told.train_words)
    model = "--model_dir=train"
    told.run_here("eval", "--mode=eval", model, told.dataset, "--eval_batch_size=4", "--json")
    told.run_here("predict", "--mode=predict", model, "--images=my pictures/val/*/*.jpg", "--output=out.npz")
    told.run_here("export", "--mode=export", model, told.dataset, "--output=export")
    return told


def test_light_nl_and_squeeze_excite_start_at_the_start_margin(story):
    first = json.loads((story.root / "search" / "metrics.jsonl").read_text().splitlines()[0])["values"]
    margins = {name: value for name, value in first.items() if name.startswith("gate/")}
    assert len(margins) > 4
    for name, margin in margins.items():
        adds = name.endswith("/nl") or "/se" in name
        assert (margin == pytest.approx(0.02, abs=1e-3)) if adds else margin > 0.1, name


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 2000


def next_commands(said):
    """The flags of every command that a closing summary offers, as bash reads them; each begins as this program was
    started."""
    _, _, text = said.partition("next:\n")
    assert text
    lines = []
    for line in text.splitlines():
        printed = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True)
        program, main, *words = printed.stdout.split("\0")[:-1]
        assert os.path.samefile(shutil.which(program), sys.executable) and main == str(MAIN)
        lines.append(words)
    return lines


def test_search_writes_an_architecture_that_reads_back_and_facts_that_agree_with_it(story):
    found = story.root / "search"
    spec = blockstring.parse((found / "arch.txt").read_text())
    facts = json.loads((found / "search.json").read_text())
    costs = network_cost(spec, image_size=SIZE, num_classes=len(CLASSES))
    assert facts["arch"] == blockstring.write(spec).splitlines()
    assert (facts["macs"], facts["macs_exact"], facts["params"]) == (
        costs.total.macs,
        costs.total.macs_exact,
        costs.total.params,
    )
    assert [row["macs"] for row in facts["blocks"]] == [row.cost.macs for row in costs.rows]
    searched = space.load(str(story.space))
    assert searched.contains(spec)
    largest = network_cost(searched.largest(), image_size=SIZE, num_classes=len(CLASSES)).total.macs
    assert facts["smallest_macs"] <= facts["macs"] <= facts["largest_macs"] == largest
    assert facts["phases"] == {"warmup_end": 5, "settle_start": 7, "total_steps": 8}
    assert [point["step"] for point in facts["trajectory"]] == [2, 4, 6, 7, 8]
    assert [point["cost_lambda"] for point in facts["trajectory"]] == pytest.approx([0, 0, 0.025, 0.05, 0.05])
    assert facts["settings"]["cost_lambda"] == 0.05
    assert {gate["open"] for gate in facts["gates"]} <= {True, False}
    assert is_png(found / "network.png") and is_png(found / "search.png")


def test_a_run_directory_says_what_it_is(story):
    for name in ("search", "train"):
        directory = story.root / name
        config = json.loads((directory / "config.json").read_text())
        assert config["settings"]["mode"] == name
        assert config["settings"]["train_batch_size"] == 6
        assert config["versions"]["tensorflow"]
        assert (directory / "labels.txt").read_text().split() == list(CLASSES)
        assert any((directory / "tensorboard").iterdir())
    assert (story.root / "train" / "arch.txt").read_text() == (story.root / "search" / "arch.txt").read_text()
    assert is_png(story.root / "train" / "training.png")


@pytest.mark.parametrize("name", ["search", "train"])
def test_the_closing_summary_offers_commands_that_are_accepted(story, name):
    for words in next_commands(story.said[name].stdout):
        config = configure(*words)
        assert config.dataset == f"folder:{story.data}"
        assert config.train_batch_size == (6 if config.mode == "train" else None)
        assert config.train_epochs is None and config.train_steps is None
        read = config.arch if name == "search" else config.model_dir
        assert (story.root / read).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("splits", "more"),
    [
        ({"train": 4, "val": 3}, ["--base_learning_rate=0.02", "--crop_padding=0"]),
        ({"": 12}, ["--validation_fraction=0.3", "--input_image_size=40", "--skip_corrupt"]),
    ],
    ids=["with splits", "without"],
)
def test_every_command_that_is_printed_works_as_it_stands(splits, more, tmp_path, monkeypatch, capsys):
    """From a search to an export by pasting, in directories with blanks. Trainings are cut short; nothing else is
    changed. The commands that the second training prints are those of the first but for its directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(MAIN)])
    class_folder(tmp_path / "my photos", splits)
    write_space(tmp_path / "space.json")
    search = ["--mode=search", "--search_space=space.json", "--dataset=folder:my photos", "--train_batch_size=6"]
    waiting, pasted, offered = [[*search, *more, "--model_dir=my runs/search", "--train_steps=8"]], [], []
    while waiting:
        words = waiting.pop(0)
        pasted.append(words[0].removeprefix("--mode="))
        run(*words, *(["--train_steps=2"] if pasted[-1] == "train" else []))
        said, directory = capsys.readouterr().out, configure(*words).model_dir
        for printed in next_commands(said) if "next:" in said else []:
            offered.append([word.replace(directory, "DIRECTORY") for word in printed])
            waiting += [] if offered[-1] in offered[:-1] else [printed]
    assert (tmp_path / "my runs" / "search_train_export" / "model_fp32.tflite").is_file()
    assert pasted == ["search", "train", "train", "eval", "export"]
    assert [words[0].removeprefix("--mode=") for words in offered] == [*pasted[1:], "eval", "export"]
    assert all("DIRECTORY" in " ".join(words) for words in offered)


def test_an_interrupted_run_ends_as_if_it_had_not_been(story):
    assert "resumed at step 2" in story.said["again"].stderr
    assert [(r["phase"], r["step"]) for r in story.metrics()] == [
        *(("train", 2), ("validation", 2), ("train", 4), ("validation", 4)),
    ]
    for now, before in zip(story.metrics(), story.uninterrupted, strict=True):
        assert now["values"] == pytest.approx(before["values"], rel=1e-6)
    saved = sorted(path.name for path in (story.root / "train" / "checkpoints").glob("*.index"))
    assert saved == ["ckpt-2.index", "ckpt-4.index"]


def test_a_finished_run_started_again_changes_no_result(story, capsys):
    directory = story.root / "train"
    kept = [directory / "checkpoints", directory / "best"]
    before, metrics = tree(*kept), (directory / "metrics.jsonl").read_bytes()
    train.run(configure(*story.train_words))
    assert tree(*kept) == before
    assert (directory / "metrics.jsonl").read_bytes() == metrics
    assert f"trained to step {STEPS}" in capsys.readouterr().out


def test_evaluation_counts_every_image_once_and_repeats_the_best_validation(story):
    scores = json.loads(story.said["eval"].stdout)
    best = json.loads((story.root / "train" / "best" / "best.json").read_text())
    validation = {r["step"]: r["values"] for r in story.metrics() if r["phase"] == "validation"}
    assert scores["count"] == 9
    assert scores["averages"] is True
    assert scores["step"] == best["step"]
    assert scores["top1"] == pytest.approx(best["metric"])
    assert "top5" not in scores  # of three classes it would say nothing
    assert scores["loss"] == pytest.approx(validation[best["step"]]["loss"], rel=1e-4)


def test_evaluation_as_text_says_the_same(story, capsys):
    scores = json.loads(story.said["eval"].stdout)
    eval.run(configure("--mode=eval", f"--model_dir={story.root}/train", story.dataset))
    text = capsys.readouterr().out
    top1 = f"{scores['top1']:.2%} +- {100 * standard_error(scores['top1'], 9):.2f}"
    assert text == f"top-1 {top1}, loss {scores['loss']:.4g}, 9 images of folder:{story.data}\n"


def test_predictions_are_the_networks_logits(story, capsys):
    files = sorted(str(path.relative_to(story.root)) for path in (story.data / "val").glob("*/*.jpg"))
    with np.load(story.root / "out.npz") as written:
        assert list(written["files"]) == files
        logits = written["logits"]
    assert logits.dtype == np.float32 and logits.shape == (9, 3)
    network = checkpointed.load(configure("--mode=predict", f"--model_dir={story.root}/train", "--images=any"))
    paths = [str(story.root / name) for name in files]
    pixels = {"image_size": SIZE, "crop_padding": network.crop_padding, "normalization": Normalization()}
    ((images, _),) = predict_batches(paths, batch_size=9, **pixels)
    np.testing.assert_allclose(logits, network.model(images, training=False), rtol=1e-4, atol=1e-5)
    assert story.said["predict"].stdout == "written: out.npz, 9 images\n"
    predict.run(configure("--mode=predict", f"--model_dir={story.root}/train", f"--images={story.data}/val/*/*.jpg"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    for line, file, scores in zip(lines, paths, logits, strict=True):
        assert line.startswith(f"{file}: {CLASSES[int(scores.argmax())]} ")


def test_the_export_holds_every_file_and_a_card_of_the_evaluated_accuracy(story):
    directory = story.root / "export"
    card = json.loads((directory / "card.json").read_text())
    for name in ("saved_model/1/saved_model.pb", "model_fp32.tflite", "labels.txt", "card.md", *card["files"]):
        assert (directory / name).is_file(), name
    scores = json.loads(story.said["eval"].stdout)
    assert card["accuracy"]["top1"] == pytest.approx(scores["top1"])
    assert card["accuracy"]["count"] == 9
    assert card["architecture"]["blocks"] == (story.root / "train" / "arch.txt").read_text().splitlines()
    assert card["weights"]["step"] == scores["step"]
    assert all(agreement["top1_agreement"] == 1.0 for agreement in card["verification"]["agreements"])
    said = story.said["export"].stdout
    assert "export/saved_model, model_fp32.tflite" in said and f"top-1 {scores['top1']:.2%}" in said


def test_nothing_was_written_elsewhere(story):
    made = {path.name for path in story.root.iterdir()}
    assert made == {"my pictures", "space.json", "search", "train", "out.npz", "export"}


def test_what_a_training_needs_survives_a_move(story, tmp_path, capsys):
    shutil.copytree(story.root / "train", tmp_path / "moved")
    eval.run(configure("--mode=eval", f"--model_dir={tmp_path}/moved", story.dataset, "--json"))
    moved = json.loads(capsys.readouterr().out)
    scores = json.loads(story.said["eval"].stdout)
    assert moved["top1"] == scores["top1"] and moved["prefix"].startswith(str(tmp_path / "moved"))
