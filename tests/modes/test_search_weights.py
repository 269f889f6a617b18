"""A search's own weights: the found network with them is exactly the supernet, and training goes on from there."""

import json
import shutil

import numpy as np
import pytest
from mode_cases import configure, given, run

from autonl_tf.arch import presets
from autonl_tf.checkpoint import matching, ours
from autonl_tf.checkpoint.opening import open_checkpoint
from autonl_tf.engine.names import by_name
from autonl_tf.errors import UserError
from autonl_tf.modes import checkpointed
from autonl_tf.networks.supernet import Supernet
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


def test_the_space_is_read_back_as_it_was_searched(home, searched):
    found = space.read_searched(searched / "searched_space.json")
    assert found.blocks == space.load(f"{home}/space.json").blocks


def test_the_found_network_has_the_supernets_output(home, searched):
    network = checkpointed.load(configure("--mode=predict", f"--model_dir={searched}", "--images=x"))
    assert network.spec.canonical() == presets.load(str(searched)).canonical()
    assert (network.class_names, network.image_size, network.loaded.step) == (("ant", "bee", "cat"), 32, 4)
    shape = {"image_size": 32, "num_classes": 3}
    supernet = Supernet(space.load(f"{home}/space.json"), **shape, start_margin=0.5, name="supernet")
    prefix = str(ours.find_checkpoint(searched))
    matching.assign(by_name(supernet.variables), ours.choose(prefix, use_averages=False).stored)
    np.testing.assert_allclose(network.model(X), supernet(X), rtol=1e-5, atol=1e-6)
    assert network.checkpoint.trained_on == f"folder:{home}/pictures"


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
    blocks = json.loads((broken / "searched_space.json").read_text())
    for changed, culprit in (
        (blocks[:-1], r"has \d+ decisions, its searched_space\.json \d+: not of this search"),
        ([block | {"options": {}} for block in blocks], "must give each block options of kernel, "),
        ([block | {"base": 3} for block in blocks], "not the space of a search: "),
        ([*blocks[:-1], blocks[-1] | {"options": {key: ["x", "y"] for key in blocks[-1]["options"]}}], "of a search: "),
    ):
        (broken / "searched_space.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match=culprit) as error:
            open_checkpoint(str(broken))
        assert "\n" not in str(error.value)
    (broken / "searched_space.json").write_text(json.dumps(blocks))
    (broken / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json: not the settings of a search"):
        open_checkpoint(str(broken))
