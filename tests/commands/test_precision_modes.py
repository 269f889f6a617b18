"""Short types by flag: what is trained in one is read in any other, and resumes to the bit."""

import json

import numpy as np
import pytest
import tensorflow as tf
from mode_cases import ARCH, class_folder, run, write_space

from autonl_tf.engine.runlog import read_records, standard_error
from autonl_tf.errors import UserError

SHORT = ("--input_image_size=32", "--train_batch_size=6", "--eval_batch_size=5", "--steps_per_loop=2")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("precision")
    class_folder(root / "pictures", {"train": 4, "val": 3})
    (root / "arch.txt").write_text(ARCH)
    write_space(root / "space.json")
    return root


def words(home, name, *more):
    data, arch = f"--dataset=folder:{home}/pictures", f"--arch={home}/arch.txt"
    return ("--mode=train", arch, data, *SHORT, "--train_steps=4", f"--model_dir={home}/{name}", *more)


@pytest.fixture(scope="module")
def trained(home):
    """Four steps in float16, saved after two."""
    run(*words(home, "half", "--precision=float16", "--save_every_steps=2", "--eval_every_epochs=1"))
    return home / "half"


def stored(directory):
    reader = tf.train.load_checkpoint(str(directory / "checkpoints" / "ckpt-4"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name}


def test_a_checkpoint_of_float16_is_float32_and_holds_the_loss_scale(trained):
    values = stored(trained)
    kinds = {value.dtype.name for name, value in values.items() if name.startswith(("variables", "averages"))}
    assert kinds == {"float32"}
    (scale,) = [value for name, value in values.items() if name.startswith("state/loss_scale/")]
    records = read_records(trained / "metrics.jsonl")
    assert 1 <= scale <= 2.0**15
    assert all(np.isfinite(record["loss"]) and record["loss_scale"] >= scale for record in records if "loss" in record)


def test_float16_resumes_to_the_bit(home, trained):
    before = stored(trained)
    for path in (trained / "checkpoints").glob("ckpt-4.*"):
        path.unlink()
    run(*words(home, "half", "--precision=float16", "--save_every_steps=2", "--eval_every_epochs=1"))
    after = stored(trained)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)


def test_another_precision_is_refused_for_the_same_run(home, trained):
    with pytest.raises(UserError, match="made with --precision=float16, now it is --precision=float32"):
        run(*words(home, "half", "--save_every_steps=2", "--eval_every_epochs=1"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_evaluation_reads_it_in_any_precision(home, trained, precision, capsys):
    data = f"--dataset=folder:{home}/pictures"
    model = ("--mode=eval", f"--model_dir={trained}", data, "--eval_batch_size=4", f"--precision={precision}")
    run(*model, "--json")
    scores = json.loads(capsys.readouterr().out)
    assert scores["count"] == 9 and np.isfinite(scores["loss"])
    run(*model)
    said = capsys.readouterr().out
    top1 = f"{scores['top1']:.2%} +- {100 * standard_error(scores['top1'], 9):.2f}"
    assert said == f"top-1 {top1}, loss {scores['loss']:.4g}, 9 images of folder:{home}/pictures\n"


def test_another_precision_starts_from_it(home, trained):
    more = ("--precision=bfloat16", f"--init_checkpoint={trained}", "--clip_gradient_norm=1", "--on_nan=skip")
    run(*words(home, "brain", *more))
    records = read_records(home / "brain" / "metrics.jsonl")
    assert records[-1]["skipped_updates"] == 0 and np.isfinite(records[-1]["loss"])
    assert {value.dtype.name for name, value in stored(home / "brain").items() if name.startswith("var")} == {"float32"}


def test_the_search_runs_in_float16(home):
    data, space = f"--dataset=folder:{home}/pictures", f"--search_space={home}/space.json"
    more = ("--precision=float16", f"--model_dir={home}/search", "--train_steps=8")
    run("--mode=search", space, data, *SHORT, *more)
    records = read_records(home / "search" / "metrics.jsonl")
    assert (home / "search" / "arch.txt").is_file()
    assert all(np.isfinite(record["cross_entropy"]) for record in records if "cross_entropy" in record)
    assert "loss_scale" in records[-1]
