"""A search's own weights: the found network with them is exactly the supernet, and training goes on from there."""

import json
import re
import shutil

import numpy as np
import pytest
from mode_cases import configure, given, run
from official_checkpoints import checkpoint_at

from autonl_tf.arch import presets
from autonl_tf.checkpoint import matching, ours
from autonl_tf.checkpoint.opening import open_checkpoint
from autonl_tf.cli import parsing
from autonl_tf.engine.names import by_name
from autonl_tf.errors import UserError
from autonl_tf.networks.network import build_network
from autonl_tf.networks.supernet import Supernet
from autonl_tf.prepare import checkpointed
from autonl_tf.search import measured
from autonl_tf.space import space

X = np.random.default_rng(0).normal(size=[2, 32, 32, 3]).astype(np.float32)


@pytest.fixture(scope="module")
def searched(home, tmp_path_factory):
    """The words and the run directory of a search of four steps, at a rate that moves the weights."""
    from mode_cases import SHORT

    path = tmp_path_factory.mktemp("searched") / "search"
    words = ["--mode=search", f"--search_space={home}/space.json", f"--dataset=folder:{home}/pictures", *SHORT]
    run(*given(words, train_steps=4), f"--model_dir={path}", "--target_macs=560k", "--base_learning_rate=1")
    return path


def test_the_run_directory_has_the_space_as_an_ordinary_file(home, searched):
    found = space.load(str(searched / "searched_space.json"))
    assert found.content == json.loads((home / "space.json").read_text())


def test_the_found_network_has_the_supernets_output(home, searched):
    network = checkpointed.load(configure("--mode=predict", f"--model_dir={searched}", "--images=x"))
    assert network.spec.canonical() == presets.load(str(searched)).canonical()
    assert (network.class_names, network.image_size, network.loaded.step) == (("ant", "bee", "cat"), 32, 4)
    shape = {"image_size": 32, "num_classes": 3}
    supernet = Supernet(space.load(f"{home}/space.json"), **shape, start_margin=0.5, name="supernet")
    prefix = str(checkpoint_at(searched))
    matching.assign(by_name(supernet.variables), ours.choose(prefix, use_averages=False).stored)
    np.testing.assert_allclose(network.model(X), supernet(X), rtol=1e-5, atol=1e-6)
    assert network.checkpoint.trained_on == f"folder:{home}/pictures"


@pytest.mark.parametrize("turned", [True, False])
def test_its_images_are_read_as_the_search_read_them(home, searched, turned, tmp_path):
    directory = shutil.copytree(searched, tmp_path / "search")
    began = json.loads((directory / "config.json").read_text())
    began["comparable"]["exif_orientation"] = turned
    (directory / "config.json").write_text(json.dumps(began))
    for words in ([], ["--exif_orientation"]):
        config = configure("--mode=eval", f"--model_dir={directory}", f"--dataset=folder:{home}/pictures", *words)
        assert parsing.checked("check_files", config).exif_orientation == (turned or bool(words))
    assert checkpointed.load(config).checkpoint.exif_orientation == turned


