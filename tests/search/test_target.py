"""A search for a budget: the controller, what is flipped to meet it, and what is said about that."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dynamics import CLASSES, SIZE, SPACE, STEPS, search

from autonl_tf.errors import UserError
from autonl_tf.networks.gate_table import GateTable
from autonl_tf.search import results
from autonl_tf.search.multiplier import INTEGRAL, PROPORTIONAL, REACHED, TargetMultiplier
from autonl_tf.search.schedule import SearchSchedule
from autonl_tf.search.target_flips import TOLERANCE, flips_to_target
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


def brute_force(margins, target, noise):
    """The least sum of |margin| over all subsets of gates, within the tolerance that the margins allow; None where no
    member comes within a tenth."""
    subsets = [np.array([bits >> gate & 1 for gate in range(len(TABLE))], bool) for bits in range(2 ** len(TABLE))]
    errors = [MODEL.of(TABLE.selections((margins >= 0) ^ flips)) / target - 1 for flips in subsets]
    for most, shortfalls in ((noise, (0.01, 0.02, 0.05, 0.1)), (np.inf, (0.1,))):
        for shortfall in shortfalls:
            weights = [
                np.abs(margins[flips]).sum()
                for flips, error in zip(subsets, errors, strict=True)
                if -shortfall <= error <= TOLERANCE and np.all(np.abs(margins[flips]) <= most)
            ]
            if weights:
                return min(weights)
    return None


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0.05, 0.5))
def test_flips_land_near_the_target_with_the_least_sum_of_margins(seed, share, noise):
    margins = np.random.default_rng(seed).uniform(-0.5, 1, len(TABLE))
    low, high = MODEL.reachable()
    target = low + share * (high - low)
    flips = flips_to_target(TABLE, MODEL, margins, target, noise)
    reached = MODEL.of(TABLE.selections((margins >= 0) ^ flips))
    if abs(MODEL.of(TABLE.selections(margins >= 0)) / target - 1) <= TOLERANCE:
        assert not flips.any()
    elif (least := brute_force(margins, target, noise)) is None:
        everything = [
            MODEL.constant + float(a) + float(b) for a in MODEL.tables[0].ravel() for b in MODEL.tables[1].ravel()
        ]
        nearest = min(abs(cost / target - 1) for cost in everything)
        assert abs(reached / target - 1) <= nearest + 1e-3
    else:
        assert -0.1 <= reached / target - 1 <= TOLERANCE
        assert np.abs(margins[flips]).sum() == pytest.approx(least, rel=0.1, abs=0.02)


def test_firm_decisions_stay_where_close_calls_come_near_enough():
    """One gate a block is a close call, all others are firm: a target 4% above what closing those costs."""
    margins = np.ones(len(TABLE))
    close = [TABLE.names.index(f"block{block}/expand6") for block in range(2)]
    margins[close] = 0.01
    closed = np.ones(len(TABLE), bool)
    closed[close] = False
    target = MODEL.of(TABLE.selections(closed)) * 1.04
    flips = flips_to_target(TABLE, MODEL, margins, target, 0.2)
    assert list(np.flatnonzero(flips)) == sorted(close)
    flips = flips_to_target(TABLE, MODEL, margins, target, np.inf)  # nothing is firm
    assert abs(MODEL.of(TABLE.selections((margins >= 0) ^ flips)) / target - 1) <= TOLERANCE


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_a_gate_that_was_closed_for_what_it_gains_is_never_flipped_open(seed, share):
    margins = np.random.default_rng(seed).uniform(-0.5, 1, len(TABLE))
    closed = np.array([name.endswith("/nl") for name in TABLE.names])
    low, high = MODEL.reachable()
    flips = flips_to_target(TABLE, MODEL, np.where(closed, -np.inf, margins), low + share * (high - low), 0.2)
    assert not flips[closed].any()


def test_nothing_is_flipped_where_the_target_is_met_already():
    margins = np.full(len(TABLE), 0.5)
    assert not flips_to_target(TABLE, MODEL, margins, MODEL.reachable()[1] * 0.995, 0.2).any()


@pytest.mark.parametrize("name", ["paper", "demo"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.98])
def test_every_shipped_space_lands_within_a_hundredth_where_no_margin_is_too_firm(name, share):
    table = GateTable(space_lib.load(name))
    model = macs_model(table.space, image_size={"paper": 224, "demo": 64}[name], num_classes=8)
    low, high = model.reachable()
    target = low * (high / low) ** share
    margins = np.random.default_rng(0).uniform(-0.5, 1, len(table))
    flips = flips_to_target(table, model, margins, target, np.inf)
    assert abs(model.of(table.selections((margins >= 0) ^ flips)) / target - 1) <= TOLERANCE


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


def controller(target, reach=(50.0, 400.0), gates=4, steps=20):
    """A decision phase of so many steps behind two of warm-up, over gates of equal cost that start at 1."""
    low, high = reach
    schedule = SearchSchedule(steps + 2, 2, 0, 0.6, 0.3, 3.0)
    cost = lambda gates: low + (high - low) * tf.reduce_mean(gates)  # noqa: E731
    return TargetMultiplier(cost, target, reach, np.ones(gates), schedule)


def told(multiplier, margins, step):
    """lambda of the decision phase's `step`, from 0, at these margins."""
    multiplier.update(tf.constant(margins, tf.float32), tf.constant(step + 1, tf.int64))
    return float(multiplier.value)


