"""Official checkpoints by command line: predict, eval, export, train and convert."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from golden_data import TESTDATA, TINY, VALUES, relative_l2
from mode_cases import CLASSES, class_folder, configure, run, tree
from numpy_forward import Forward, Weights
from official_cases import (
    PHOTOGRAPHS,
    folder_of,
    golden_weights,
    lines_of,
    normalized,
    said_by,
    write_fitted,
)
from official_checkpoints import TINY_CLASSES, TINY_SIZE, TINY_STEP, statistics_of, tiny_checkpoint, write_checkpoint

from autonl_tf.arch import blockstring, presets
from autonl_tf.checkpoint.tf1 import AVERAGE_SUFFIX, official_names
from autonl_tf.engine.names import by_name
from autonl_tf.errors import UserError
from autonl_tf.prepare import checkpointed

IMAGES = f"--images={TESTDATA}/preprocess/*.jpg"
SMALL = f"--input_image_size={TINY_SIZE}"
TEN = tuple(f"class{number}" for number in range(TINY_CLASSES))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """TensorFlow 1.14's own checkpoint of the small network, arch.txt beside it."""
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def converted(tiny, tmp_path_factory):
    target = tmp_path_factory.mktemp("converted") / "run"
    run("--mode=convert", f"--init_checkpoint={tiny.parent}", f"--model_dir={target}", SMALL)
    return target


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The flags of a data set of the photographs, under the first of ten names."""
    return folder_of(PHOTOGRAPHS, tmp_path_factory.mktemp("data"), TEN)


def predicted(tmp_path, *words):
    run("--mode=predict", *words, IMAGES, f"--output={tmp_path}/out.npz")
    with np.load(tmp_path / "out.npz") as written:
        assert list(written["files"]) == list(map(str, PHOTOGRAPHS))
        return written["logits"]


@pytest.mark.parametrize(("use_averages", "key"), [(True, "logits_ema"), (False, "logits_raw")])
def test_the_checkpoint_of_tensorflow_1_gives_every_weight_and_the_releases_logits(use_averages, key, tiny, converted):
    golden = np.load(TESTDATA / "forward" / "tiny.npz")[key]
    flag = f"--use_averages={str(use_averages).lower()}"
    stored, names = tf.train.load_checkpoint(str(tiny)), dict(official_names(presets.load(f"{tiny.parent}/arch.txt")))
    suffix = AVERAGE_SUFFIX if use_averages else ""
    for path in (tiny, converted):
        network = checkpointed.load(configure("--mode=predict", f"--init_checkpoint={path}", SMALL, flag, "--images=-"))
        assert relative_l2(network.model(VALUES.inputs(7, 4, TINY_SIZE)), golden) < 1e-4
        assert (network.loaded.step, network.loaded.averages) == (TINY_STEP, use_averages)
        weights = by_name(network.model.variables)
        assert set(weights) == set(names)
        for ours, official in names.items():
            np.testing.assert_array_equal(weights[ours], stored.get_tensor(official + suffix), ours)


@pytest.mark.parametrize("name", ["autonl_s", "autonl_l"])
def test_prediction_straight_from_a_published_network_is_that_of_the_numpy_forward_pass(name, tmp_path, capsys):
    expected = write_fitted(tmp_path / "archive" / "bestmodel.ckpt", name)
    logits = predicted(tmp_path, f"--arch={name}", f"--init_checkpoint={tmp_path}/archive/bestmodel.ckpt")
    assert relative_l2(logits, expected) < 1e-4
    best = np.argsort(-expected)[:, :5]
    np.testing.assert_array_equal(np.argsort(-logits)[:, :5], best)
    said = capsys.readouterr()
    kept = len(official_names(presets.load(name)))
    assert f"moving averages of {tmp_path}/archive/bestmodel.ckpt (step 312); left aside: {kept} plain" in said.err
    assert said.out == f"written: {tmp_path}/out.npz, {len(PHOTOGRAPHS)} images\n"


def test_prediction_scales_with_the_depth_multiplier_and_takes_names_from_a_label_file(data, tmp_path, capsys):
    weights = Weights(VALUES.value, "")
    expected = Forward(lines_of("tiny"), normalized(PHOTOGRAPHS, TINY_SIZE), TINY_CLASSES, weights, 1.25).logits
    write_checkpoint(tmp_path / "plain.ckpt", weights.values, step=None)
    (tmp_path / "arch.txt").write_text("\n".join(lines_of("tiny")))
    words = [f"--init_checkpoint={tmp_path}", SMALL, "--use_averages=false", data[1]]
    logits = predicted(tmp_path, *words, "--depth_multiplier=1.25")
    assert relative_l2(logits, expected) < 1e-4
    run("--mode=predict", *words, "--depth_multiplier=1.25", f"--images={PHOTOGRAPHS[0]}")
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].startswith(f"{PHOTOGRAPHS[0]}: {TEN[int(expected[0].argmax())]} ")
    assert f"architecture: {tmp_path}/arch.txt" in said.err


@pytest.fixture(scope="module")
def fitted(tiny, tmp_path_factory):
    """(archive, logits): the small network with statistics of the photographs, so that its logits are moderate."""
    archive = tmp_path_factory.mktemp("fitted")
    shutil.copy(tiny.parent / "arch.txt", archive)
    return archive, write_fitted(archive / "bestmodel.ckpt", "tiny", TINY_SIZE, TINY_CLASSES)


def test_evaluation_is_the_same_straight_and_converted(fitted, data, tmp_path, capsys):
    archive, logits = fitted
    own = np.diag(logits)[:, None]  # the photographs' labels are 0, 1, ...
    ranks, entropies = (logits > own).sum(-1), np.log(np.exp(logits - own).sum(-1))
    run("--mode=convert", f"--init_checkpoint={archive}", f"--model_dir={tmp_path}/run", SMALL)
    for where in (f"--init_checkpoint={archive}", f"--model_dir={tmp_path}/run"):
        capsys.readouterr()
        (scores,), _ = said_by(capsys, "--mode=eval", where, *data, "--eval_batch_size=4", SMALL)
        assert (scores["top1"], scores["top5"]) == (np.mean(ranks < 1), np.mean(ranks < 5))
        assert scores["loss"] == pytest.approx(np.mean(entropies), rel=1e-4)
        assert (scores["count"], scores["step"], scores["averages"]) == (len(PHOTOGRAPHS), 312, True)
    assert scores["prefix"] == f"{tmp_path}/run/checkpoints/ckpt-312"


def test_a_converted_directory_explains_itself(tiny, converted):
    described = json.loads((converted / "model.json").read_text())
    assert described["arch"] == (converted / "arch.txt").read_text() == blockstring.write(blockstring.parse(TINY))
    assert described["converted_from"] == {"checkpoint": str(tiny), "averages": True, "kind": "tf1"}
    assert described["input_image_size"] == TINY_SIZE
    assert (converted / "labels.txt").read_text().split() == [str(label) for label in range(TINY_CLASSES)]
    assert json.loads((converted / "config.json").read_text())["settings"]["mode"] == "convert"
    assert [path.name for path in converted.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("averages_only", [True, False])
def test_conversion_of_one_set_alone_fills_both(averages_only, tiny, tmp_path, capsys):
    weights = golden_weights("tiny")
    if not averages_only:
        plain = TESTDATA / "tiny_checkpoint" / "plain_moving_statistics.npz"
        weights = Weights(VALUES.value, "", statistics_of(plain))
    Forward(lines_of("tiny"), VALUES.inputs(0, 1, TINY_SIZE), TINY_CLASSES, weights)
    prefix = write_checkpoint(tmp_path / "one.ckpt", weights.values)
    words = [f"--arch={tiny.parent}/arch.txt", f"--use_averages={str(averages_only).lower()}", SMALL]
    run("--mode=convert", f"--init_checkpoint={prefix}", f"--model_dir={tmp_path}/run", *words)
    assert ("does not hold every plain variable" in capsys.readouterr().err) == averages_only
    suffix = AVERAGE_SUFFIX if averages_only else ""
    for use_averages in ("true", "false"):
        words = [f"--model_dir={tmp_path}/run", f"--use_averages={use_averages}", "--images=-"]
        model = checkpointed.load(configure("--mode=predict", *words)).model
        kernel = weights.values[f"single-path/mnas_net_model/mnas_head/dense/kernel{suffix}"]
        np.testing.assert_array_equal(model.get_layer("logits").kernel, kernel)


def test_training_starts_from_it(fitted, data, tmp_path, capsys):
    words = ["--mode=train", f"--arch={fitted[0]}/arch.txt", SMALL, f"--init_checkpoint={fitted[0]}", *data]
    words += [f"--model_dir={tmp_path}/run", "--train_batch_size=4", "--eval_batch_size=4", "--train_steps=1"]
    run(*words, "--base_learning_rate=1e-12")
    assert f"weights: moving averages of {fitted[0]}/bestmodel.ckpt (step 312)" in capsys.readouterr().err
    network = checkpointed.load(configure("--mode=predict", f"--model_dir={tmp_path}/run", "--images=-"))
    assert network.class_names == TEN and network.image_size == TINY_SIZE
    name = "single-path/mnas_net_model/mnas_head/dense/kernel" + AVERAGE_SUFFIX
    np.testing.assert_array_equal(network.model.get_layer("logits").kernel, VALUES.value(name, (1280, TINY_CLASSES)))


def test_export_names_the_datas_classes_and_is_verified(fitted, data, tmp_path):
    archive = fitted[0]
    run("--mode=export", f"--init_checkpoint={archive}", SMALL, *data, f"--output={tmp_path}/export")
    card = json.loads((tmp_path / "export" / "card.json").read_text())
    assert (tmp_path / "export" / "labels.txt").read_text().split() == list(TEN)
    assert card["weights"] == {"prefix": f"{archive}/bestmodel.ckpt", "step": 312, "averages": True}
    assert card["accuracy"]["count"] == len(PHOTOGRAPHS)


@pytest.fixture
def refused(tiny, converted, tmp_path):
    """refused(words, pattern): a UserError of that text, and nothing written."""

    def check(words, pattern):
        roots = (tiny.parent, converted.parent, tmp_path)
        before = tree(*roots)
        with pytest.raises(UserError, match=pattern):
            run(*words)
        assert tree(*roots) == before

    return check


def test_an_official_checkpoint_of_another_network_is_refused(tiny, tmp_path, refused):
    bare = tiny_checkpoint(tmp_path / "bare")
    (bare.parent / "arch.txt").unlink()
    words = ["--mode=predict", f"--init_checkpoint={bare}", IMAGES]
    refused(words, r"no arch\.txt is beside it; give --arch \(autonl_l, autonl_s, .*or")
    refused([*words, "--arch=autonl_s"], r"\d+ missing: .*\d+ unexpected: .*\d+ mismatched: ")
    arch = f"--arch={tiny.parent}/arch.txt"
    refused([*words, arch, "--depth_multiplier=2"], r"does not fit the network: \d+ mismatched: ")
    refused([*words, arch, "--num_label_classes=1000"], r"--num_label_classes=1000: .* has 10 classes")
    (tmp_path / "labels.txt").write_text("ant\nbee\n")
    refused([*words, arch, f"--label_file={tmp_path}/labels.txt"], "has 2 names; .* has 10 classes")
    (tmp_path / "other.txt").write_text((tiny.parent / "arch.txt").read_text().replace("nonlocal0.25-2", "nonlocal"))
    words = ["--mode=predict", f"--init_checkpoint={tiny}", IMAGES, f"--arch={tmp_path}/other.txt"]
    refused(words, r"--arch=.*other\.txt: is another architecture than .*arch\.txt")


def test_a_checkpoint_of_another_program_is_refused(tmp_path, refused):
    write_checkpoint(tmp_path / "other.ckpt", {"resnet/conv1/kernel": np.zeros([3, 3, 3, 8], "f4")})
    for mode in ("predict", "convert"):
        words = [f"--mode={mode}", f"--init_checkpoint={tmp_path}/other.ckpt", "--arch=autonl_s", IMAGES]
        pattern = "neither a checkpoint of this program nor of the official release: it holds 2 .*resnet/conv1/kernel"
        refused([*words, f"--model_dir={tmp_path}/run"][: 4 if mode == "predict" else 5], pattern)


def test_other_classes_than_the_checkpoints_are_refused(tiny, tmp_path, refused):
    three = class_folder(tmp_path / "three", {"train": 1, "val": 1}, classes=CLASSES)
    words = [f"--init_checkpoint={tiny}", f"--dataset=folder:{three}", f"--arch={tiny.parent}/arch.txt", SMALL]
    pattern = r"bestmodel\.ckpt: has 10 classes, folder:.* has 3; --label_file gives"
    refused(["--mode=eval", *words], pattern)
    refused(["--mode=export", *words, f"--output={tmp_path}/export"], pattern)


def test_conversion_overwrites_nothing_and_takes_official_checkpoints_only(tiny, converted, tmp_path, refused):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    words = ["--mode=convert", f"--init_checkpoint={tiny}"]
    refused([*words, f"--model_dir={tmp_path}/full"], r"--model_dir=.*/full: holds thesis\.txt; convert writes a new")
    refused([*words, f"--model_dir={tmp_path}/full/thesis.txt"], r"thesis\.txt: is a file; accepted: a directory")
    refused([*words, f"--model_dir={tmp_path}/full/thesis.txt/run"], r"thesis\.txt is not a directory")
    words = ["--mode=convert", f"--init_checkpoint={converted}", f"--model_dir={tmp_path}/run"]
    refused(words, "is a checkpoint of this program already")
    refused(["--mode=convert", f"--model_dir={tmp_path}/run"], "--mode=convert needs --init_checkpoint")


def test_training_does_not_go_on_in_a_converted_directory(tiny, converted, data, refused):
    words = ["--mode=train", f"--arch={tiny.parent}/arch.txt", *data, SMALL]
    words += [f"--model_dir={converted}", "--train_batch_size=4", "--eval_batch_size=4", "--train_steps=1"]
    refused(words, "was made with --mode=convert, now it is --mode=train")
