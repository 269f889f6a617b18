"""The experiment of benchmarks/bad_data.py, small: a folder in which one file in a hundred is odd or broken."""

import importlib
import json
import pathlib

import pytest
from mode_cases import ARCH, given, run

from autonl_tf.errors import UserError

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bad_data():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("bad_data")


@pytest.fixture(scope="module")
def made(bad_data, tmp_path_factory):
    """Every kind of file in both splits, and how many of each."""
    root = tmp_path_factory.mktemp("odd") / "Bilder ü"
    bad_data.BAD_ONE_IN, bad_data.VALIDATION = 4, 2
    return root, bad_data.write_files(root, 80, large_side=1200)


def words(made, tmp_path):
    root, _ = made
    (tmp_path / "arch.txt").write_text(ARCH)
    fit = (
        "--input_image_size=32",
        "--crop_padding=32",
        "--train_batch_size=8",
        "--train_epochs=1",
        "--eval_batch_size=8",
    )
    return (
        *("--mode=train", f"--dataset=folder:{root}", f"--arch={tmp_path}/arch.txt", f"--model_dir={tmp_path}/run"),
        *fit,
    )


def test_every_kind_is_in_both_splits(bad_data, made):
    for counts in made[1].values():
        assert set(counts) == {"good", *bad_data.KINDS}


def test_the_default_names_the_first_bad_file(bad_data, made, tmp_path):
    with pytest.raises(UserError, match="image") as error:
        run(*words(made, tmp_path))
    assert bad_data.first_bad(made[0]) in str(error.value)
    assert not (tmp_path / "run").exists()


def test_skip_corrupt_counts_every_fault_and_uses_all_other_images(bad_data, made, tmp_path, capsys):
    run(*words(made, tmp_path), "--skip_corrupt")
    report = json.loads((tmp_path / "run" / "skipped.json").read_text(encoding="utf-8"))
    _, written = made
    for split, folder in (("train", "train"), ("validation", "val")):
        wanted = bad_data.expected_counts(written[folder])
        assert {group: report[split][group] for group in wanted} == wanted
        assert len(report[split]["images"]) == sum(sum(counts.values()) for counts in wanted.values())
    capsys.readouterr()
    eval_words = given(words(made, tmp_path)[:2], mode="eval")
    run(*eval_words, f"--model_dir={tmp_path}/run", "--skip_corrupt", "--json")
    scores = json.loads(capsys.readouterr().out)
    wanted = bad_data.expected_counts(written["val"])
    assert scores["skipped"] == wanted
    assert scores["count"] == sum(written["val"].values()) - sum(sum(counts.values()) for counts in wanted.values())
