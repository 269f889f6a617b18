"""Commands that are printed to be pasted begin with the program as it was started and keep the user's flags."""

import os
import shlex
import sys

import pytest
from absl import flags

from autonl_tf.cli import parsing
from autonl_tf.settings import next_commands


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A clone with an interpreter and a console command of its own, from which commands are given."""
    for name in ("python", "python3", "autonl"):
        path = tmp_path / "clone of mine" / ".venv" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        path.chmod(0o755)
    monkeypatch.chdir(tmp_path / "clone of mine")
    monkeypatch.setattr(sys, "executable", str(path.parent / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return path.parent


@pytest.mark.parametrize(
    ("started", "active", "expected"),
    [
        ("main.py", False, ".venv/bin/python main.py"),
        ("main.py", True, "python main.py"),
        ("../clone of mine/main.py", True, "python '../clone of mine/main.py'"),
        (".venv/bin/autonl", False, ".venv/bin/autonl"),
        (".venv/bin/autonl", True, "autonl"),
        ("-c", True, "autonl"),
    ],
)
def test_the_program_is_named_as_its_shell_finds_it(place, monkeypatch, started, active, expected):
    if active:
        monkeypatch.setenv("PATH", f"{place}:/usr/bin")
    monkeypatch.setattr(sys, "argv", [started])
    assert next_commands.program() == expected


def test_elsewhere_the_path_is_written_in_full_and_quoted(place, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "argv", [str(place.parents[1] / "main.py")])
    assert next_commands.program() == shlex.join([f"{place}/python", f"{place.parents[1]}/main.py"])
    assert next_commands.interpreter() == f"{place}/python"
    monkeypatch.chdir(place)
    assert next_commands.interpreter() == os.path.join(".", "python")


def parsed(*words):
    values = flags.FlagValues()
    parsing.define_flags(values)
    assert values(["main.py", *words]) == ["main.py"]
    return parsing.from_flags(values)


def test_what_follows_keeps_the_users_flags_but_those_of_length_or_that_it_does_not_read(monkeypatch):
    search = parsed(
        *("--mode=search", "--dataset=folder:my $photos", "--model_dir=runs/a b", "--search_space=demo", "--seed=3"),
        *("--base_learning_rate=0.05", "--train_steps=600", "--lr_decay_epochs=1.5", "--noexif_orientation"),
        *("--skip_corrupt", "--train_batch_size=64", "--cost_lambda=1", "--micro_batches=4", "--crop_padding=0"),
    )
    text = next_commands.next_command(
        search, "train", "--arch=runs/a b/arch.txt", "--model_dir=runs/a b_train", without=next_commands.LENGTHS
    )
    words = shlex.split(text.removeprefix(next_commands.program()))
    assert words[:3] == ["--mode=train", "--arch=runs/a b/arch.txt", "--model_dir=runs/a b_train"]
    train = parsed(*words)
    assert {name for name in train.given if name not in ("mode", "arch", "model_dir")} == {
        *("dataset", "seed", "base_learning_rate", "exif_orientation", "skip_corrupt", "train_batch_size"),
        *("micro_batches", "crop_padding"),
    }
    assert (train.dataset, train.exif_orientation) == ("folder:my $photos", False)
    assert (train.base_learning_rate, train.micro_batches) == (0.05, 4)


def test_a_checkpoint_answers_for_itself():
    train = parsed(
        *("--mode=train", "--dataset=demo", "--model_dir=run", "--arch=autonl_s", "--nonlocal=none"),
        *("--init_checkpoint=start", "--nouse_averages", "--eval_batch_size=7", "--input_image_size=64"),
    )
    text = next_commands.next_command(train, "eval", "--model_dir=run", without=next_commands.OF_CHECKPOINT)
    words = shlex.split(text.removeprefix(next_commands.program()))
    assert words == ["--mode=eval", "--model_dir=run", "--dataset=demo", "--eval_batch_size=7"]


def test_a_directory_that_begins_like_a_home_is_not_one():
    config = parsed("--mode=train", "--dataset=demo", "--model_dir=./~root/run", "--arch=autonl_s")
    line = next_commands.next_command(config, "eval", "--model_dir=~root/run", without=next_commands.OF_CHECKPOINT)
    words = [word for word in shlex.split(line) if word.startswith("--")]
    assert parsed(*words).model_dir == "./~root/run"


def test_a_run_beside_another():
    for path, beside in (("runs/a", "runs/a_train"), ("..", "../train"), (".", "./train")):
        assert next_commands.beside(path, "train") == beside
