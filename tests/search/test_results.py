"""What a search found and how near it was; its phases; and the gates it draws."""

import json

import numpy as np
import pytest
import tensorflow as tf

from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import network_cost
from autonl_tf.networks.gate_table import GateTable
from autonl_tf.search import results
from autonl_tf.search.objective import draw_gates
from autonl_tf.search.schedule import SearchSchedule, ThresholdRate
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model

SIZE, CLASSES = 32, 7
SPACE = {
    "candidates": {
        "kernels": [3, 5, 7],
        "expansions": [3, 6],
        "se_ratios": [0.25, 0.5],
        "nonlocal_ratios": [0.25, 0.5],
        "nonlocal_strides": [2, 1],
    },
    "blocks": [
        {"block": "r1_k3_s22_e1_i32_o8", "searchable": False},
        {"block": "r1_k7_s22_e6_i8_o12"},
        {"block": "r1_k7_s11_e6_i12_o12"},
    ],
}
# The droppable block's gates, in order.
GATES = ["kernel5", "kernel7", "keep", "expand6", "se0.25", "se0.5", "nl", "nl_ratio0.5", "nl_stride1"]


@pytest.fixture(scope="module")
def table():
    return GateTable(space_lib.parse(SPACE, "test"))


def found(table, margins):
    """Summary of margins by gate name; 0.5 where none is given."""
    given = np.full(len(table), 0.5)
    for name, margin in margins.items():
        given[table.names.index(name)] = margin
    return results.summary(table, given, image_size=SIZE, num_classes=CLASSES)


def counting(result, block):
    return {g["name"].partition("/")[2] for g in result["gates"] if g["counts"] and g["name"].startswith(f"{block}/")}


def test_all_gates_open_find_the_largest_network_and_all_count(table):
    spec, result = found(table, {})
    assert spec == table.space.largest()
    assert result["macs"] == result["largest_macs"]
    assert all(gate["open"] and gate["counts"] for gate in result["gates"])
    assert [gate["name"] for gate in result["gates"]] == table.names
    assert counting(result, "block2") == set(GATES)


def test_all_gates_closed_find_the_smallest_and_only_first_gates_of_live_choices_count(table):
    spec, result = found(table, dict.fromkeys(table.names, -0.1))
    assert spec == table.space.smallest()
    assert result["macs"] == result["smallest_macs"]
    assert not any(gate["open"] for gate in result["gates"])
    assert counting(result, "block1") == {"kernel5", "expand6", "se0.25", "nl"}
    assert counting(result, "block2") == {"keep"}


@pytest.mark.parametrize(
    ("closed", "silent"),
    [
        ("kernel5", {"kernel7"}),
        ("kernel7", set()),
        ("se0.25", {"se0.5"}),
        ("nl", {"nl_ratio0.5", "nl_stride1"}),
        ("nl_ratio0.5", set()),
        ("nl_stride1", set()),
        ("expand6", set()),
        ("keep", set(GATES) - {"keep"}),
    ],
)
def test_a_gate_above_a_closed_one_does_not_count_though_it_is_open(table, closed, silent):
    spec, result = found(table, {f"block2/{closed}": -0.01})
    assert counting(result, "block2") == set(GATES) - silent
    assert counting(result, "block1") == set(GATES) - {"keep"}
    flags = {gate["name"]: gate["open"] for gate in result["gates"]}
    assert [name for name, is_open in flags.items() if not is_open] == [f"block2/{closed}"]
    assert len(spec.blocks) == (2 if closed == "keep" else 3)


def test_a_gate_counts_exactly_when_flipping_it_alone_changes_the_network(table):
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        margins = np.where(rng.random(len(table)) < 0.7, 0.5, -0.5)
        spec, result = results.summary(table, margins, image_size=SIZE, num_classes=CLASSES)
        for index, gate in enumerate(result["gates"]):
            flipped = margins.copy()
            flipped[index] *= -1
            changes = table.decode(results.decided_gates(flipped)) != spec
            assert gate["counts"] == changes, (gate["name"], blockstring.write(spec))
            seen.add((gate["open"], changes))
    assert len(seen) == 4


def test_a_margin_of_exactly_zero_is_open(table):
    np.testing.assert_array_equal(results.decided_gates(np.array([-1e-9, 0.0, 1e-9])), [0, 1, 1])
    assert found(table, {"block1/nl": 0.0})[0] == table.space.largest()


def test_the_result_is_that_of_the_found_network_and_plain_json(table):
    spec, result = found(table, {"block1/se0.5": -0.2, "block2/kernel5": -0.3})
    costs = network_cost(spec, image_size=SIZE, num_classes=CLASSES)
    assert json.loads(json.dumps(result)) == result
    assert result["arch"] == blockstring.write(spec).splitlines()
    for key in ("macs", "macs_exact", "params"):
        assert result[key] == getattr(costs.total, key)
    assert sum(row["macs"] for row in result["blocks"]) == result["macs"]
    assert result["smallest_macs"] < result["macs"] < result["largest_macs"]


def test_close_calls_are_the_nearest_gates_that_count(table):
    _, result = found(
        table,
        {"block1/kernel5": -0.02, "block1/kernel7": 0.001, "block1/nl": 0.03, "block2/keep": 0.01, "block2/nl": -0.4},
    )
    model = macs_model(table.space, image_size=SIZE, num_classes=CLASSES)
    calls = results.close_calls(table, model, result, most=4)
    names = [call["name"] for call in calls]
    assert all((call["cost_change"] < 0) == call["open"] for call in calls)
    assert names == ["block2/keep", "block1/kernel5", "block1/nl", "block2/nl"]
    assert len(results.close_calls(table, model, result)) == 12


