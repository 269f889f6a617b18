"""When decisions are taken: what was measured is decided by that, and nothing comes in that nobody measured."""

import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from autonl_tf.commands.search.decisions import SearchLearner, deciding
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search import measured
from autonl_tf.search.multiplier import TargetMultiplier
from autonl_tf.search.objective import optimizer_groups
from autonl_tf.search.schedule import SearchSchedule
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model

SIZE, CLASSES = 16, 3
SPACE = {
    "network": "stem=8 head=16",
    "candidates": {"kernels": [3], "expansions": [3], "nonlocal_ratios": [0.5], "nonlocal_strides": [1]},
    "blocks": [{"block": "r1_k3_s22_e3_i8_o8"}, {"block": "r2_k3_s11_e3_i8_o8"}],
}
SCHEDULE = SearchSchedule(10, 4, 2, 0.6, 0.3, 3.0)
CONFIG = types.SimpleNamespace(
    train_batch_size=4, input_image_size=SIZE, micro_batches=1, search_split=0.0, cost_lambda=0.3
)
LOG = types.SimpleNamespace(message=lambda text: None)


@pytest.fixture(scope="module")
def supernet():
    return Supernet(space_lib.parse(SPACE, "three"), image_size=SIZE, num_classes=CLASSES)


def decided(supernet, margins, monkeypatch, target=None, closes=()):
    """Margins and turned decisions by name, and what is told; every gate but those named gains more than its price."""
    table = supernet.table
    model = macs_model(table.space, image_size=SIZE, num_classes=CLASSES)
    multiplier = None
    if target is not None:
        multiplier = TargetMultiplier(
            GateCost(table, model), target(model, table), model.reachable(), supernet.starts, SCHEDULE
        )
    learner = SearchLearner(supernet, optimizer_groups(supernet, keras.optimizers.SGD(0.1), SCHEDULE), multiplier, None)
    supernet.margins.assign([margins[name] for name in table.names])

    def measured_gains(strategy, net, model, gates, multiplier, batches, **how):
        assert len(batches) == 1 and multiplier >= 0
        return [measured.Gain(gate, -1.0 if table.names[gate] in closes else 1.0, 0.1, 0.2) for gate in gates]

    monkeypatch.setattr(measured, "measured_gains", measured_gains)
    strategy = tf.distribute.get_strategy()
    decide = deciding(CONFIG, strategy, learner, model, SCHEDULE, lambda step: iter([("images", "labels")] * 9), LOG)
    assert decide(SCHEDULE.settle_start - 1, {}) == {}
    told = decide(SCHEDULE.settle_start, {})
    before, turned = learner.decided()
    np.testing.assert_allclose(before, [margins[name] for name in table.names], atol=2e-6)
    opened = {name: margin >= 0 for name, margin in zip(table.names, supernet.margins.numpy(), strict=True)}
    turned = {kind: {n for n, flag in zip(table.names, of, strict=True) if flag} for kind, of in turned.items()}
    return opened, turned, told


def all_open(supernet, **changed):
    return dict.fromkeys(supernet.table.names, 0.5) | changed


def test_gates_close_by_what_they_gain_with_and_without_a_target(supernet, monkeypatch):
    margins = all_open(supernet, **{"block2/nl": -0.1})
    for target in (None, lambda model, table: model.reachable()[1]):
        opened, turned, told = decided(supernet, margins, monkeypatch, target, closes={"block1/nl"})
        assert turned["closed"] == {"block1/nl"} and not opened["block1/nl"] and opened["block0/nl"]
        assert {name for name in told if name.startswith("gain/")} == {"gain/block0/nl", "gain/block1/nl"}
        assert told["gain/block1/nl"] == -1.0 and told["gain_price/block0/nl"] == 0.2 and told["gain_images"] == 4
        assert ("flips" in told) == (target is not None)


def test_a_block_that_a_flip_brings_back_comes_without_what_was_not_measured_in_it(supernet, monkeypatch):
    margins = all_open(supernet, **{"block1/keep": -0.01, "block2/nl": -0.01})
    without = [name not in ("block1/nl", "block2/nl") for name in supernet.table.names]
    opened, turned, told = decided(
        supernet, margins, monkeypatch, lambda model, table: model.of(table.selections(np.array(without)))
    )
    assert turned["flipped"] == {"block1/keep"} and opened["block1/keep"]
    assert turned["closed"] == {"block1/nl"} and not opened["block1/nl"] and not opened["block2/nl"]
    assert {name for name in told if name.startswith("gain/")} == {"gain/block0/nl"}