def test_training_starts_from_it(home, searched, tmp_path, capsys):
    expected = checkpointed.load(configure("--mode=predict", f"--model_dir={searched}", "--images=x")).model
    words = ["--mode=train", f"--arch={searched}", f"--init_checkpoint={searched}", f"--dataset=folder:{home}/pictures"]
    words += [f"--model_dir={tmp_path}/run", "--train_batch_size=6", "--eval_batch_size=3", "--train_steps=1"]
    run(*words, "--base_learning_rate=1e-12")
    assert "checkpoints/ckpt-4, the supernet's own in the network it decided on" in capsys.readouterr().err
    model = checkpointed.load(configure("--mode=predict", f"--model_dir={tmp_path}/run", "--images=x")).model
    for name, variable in by_name(model.variables).items():
        if "moving_" not in name:
            np.testing.assert_allclose(variable, by_name(expected.variables)[name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_another_network_and_damaged_files_are_refused_in_a_line(searched, tmp_path):
    with pytest.raises(UserError, match=r"holds another architecture than autonl_s: [23] blocks, not 18"):
        open_checkpoint(str(searched), presets.load("autonl_s"))
    broken = shutil.copytree(searched, tmp_path / "broken")
    kept = json.loads((broken / "searched_space.json").read_text())
    for changed, culprit in (
        (
            kept | {"blocks": kept["blocks"][:-1]},
            r"has \d+ decisions, its searched_space\.json \d+: not of this search",
        ),
        (kept | {"candidates": {}}, r"searched_space\.json, candidates: lacks 'expansions'"),
        (kept | {"blocks": 3}, r'searched_space\.json: "blocks" must be a list'),
        ([], r"searched_space\.json: must be an object"),
    ):
        (broken / "searched_space.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match=culprit) as error:
            open_checkpoint(str(broken))
        assert "\n" not in str(error.value)
    (broken / "searched_space.json").write_text(json.dumps(kept))
    (broken / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json: not the settings of a search"):
        open_checkpoint(str(broken))


def test_a_checkpoint_of_another_search_or_step_is_refused_and_a_search_without_an_end_told(searched, tmp_path, capsys):
    broken = shutil.copytree(searched, tmp_path / "broken")
    (broken / "arch.txt").unlink()
    checkpointed.load(configure("--mode=predict", f"--model_dir={broken}", "--images=x"))
    assert "it has not ended, and this is the network that its gates stand for at step 4" in capsys.readouterr().err
    began = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(began | {"run": 32 * "0"}))
    with pytest.raises(UserError, match="was saved by another run than that of"):
        open_checkpoint(str(broken))
    for path in (broken / "checkpoints").glob("ckpt-4.*"):
        path.rename(path.with_name(path.name.replace("ckpt-4", "ckpt-7")))
    with pytest.raises(UserError, match="ckpt-7: is the checkpoint of step 4"):
        open_checkpoint(str(broken))


@pytest.mark.parametrize("words", [[], ["--validation_fraction=1"]])
def test_images_that_a_search_was_trained_on_are_told_where_they_are_scored(home, searched, words, capsys):
    """And it is not advised to score all of a folder of whose images a part was held out."""
    run("--mode=eval", f"--init_checkpoint={searched}", f"--dataset=folder:{home}/pictures/train", *words)
    said = capsys.readouterr().err
    assert re.search(r"(\d+) of these \1 images are among those that the run was trained on", said)
    assert "scores all" not in said


# Nothing moves, so that what comes out is what went in.
STILL = ("--threshold_travel=0", "--lr_warmup_steps=1000000000", "--batch_norm_momentum=0.9999", "--train_steps=4")


@pytest.mark.parametrize("where", ["SPACE", "around:ARCH"])
def test_a_search_starts_at_a_trained_member_which_unchanged_is_what_it_was(
    where, home, trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(measured.Gain, "closes", False)  # so short a training gains nothing by what it has
    of_space = {"SPACE": f"{home}/space.json", "around:ARCH": f"around:{home}/arch.txt,kernels"}[where]
    words = given([*trained, *STILL], mode="search", search_space=of_space, model_dir=tmp_path / "search")
    words = [word for word in words if not word.startswith("--arch=")] + [f"--init_checkpoint={home}/trained"]
    run(*words)
    found = presets.load(str(tmp_path / "search"))
    assert found.canonical() == presets.load(f"{home}/arch.txt").canonical()
    model, before = (
        checkpointed.load(configure("--mode=predict", f"--init_checkpoint={path}", "--images=x")).model
        for path in (tmp_path / "search", home / "trained")
    )
    np.testing.assert_allclose(model(X), before(X), atol=2e-3)
    told = capsys.readouterr().out
    assert f" --mode=eval --init_checkpoint={tmp_path}/search " in told
    run(*words)  # from its own checkpoint, where it has ended
    assert capsys.readouterr().out == told
    settings = json.loads((tmp_path / "search" / "config.json").read_text())["comparable"]
    assert (settings["search_warmup_share"], settings["gate_keep_probability"]) == (0.5, 0.9)
    assert settings["base_learning_rate"] == 0.001
    kept = space.load(str(tmp_path / "search" / "searched_space.json"))
    assert kept.blocks == space.load(of_space).blocks


@pytest.mark.parametrize("where", ["around:ARCH", "around:ARCH,depth"])
def test_where_only_places_are_chosen_the_networks_batch_norm_stays_to_the_bit(where, home, trained, tmp_path, capsys):
    moving = {"base_learning_rate": 1, "batch_norm_momentum": 0, "train_steps": 4, "mode": "search"}
    words = given(trained, **moving, search_space=where.replace("ARCH", f"{home}/arch.txt"), model_dir=tmp_path / "run")
    run(*[word for word in words if not word.startswith("--arch=")], f"--init_checkpoint={home}/trained")
    said, noted = capsys.readouterr()
    after, before = (
        by_name(
            checkpointed.load(configure("--mode=predict", f"--init_checkpoint={path}", "--images=x")).model.variables
        )
        for path in (tmp_path / "run", home / "trained")
    )
    norms = [name for name in after if "_bn/" in name and "_nl_" not in name]
    stays = all(np.array_equal(after[name], before[name]) for name in norms)
    assert len(norms) > 20 and stays == (where == "around:ARCH")
    assert (" --freeze=batch_norm" in said) == stays == ("frozen: batch_norm" in noted)
    assert " --optimizer=adam --base_learning_rate=" in said


def test_before_a_training_goes_on_from_weights_that_know_the_classes_they_are_scored(home, trained, tmp_path, capsys):
    run("--mode=eval", f"--init_checkpoint={home}/trained", f"--dataset=folder:{home}/pictures", "--json")
    scores = json.loads(capsys.readouterr().out)
    words = given([*trained, f"--init_checkpoint={home}/trained"], model_dir=tmp_path / "run")
    run(*words)
    assert f"before training: validation top-1 {scores['top1']:.2%} " in capsys.readouterr().err
    run(*given(words, train_steps=2))
    assert "before training" not in capsys.readouterr().err


def test_a_search_from_weights_that_cannot_be_had_is_refused_before_anything_is_written(
    home, trained, searching, refused, tmp_path
):
    words = [*searching, f"--init_checkpoint={home}/trained"]
    told = r"trained/.*ckpt-2: does not fit the search space demo: block 0: out_filters 8, accepted 16; block 1 of "
    refused(given(words, search_space="demo", input_image_size=64), told)
    build_network(presets.load(f"{home}/arch.txt"), image_size=32, num_classes=3).save(f"{tmp_path}/one.h5")
    words = [*searching, f"--init_checkpoint={tmp_path}/one.h5", f"--arch={home}/arch.txt"]
    refused(
        [*words, "--use_averages=false"], "one.h5: holds one set of weights; --use_averages=false does not go with it"
    )
