"""A search for a budget: the controller, what is flipped to land on it, and what is said about that."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dynamics import CLASSES, SIZE, SPACE, STEPS, search

from autonl_tf.errors import UserError
from autonl_tf.networks.gate_table import GateTable
from autonl_tf.search import result
from autonl_tf.search.landing import TOLERANCE, landing_flips
from autonl_tf.search.multiplier import INTEGRAL, PROPORTIONAL, TargetMultiplier, soft_gates
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model

SMALL = {
    "candidates": {
        "kernels": [3, 5],
        "expansions": [3, 6],
        "se_ratios": [],
        "nonlocal_ratios": [0.25, 0.5],
        "nonlocal_strides": [1],
    },
    "blocks": [{"block": "r2_k5_s22_e6_i32_o32"}],
}
TABLE = GateTable(space_lib.parse(SMALL, "small"))
MODEL = macs_model(TABLE.space, image_size=16, num_classes=3)


def brute_force(margins, target):
    """The least sum of |margin| over all subsets of gates that land within the tolerance; None where none does."""
    best = None
    for bits in range(2 ** len(TABLE)):
        flips = np.array([bits >> gate & 1 for gate in range(len(TABLE))], bool)
        cost = MODEL.of(TABLE.choices((margins >= 0) ^ flips))
        weight = np.abs(margins[flips]).sum()
        if abs(cost / target - 1) <= TOLERANCE and (best is None or weight < best):
            best = weight
    return best


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_flips_land_on_the_target_with_the_least_sum_of_margins(seed, share):
    margins = np.random.default_rng(seed).uniform(-0.5, 1, len(TABLE))
    low, high = MODEL.reachable()
    target = low + share * (high - low)
    flips = landing_flips(TABLE, MODEL, margins, target)
    reached = MODEL.of(TABLE.choices((margins >= 0) ^ flips))
    least = brute_force(margins, target)
    if least is None:
        everything = [
            MODEL.constant + float(a) + float(b) for a in MODEL.tables[0].ravel() for b in MODEL.tables[1].ravel()
        ]
        nearest = min(abs(cost / target - 1) for cost in everything)
        assert abs(reached / target - 1) <= nearest + 1e-3
    else:
        assert abs(reached / target - 1) <= TOLERANCE
        assert np.abs(margins[flips]).sum() == pytest.approx(least, rel=0.1, abs=0.02)


def test_nothing_is_flipped_where_the_target_is_met_already():
    margins = np.full(len(TABLE), 0.5)
    assert not landing_flips(TABLE, MODEL, margins, MODEL.reachable()[1] * 0.995).any()


@pytest.mark.parametrize("name", ["paper", "demo"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.98])
def test_every_shipped_space_lands_within_a_hundredth(name, share):
    table = GateTable(space_lib.load(name))
    model = macs_model(table.space, image_size={"paper": 224, "demo": 64}[name], num_classes=8)
    low, high = model.reachable()
    target = low * (high / low) ** share
    margins = np.random.default_rng(0).uniform(-0.5, 1, len(table))
    flips = landing_flips(table, model, margins, target)
    assert abs(model.of(table.choices((margins >= 0) ^ flips)) / target - 1) <= TOLERANCE


def test_a_target_out_of_reach_is_refused_with_the_range():
    low, high = MODEL.reachable()
    for target in (low * 0.99, high * 1.01):
        with pytest.raises(UserError, match=r"--target_macs=[\d.]+M: out of this space's reach.*[\d.]+M to [\d.]+M"):
            MODEL.check_target(target, "target_macs")
    for text, inward in ((MODEL.text(low, up=True), low), (MODEL.text(high, up=False), high)):
        MODEL.check_target(float(text[:-1]) * 1e6, "target_macs")  # what is said to be accepted is
        assert float(text[:-1]) * 1e6 == pytest.approx(inward, abs=1e3)


def test_the_reachable_range_is_that_of_the_smallest_and_the_largest_member():
    assert MODEL.reachable() == (
        MODEL.of([block.smallest for block in TABLE.space.blocks]),
        MODEL.of([block.largest for block in TABLE.space.blocks]),
    )


def test_the_controller_is_proportional_and_integral_and_is_held_outside_its_phase():
    multiplier = TargetMultiplier(100.0, (50.0, 400.0), 10)
    e = 1 / 3  # log 2 of a span of log 8
    yes, no = tf.constant(True), tf.constant(False)
    assert float(multiplier.value(tf.constant(200.0))) == pytest.approx(PROPORTIONAL * e)
    multiplier.update(tf.constant(200.0), yes)
    assert float(multiplier.value(tf.constant(200.0))) == pytest.approx(PROPORTIONAL * e + INTEGRAL * e / 10)
    multiplier.update(tf.constant(50.0), no)
    assert float(multiplier.value(tf.constant(100.0))) == pytest.approx(INTEGRAL * e / 10)
    assert float(multiplier.integral) == pytest.approx(e / 10)


def test_in_a_space_of_one_cost_there_is_no_error_to_correct():
    multiplier = TargetMultiplier(100.0, (100.0, 100.0), 10)
    multiplier.update(tf.constant(100.0), tf.constant(True))
    assert float(multiplier.value(tf.constant(100.0))) == 0


def account_of(margins, flipped, target):
    _, account = result.summary(TABLE, margins, image_size=16, num_classes=3, flipped=flipped)
    return account, result.budget(TABLE, MODEL, account, target)


def test_flips_are_told_with_their_margins_and_large_ones_are_not_converged():
    margins = np.full(len(TABLE), 0.5)
    margins[0] = 0.01
    flipped = np.zeros(len(TABLE), bool)
    flipped[0] = True
    account, budget = account_of(margins, flipped, 1e6)
    assert account["gates"][0] == {
        "name": TABLE.names[0],
        "margin": 0.01,
        "open": False,
        "counts": True,
        "flipped": True,
    }
    assert budget["flips"] == [TABLE.names[0]]
    assert budget["flips_margin"] == pytest.approx(0.01)
    assert budget["all_margin"] == pytest.approx(0.01 + 0.5 * (len(TABLE) - 1))
    assert budget["converged"]
    assert budget["found"] == account["macs"] < budget["before_flips"]
    flipped[1:4] = True
    assert not account_of(margins, flipped, 1e6)[1]["converged"]


def test_the_cost_before_flips_is_that_of_the_decisions_however_small_a_margin():
    margins = np.full(len(TABLE), 0.5, np.float32)
    margins[TABLE.names.index("block1/keep")] = -2e-7  # told as 0.0
    _, budget = account_of(margins, np.zeros(len(TABLE), bool), 1e6)
    assert budget["before_flips"] == budget["found"]


@pytest.fixture(scope="module")
def searches():
    space = space_lib.parse(SPACE, "test")
    low, high = macs_model(space, image_size=SIZE, num_classes=CLASSES).reachable()
    targets = [low * (high / low) ** share for share in (0.2, 0.7)]
    return [(target, *search(0.0, target=target)) for target in targets]


def test_a_low_target_brings_the_cost_down_before_any_flip(searches):
    target, account, _ = searches[0]
    assert target <= account["macs"] < 0.98 * account["largest_macs"]


def test_the_controller_sees_a_gate_close_before_it_has():
    soft = soft_gates(tf.constant([1.0, 0.25, 0.0, -0.25])).numpy()
    np.testing.assert_allclose(soft, [0.99966, 0.88080, 0.5, 0.11920], atol=1e-4)


def test_lambda_rises_while_the_cost_is_above_the_target_and_is_0_outside_the_decision_phase(searches):
    for _, _, records in searches:
        warm = [record["cost_lambda"] for record in records[: STEPS // 4 // 8]]
        assert set(warm) == {0.0}
        first, second = records[STEPS // 4 // 8], records[STEPS // 4 // 8 + 1]
        assert 0 < first["cost_lambda"] < second["cost_lambda"]
        assert records[-1]["cost_lambda"] == 0