def test_a_gate_that_was_closed_for_what_it_gains_is_closed_and_no_close_call(table):
    margins, place = np.full(len(table), 0.5), table.names.index("block1/nl")
    margins[place] = 0.01
    record = {"gain/block1/nl": -0.002, "gain_error/block1/nl": 0.001, "gain_price/block1/nl": 0.004}
    closed = np.arange(len(table)) == place
    spec, result = results.summary(table, margins, image_size=SIZE, num_classes=CLASSES, closed=closed, record=record)
    assert spec == table.decode(~closed)
    gate = result["gates"][place]
    assert gate["closed"] and not gate["open"] and gate["margin"] == 0.01
    assert gate["measured"] == {"gain": -0.002, "error": 0.001, "price": 0.004}
    assert [gate["name"] for gate in result["gates"] if gate["measured"]] == ["block1/nl"]
    model = macs_model(table.space, image_size=SIZE, num_classes=CLASSES)
    assert "block1/nl" not in {call["name"] for call in results.close_calls(table, model, result, most=99)}


def schedule(**changed):
    # Warm-up 0..49, decision 50..89, settling 90..99.
    settings = {
        "total_steps": 100,
        "warmup_steps": 50,
        "settle_steps": 10,
        "keep_probability": 0.6,
        "cost_lambda": 0.3,
        "threshold_travel": 3.0,
    }
    return SearchSchedule(**(settings | changed))


@pytest.mark.parametrize(
    ("step", "flip", "multiplier", "settled"),
    [
        (0, 0.4, 0.0, False),
        (49, 0.4, 0.0, False),
        (50, 0.0, 0.3, False),
        (89, 0.0, 0.3, False),
        (90, 0.0, 0.3, True),
        (99, 0.0, 0.3, True),
    ],
)
def test_the_phases_begin_at_their_steps(step, flip, multiplier, settled):
    phases, now = schedule(), tf.constant(step, tf.int64)
    assert phases.flip_probability(now, tf.zeros([2])).numpy() == pytest.approx([flip] * 2)
    assert float(phases.multiplier(now)) == pytest.approx(multiplier)
    assert bool(phases.settled(now)) is settled
    assert phases.settle_start == 90


def test_in_the_warm_up_a_closed_gate_is_opened_half_of_the_time():
    phases, margins = schedule(), tf.constant([0.02, -0.02])
    for step, flips in ((0, [0.4, 0.5]), (50, [0.0, 0.0])):
        assert phases.flip_probability(tf.constant(step, tf.int64), margins).numpy() == pytest.approx(flips)


def test_without_warm_up_decisions_begin_at_step_0():
    phases, now = schedule(warmup_steps=0), tf.constant(0, tf.int64)
    assert phases.flip_probability(now, tf.zeros([2])).numpy() == pytest.approx([0.0] * 2)
    assert float(phases.multiplier(now)) == pytest.approx(0.3)


@pytest.mark.parametrize(("start", "stop", "travel"), [(50, 90, 3.0), (0, 7, 1.5), (624, 900, 0.0)])
def test_a_thresholds_rates_add_up_to_its_travel_and_lie_in_the_decision_phase(start, stop, travel):
    rate = ThresholdRate(start, stop, travel)
    rates = np.array([float(rate(tf.constant(step, tf.int64))) for step in range(stop + 10)])
    length = stop - start
    assert not rates[:start].any() and not rates[stop:].any()
    assert rates.sum() == pytest.approx(travel, rel=1e-4)
    assert rates[start] == pytest.approx(2 * travel / length * (1 - 0.5 / length))
    np.testing.assert_allclose(np.diff(rates[start:stop]), -2 * travel / length**2, rtol=1e-3, atol=1e-7)


def seeds(step, seed=0):
    return tf.constant([seed, step], tf.int64)


def test_gates_drawn_with_one_seed_are_alike_and_with_another_differ():
    margins, probability = tf.ones([200]), tf.constant(0.4)
    first, same, later, other = (
        draw_gates(margins, probability, seed).numpy() for seed in (seeds(3), seeds(3), seeds(4), seeds(3, seed=1))
    )
    np.testing.assert_array_equal(first, same)
    assert (first != later).any() and (first != other).any()


def test_without_flips_gates_are_as_they_stand_with_the_sigmoids_slope():
    margins = tf.Variable([-0.4, 0.0, 0.7])
    with tf.GradientTape() as tape:
        gates = draw_gates(margins, tf.constant(0.0), seeds(1))
    np.testing.assert_array_equal(gates, [0, 1, 1])
    sigmoid = 1 / (1 + np.exp(-margins.numpy()))
    np.testing.assert_allclose(tape.gradient(gates, margins), sigmoid * (1 - sigmoid), rtol=1e-6)


@pytest.mark.parametrize("probability", [0.05, 0.2, 0.4, 0.5])
@pytest.mark.parametrize("margin", [-0.3, 0.6])
def test_flips_have_their_share_and_the_gradient_at_the_value_drawn(probability, margin):
    """With loss f(g) = g^3 + g per gate the slope is 1 at 0 and 4 at 1, times sigmoid'."""
    count = 200_000
    margins = tf.Variable(tf.fill([count], margin))
    with tf.GradientTape() as tape:
        gates = draw_gates(margins, tf.constant(probability), seeds(7))
        loss = tf.reduce_sum(gates**3 + gates)
    flipped = float(np.mean(gates.numpy() != float(margin >= 0)))
    spread = np.sqrt(probability * (1 - probability) / count)
    assert flipped == pytest.approx(probability, abs=5 * spread)
    sigmoid = 1 / (1 + np.exp(-margin))
    gradient = tape.gradient(loss, margins).numpy() / (sigmoid * (1 - sigmoid))
    np.testing.assert_allclose(gradient, 1 + 3 * gates.numpy(), rtol=1e-5)