def test_lambda_is_proportional_and_integral_against_a_budget_that_comes_down():
    multiplier, total = controller(100.0), 0.0
    for step, margin in enumerate(np.linspace(1.0, -0.2, 20)):
        progress = (step + 1) / 20
        sharpness = 2 * (30 / 2) ** progress
        start, now = (np.log(50 + 350 / (1 + np.exp(-sharpness * z))) for z in (1.0, margin))
        error = (now - start - min(progress / REACHED, 1) * (np.log(100) - start)) / np.log(8)
        total = max(total + error / 20, 0)
        expected = max(PROPORTIONAL * error + INTEGRAL * total, 0)
        assert told(multiplier, [margin] * 4, step) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert told(multiplier, [1.0] * 4, 20) == 0  # settling


def test_nothing_is_wound_up_while_the_cost_is_below_the_budget():
    multiplier = controller(300.0)
    for step in range(15):
        assert told(multiplier, [-1.0] * 4, step) == 0
    assert float(multiplier.integral) == 0
    assert told(multiplier, [1.0] * 4, 15) > 0.1


def test_in_a_space_of_one_cost_there_is_no_error_to_correct():
    assert told(controller(100.0, (100.0, 100.0)), [1.0] * 4, 0) == 0


@pytest.mark.parametrize("target", [80.0, 150.0, 250.0])
@pytest.mark.parametrize("steps", [60, 200])
def test_gates_close_one_after_the_other_by_what_they_gain_and_not_beyond_the_target(target, steps):
    """A model of a search without noise: thresholds move by a rate that falls to 0, with the momentum of Adam."""
    gains, gates = np.linspace(0.002, 0.03, 10), 10
    multiplier = controller(target, gates=gates, steps=steps)
    margins, mean = np.ones(gates), np.zeros(gates)
    lowest, order = np.inf, []
    for step in range(steps):
        price = told(multiplier, margins, step)
        cost = 50 + 35 * (margins >= 0).sum()
        mean = 0.9 * mean + 0.1 * np.clip((gains - price * 35 / cost) / 0.01, -1, 1)
        rate = 2 * 3.0 / steps * (steps - step - 0.5) / steps
        margins = np.minimum(margins + rate * mean, 1)
        order += [gate for gate in np.flatnonzero(margins < 0) if gate not in order]
        lowest = min(lowest, 50 + 35 * (margins >= 0).sum())
    assert lowest > target - 2 * 35
    assert abs(50 + 35 * (margins >= 0).sum() - target) < 2 * 35
    assert order == sorted(order)
    closed = margins[margins < 0]
    assert len(np.unique(closed.round(6))) == len(closed)


def result_of(margins, flipped, target, steps=300):
    """A result of so many steps of decisions (300: a noise of 0.2), and how it stands to the target."""
    _, result = results.summary(TABLE, margins, image_size=16, num_classes=3, flipped=flipped)
    return result, results.budget(TABLE, MODEL, result, target, SearchSchedule(steps, 0, 0, 0.6, 0.3, 3.0))


def flipping(**margins):
    """Margins of 0.5, of the gates named these, and the named ones flipped."""
    places = {TABLE.names.index(name): margin for name, margin in margins.items()}
    values, flipped = np.full(len(TABLE), 0.5), np.zeros(len(TABLE), bool)
    for place, margin in places.items():
        values[place], flipped[place] = margin, True
    return values, flipped


def test_flips_are_told_with_the_share_of_the_cost_that_they_decided():
    result, budget = result_of(*flipping(**{"block1/nl": 0.01}), 1e6)
    gate = result["gates"][TABLE.names.index("block1/nl")]
    turned = {"flipped": True, "closed": False, "measured": None}
    assert gate == {"name": "block1/nl", "margin": 0.01, "open": False, "counts": True} | turned
    assert budget["flips"] == ["block1/nl"] and budget["flips_not_close"] == []
    assert budget["found"] == result["macs"] < budget["before_flips"]
    assert budget["flips_share"] == pytest.approx(budget["before_flips"] / budget["found"] - 1)
    assert budget["converged"]


