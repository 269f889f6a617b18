"""Name-based checkpoints of TensorFlow 1: what is loaded, and that nothing else is accepted."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from golden_data import VALUES
from official_checkpoints import checkpoint_at, with_the_rest, write_checkpoint

from autonl_tf.checkpoint import ours
from autonl_tf.checkpoint.matching import assign
from autonl_tf.checkpoint.tf1 import AVERAGE_SUFFIX, choose_named
from autonl_tf.engine.names import by_name
from autonl_tf.errors import UserError

NAMES = {
    "conv/kernel": "net/conv2d_3/kernel",
    "bn/gamma": "net/batch_normalization/gamma",
    "bn/beta": "net/batch_normalization/beta",
    "bn/moving_mean": "net/batch_normalization/moving_mean",
    "bn/moving_variance": "net/batch_normalization/moving_variance",
}
KERNEL, MEAN = NAMES["conv/kernel"], NAMES["bn/moving_mean"]


@pytest.fixture(scope="module")
def model():
    layers = [keras.layers.Conv2D(4, 3, use_bias=False, name="conv"), keras.layers.BatchNormalization(name="bn")]
    return keras.Sequential([keras.Input([8, 8, 3]), *layers])


@pytest.fixture
def stored(model):
    """All that a training stores: plain variables, averages, slots."""
    shapes = {NAMES[v.name.split(":")[0]]: tuple(v.shape) for v in model.variables}
    return with_the_rest({name + AVERAGE_SUFFIX: VALUES.value(name + AVERAGE_SUFFIX, s) for name, s in shapes.items()})


def values_of(model):
    return {v.name.split(":")[0]: v.numpy() for v in model.variables}


def load_named(prefix, model, use_averages=True):
    chosen = choose_named(prefix, by_name(model.variables), NAMES, use_averages)
    assign(by_name(model.variables), chosen.stored)
    return chosen


@pytest.mark.parametrize("use_averages", [True, False])
def test_every_variable_comes_from_the_chosen_set_exactly(use_averages, model, stored, tmp_path):
    prefix = str(write_checkpoint(tmp_path / "a", stored, step=99))
    chosen = load_named(prefix, model, use_averages)
    assert chosen.loaded == (prefix, 99, use_averages)
    said = "5 plain variables, 6 optimizer slots" if use_averages else "5 moving averages, 6 optimizer slots"
    assert chosen.aside == said
    for name, value in values_of(model).items():
        np.testing.assert_array_equal(value, stored[NAMES[name] + (AVERAGE_SUFFIX if use_averages else "")])


@pytest.mark.parametrize("use_averages", [True, False])
def test_one_set_alone_is_enough_and_the_other_is_not_taken_for_it(use_averages, model, stored, tmp_path):
    kept = {name: value for name, value in stored.items() if name.endswith(AVERAGE_SUFFIX) == use_averages}
    prefix = str(write_checkpoint(tmp_path / "a", kept, step=None))
    assert load_named(prefix, model, use_averages).loaded.step is None
    with pytest.raises(UserError, match=f"try --use_averages={str(use_averages).lower()}"):
        load_named(prefix, model, not use_averages)


SPOILT = {
    "missing": (lambda s: s.pop(KERNEL + AVERAGE_SUFFIX), rf"1 missing: {KERNEL}{AVERAGE_SUFFIX} \(3, 3, 3, 4\)$"),
    "unexpected": (lambda s: s.update(extra=np.zeros(2, "f4")), r"1 unexpected: extra \(2,\)$"),
    "a slot of no variable": (
        lambda s: s.update({"net/x/RMSProp": np.zeros(2, "f4")}),
        r"1 unexpected: net/x/RMSProp \(",
    ),
    "another optimizer's slot": (lambda s: s.update({KERNEL + "/Momentum": s[KERNEL]}), f"1 unexpected: {KERNEL}/Mom"),
    "a slot of a statistic": (
        lambda s: s.update({MEAN + "/RMSProp": s[MEAN]}),
        rf"1 unexpected: {MEAN}/RMSProp \(",
    ),
    "mismatched": (
        lambda s: s.update({KERNEL + AVERAGE_SUFFIX: np.zeros([3, 3, 3, 5], "f4")}),
        rf"1 mismatched: {KERNEL}{AVERAGE_SUFFIX} \(checkpoint \(3, 3, 3, 5\), network \(3, 3, 3, 4\)\)$",
    ),
    "mismatched, of equal size": (
        lambda s: s.update({KERNEL + AVERAGE_SUFFIX: np.zeros([3, 3, 4, 3], "f4")}),
        r"1 mismatched: .*checkpoint \(3, 3, 4, 3\)",
    ),
    "mismatched in the other set": (lambda s: s.update({KERNEL: np.zeros(1, "f4")}), f"1 mismatched: {KERNEL} "),
    "mismatched slot": (lambda s: s.update({KERNEL + "/RMSProp_1": np.zeros(1, "f4")}), "1 mismatched: .*RMSProp_1 "),
    "another type": (lambda s: s.update({KERNEL: s[KERNEL].astype("f8")}), "1 mismatched: .*float64, network float32"),
    "a step that is none": (lambda s: s.update(global_step=np.zeros(2, "f4")), "1 mismatched: global_step"),
    "a step before the first": (lambda s: s.update(global_step=np.int64(-3)), "its global_step is -3"),
    "not finite": (
        lambda s: s[MEAN + AVERAGE_SUFFIX].fill(np.nan),
        f"not finite in {MEAN}{AVERAGE_SUFFIX}$",
    ),
    "several at once": (
        lambda s: (s.pop(MEAN + AVERAGE_SUFFIX), s.update(a=np.zeros(1, "f4"), b=np.zeros(1, "f4"))),
        r"1 missing: .*; 2 unexpected: a \(1,\), b \(1,\)$",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_does_not_fit_is_listed_and_changes_nothing(case, model, stored, tmp_path):
    spoil, pattern = SPOILT[case]
    spoil(stored)
    prefix = str(write_checkpoint(tmp_path / "a", stored, step=None))
    before = values_of(model)
    with pytest.raises(UserError, match=pattern) as error:
        load_named(prefix, model)
    assert str(error.value).startswith(prefix)
    for name, value in values_of(model).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_long_list_is_cut_and_counted(model, stored, tmp_path):
    stored |= {f"extra{number:03}": np.zeros(1, "f4") for number in range(50)}
    prefix = str(write_checkpoint(tmp_path / "a", stored))
    with pytest.raises(UserError, match=r"50 unexpected: extra000 \(1,\), .*extra019 \(1,\) and 30 more$"):
        load_named(prefix, model)


@pytest.mark.parametrize("given", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_a_checkpoint_is_found_by_its_prefix_and_by_each_of_its_files(given, stored, tmp_path):
    prefix = write_checkpoint(tmp_path / "model.ckpt-12", stored)
    assert checkpoint_at(f"{prefix}{given}") == prefix


def test_a_directory_stands_for_the_checkpoint_in_it(stored, tmp_path):
    only = write_checkpoint(tmp_path / "model.ckpt-1", stored)
    assert checkpoint_at(tmp_path) == only
    second = write_checkpoint(tmp_path / "model.ckpt-2", stored)
    with pytest.raises(UserError, match=r"several checkpoints \(model\.ckpt-1, model\.ckpt-2\); name one"):
        checkpoint_at(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt-2"\n')
    assert checkpoint_at(tmp_path) == second
    (tmp_path / "checkpoint").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"/checkpoint: not a text file"):
        checkpoint_at(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt-3"\n')
    with pytest.raises(UserError, match="several checkpoints"):
        checkpoint_at(tmp_path)
    best = write_checkpoint(tmp_path / "bestmodel.ckpt", stored)
    assert checkpoint_at(tmp_path) == best


def test_damaged_files_are_refused_by_name(stored, tmp_path):
    prefix = write_checkpoint(tmp_path / "bestmodel.ckpt", stored)
    index, data = (tmp_path / f"bestmodel.ckpt.{end}" for end in ("index", "data-00000-of-00001"))
    whole = data.read_bytes()
    data.write_bytes(whole[:-40])
    with pytest.raises(UserError, match=r"cannot read the checkpoint: .*bestmodel\.ckpt: .*"):
        checkpoint_at(prefix)
    data.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    with pytest.raises(UserError, match=r"cannot read the checkpoint: .*bestmodel\.ckpt: .*"):
        checkpoint_at(tmp_path)
    data.write_bytes(whole)
    kept = index.read_bytes()
    index.unlink()
    for path in (prefix, data):
        with pytest.raises(
            UserError, match=r"its bestmodel\.ckpt\.index is missing, bestmodel\.ckpt\.data-\S+ is there"
        ):
            checkpoint_at(path)
    index.write_bytes(kept[:200])
    with pytest.raises(UserError, match=r"cannot read the checkpoint: .*sstable"):
        checkpoint_at(prefix)
    index.write_bytes(kept)
    data.unlink()
    with pytest.raises(UserError, match=r"its data, bestmodel\.ckpt\.data-\*, is missing"):
        checkpoint_at(prefix)


def test_a_name_based_checkpoint_is_not_ours(stored, tmp_path):
    prefix = write_checkpoint(tmp_path / "a", stored)
    assert not ours.is_ours(prefix)
    tf.train.Checkpoint(variables={"x": tf.Variable(1.0)}, step=tf.Variable(1)).write(str(tmp_path / "b"))
    assert ours.is_ours(tmp_path / "b")
