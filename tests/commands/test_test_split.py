"""Images that chose nothing: scored once, at the end of training, with the best copy."""

import json
import os
from types import SimpleNamespace

import pytest
from mode_cases import ARCH, class_folder, configure

from autonl_tf.checkpoint.checkpoint import Loaded
from autonl_tf.checkpoint.description import of_run
from autonl_tf.cli import parsing
from autonl_tf.commands.eval.run import run as evaluate
from autonl_tf.commands.export import run as export
from autonl_tf.commands.train import run as train
from autonl_tf.data.datasets import open_dataset
from autonl_tf.errors import UserError
from autonl_tf.prepare import left_out


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("tested")
    class_folder(root / "three", {"train": 4, "val": 3, "test": 2})
    class_folder(root / "two", {"train": 4, "val": 4})
    (root / "arch.txt").write_text(ARCH)
    return root


def run(home, name, pictures, *more):
    words = (
        *("--mode=train", f"--arch={home}/arch.txt", f"--dataset=folder:{home}/{pictures}", "--input_image_size=32"),
        *("--train_batch_size=4", "--eval_batch_size=4", "--train_steps=4", "--steps_per_loop=2", "--strategy=cpu"),
        f"--model_dir={home}/{name}",
    )
    train.run(configure(*words, *more))
    return [json.loads(line) for line in (home / name / "metrics.jsonl").read_text().splitlines()]


def test_a_test_folder_is_scored_once_and_said_to_have_chosen_nothing(home, capsys):
    count = 2 * len(open_dataset(f"folder:{home}/three").class_names)
    for _ in range(2):  # the same command again scores nothing anew
        records = run(home, "three_run", "three")
        said = capsys.readouterr().out
        tests = [record for record in records if record["phase"] == "test"]
        assert [record["step"] for record in tests] == [4]
        assert tests[0]["values"]["count"] == count
        assert f"{count} images that chose nothing" in said and "so it is optimistic" in said
    best = json.loads((home / "three_run" / "best" / "best.json").read_text())
    assert tests[0]["values"]["of_step"] == best["step"]
    card = chosen_for_card(home / "three_run", best["step"], f"{home}/three")
    assert card["test_top1"] == tests[0]["values"]["top1"] and "optimistic" in card["chosen"]
    assert "no others were scored" in chosen_for_card(home / "three_run", 999, f"{home}/three")["chosen"]
    assert chosen_for_card(home / "three_run", best["step"], os.path.relpath(home / "three")) == card
    others = class_folder(home / "others", {"train": 1, "val": 2})
    assert chosen_for_card(home / "three_run", best["step"], others) == {}


def test_images_that_a_run_was_trained_on_are_told_where_they_are_scored(home, capsys):
    words = (
        "--input_image_size=32",
        "--train_batch_size=4",
        "--eval_batch_size=4",
        "--train_steps=2",
        "--eval_every_epochs=0.1",
        "--strategy=cpu",
    )
    flat = f"--dataset=folder:{class_folder(home / 'flat', {'.': 8})}"
    train.run(configure("--mode=train", f"--arch={home}/arch.txt", flat, *words, f"--model_dir={home}/flat_run"))
    for fraction, told in ((0.1, False), (0.6, True)):
        capsys.readouterr()
        evaluate(configure("--mode=eval", f"--model_dir={home}/flat_run", flat, f"--validation_fraction={fraction}"))
        said = capsys.readouterr()
        assert ("images are among those that the run was trained on" in said.out + said.err) is told
        step = json.loads((home / "flat_run" / "best" / "best.json").read_text())["step"]
        card = chosen_for_card(home / "flat_run", step, home / "flat", fraction)
        assert ("trained_on" in card) is told and ("chosen" in card) is not told
    # A tenth of other images in one folder is scored by default, as of those to train on.
    others = class_folder(home / "flat_others", {".": 9})
    for path in sorted(others.rglob("*.jpg")):
        path.rename(path.with_name(f"new_{path.name}"))
    other = f"--dataset=folder:{others}"
    for words, noted in (((flat,), False), ((other,), True), ((other, "--validation_fraction=1"), False)):
        capsys.readouterr()
        evaluate(config_checked("--mode=eval", f"--model_dir={home}/flat_run", *words))
        assert ("images are scored; --validation_fraction=1 scores all" in capsys.readouterr().err) is noted


def config_checked(*words):
    return parsing.checked("check_files", configure(*words))


def chosen_for_card(run, step, folder, fraction=0.1):
    checkpoint = of_run(str(run / "best" / f"ckpt-{step}"))
    loaded = Loaded(str(run / "best" / f"ckpt-{step}"), step, True)
    network = SimpleNamespace(loaded=loaded, checkpoint=checkpoint, run=run)
    dataset = open_dataset(f"folder:{folder}", validation_fraction=fraction)
    return export._how_chosen(network, dataset, left_out.seen_by_run(run, dataset, "validation"))


def test_a_share_of_the_validation_images_is_set_aside_and_the_rest_chooses(home):
    whole = open_dataset(f"folder:{home}/two")
    rest, tested = open_dataset(f"folder:{home}/two").tested(0.25, 0)
    names = [
        [bytes(example["name"].numpy()) for example in part.examples("validation")] for part in (whole, rest, tested)
    ]
    assert sorted(names[1] + names[2]) == sorted(names[0])
    assert len(names[2]) == round(0.25 * len(names[0]))
    assert rest.size("train") == whole.size("train")
    assert whole.tested(None, 0) == (whole, None)


def test_a_share_beside_a_test_folder_is_refused(home):
    with pytest.raises(UserError, match=r"--test_split=0.5: .* has test images of its own"):
        run(home, "both", "three", "--test_split=0.5")
    assert not (home / "both").exists()