def test_each_flip_has_to_be_a_close_call_however_firm_all_others_are():
    close, not_close = {"block1/nl": 0.19}, {"block1/nl": 0.21}
    assert result_of(*flipping(**close), 1e6)[1]["converged"]
    budget = result_of(*flipping(**not_close), 1e6)[1]
    assert budget["flips_not_close"] == ["block1/nl"] and not budget["converged"]
    assert result_of(*flipping(**not_close), 1e6, steps=133)[1]["converged"]
    assert not result_of(*flipping(**not_close), 1e6, steps=33)[1]["converged"]  # too short to tell


def test_close_calls_that_decide_much_of_the_cost_are_not_converged():
    budget = result_of(*flipping(**{"block1/keep": -0.001}), 1e6)[1]
    assert budget["flips_not_close"] == [] and budget["flips_share"] > results.MOST_FLIPPED
    assert not budget["converged"]


def warned(margins, flipped, steps, target=None):
    result, _ = result_of(margins, flipped, target)
    schedule = SearchSchedule(steps, 0, 0, 0.6, 0.3, 3.0)
    result["budget"] = results.budget(TABLE, MODEL, result, target, schedule)
    result["decisions"] = results.decisions(result, schedule, {})
    return [line.partition(":")[0] for line in results.warnings(result, schedule)], result["decisions"]


def test_a_search_says_what_of_it_is_not_to_be_trusted():
    largest, none = np.full(len(TABLE), 1.0), np.zeros(len(TABLE), bool)
    closed = np.where([name.startswith("block1/") for name in TABLE.names], -0.9, 1.0)
    said, decided = warned(closed, none, 200)
    unmeasured = {"measured_images": 0}
    assert not said
    assert (
        decided
        == {"steps": 200, "noise": pytest.approx(0.245, abs=1e-3), "counting": 5, "within_noise": 0} | unmeasured
    )
    assert warned(largest, none, 200)[0] == ["DECIDED NOTHING"]
    assert warned(largest, none, 200, target=MODEL.reachable()[1])[0] == []
    assert warned(closed, none, 48)[0] == [] and warned(closed, none, 47)[0] == ["TOO SHORT"]
    assert warned(*flipping(**{"block1/keep": -0.3}), 200, target=1e6)[0] == ["NOT CONVERGED"]
    assert warned(closed / 10, none, 200)[1]["within_noise"] == 5


def test_where_all_members_cost_about_the_same_nothing_is_said_of_what_was_taken_off():
    schedule = SearchSchedule(200, 0, 0, 0.6, 0.3, 3.0)
    decided = {"noise": schedule.noise}
    for cheapest, said in ((99.0, 0), (90.0, 1)):
        budget = {"before_flips": 100.0, "dearest": 100.0, "cheapest": cheapest}
        assert len(results.warnings({"budget": budget, "decisions": decided}, schedule)) == said


def test_the_cost_before_flips_is_that_of_the_decisions_however_small_a_margin():
    margins = np.full(len(TABLE), 0.5, np.float32)
    margins[TABLE.names.index("block1/keep")] = -2e-7  # told as 0.0
    _, budget = result_of(margins, np.zeros(len(TABLE), bool), 1e6)
    assert budget["before_flips"] == budget["found"]


def test_lambda_at_the_end_follows_from_the_margins_and_from_what_was_summed_up():
    multiplier, margins = controller(target=100.0), tf.ones([4])
    told(multiplier, margins, 3)
    error = float(multiplier._error(margins, 1.0))
    expected = PROPORTIONAL * error + INTEGRAL * float(multiplier.integral)
    assert float(multiplier.at_end(margins)) == pytest.approx(expected) and expected > 0
    assert float(multiplier.at_end(-margins)) == 0.0  # cheaper than the target


@pytest.fixture(scope="module")
def searched():
    """A low target, the result of a search for it, and its records."""
    space = space_lib.parse(SPACE, "test")
    low, high = macs_model(space, image_size=SIZE, num_classes=CLASSES).reachable()
    target = low * (high / low) ** 0.2
    return (target, *search(0.0, target=target))


@pytest.mark.slow
def test_a_low_target_brings_the_cost_down_before_any_flip(searched):
    target, result, _ = searched
    assert (1 - TOLERANCE) * target <= result["macs"] < 0.98 * result["largest_macs"]


def test_lambda_rises_at_first_for_a_low_target_and_is_0_outside_the_decision_phase(searched):
    warm = STEPS // 4 // 8  # records of the warm-up
    told = [record["cost_lambda"] for record in searched[2]]
    assert set(told[:warm]) == {0.0} == {told[-1]}
    assert 0 < told[warm] < told[warm + 1]
