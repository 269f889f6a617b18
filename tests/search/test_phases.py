"""Each phase begins and ends with its updates: what moves, and what stands, after every one of them."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from one_block import CANDIDATES

from autonl_tf.engine.learner import Learner, make_train_function
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search.multiplier import TargetMultiplier
from autonl_tf.search.objective import optimizer_groups, tracker
from autonl_tf.search.schedule import SearchSchedule
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model

WARMUP, DECISION, SETTLE = 3, 4, 2
SPACE = {"candidates": CANDIDATES, "blocks": [{"block": "r1_k5_s22_e6_i32_o8"}]}


@pytest.fixture(scope="module")
def steps():
    """After each update, where every gate is pushed closed and weights stand still: what the search's state is."""
    supernet = Supernet(
        space_lib.parse(SPACE, "test"), image_size=16, num_classes=3, start_margin=0.02, name="supernet"
    )
    schedule = SearchSchedule(WARMUP + DECISION + SETTLE, WARMUP, SETTLE, 0.6, 0.3, 1.0)
    learner = Learner(supernet, optimizer_groups(supernet, TF1RMSprop(0.01), schedule))
    model = macs_model(supernet.table.space, image_size=16, num_classes=3)
    low, high = model.reachable()
    target = TargetMultiplier(
        GateCost(supernet.table, model), (low * high) ** 0.5, (low, high), supernet.starts, schedule
    )

    def objective(images, labels, step):
        del images, labels
        still = tf.add_n([0.0 * tf.reduce_sum(v) for v in supernet.trainable_variables])
        metrics = {"cost_lambda": (tf.convert_to_tensor(target.value), 1.0), "deciding": (schedule.deciding(step), 1.0)}
        return still - tf.reduce_sum(supernet.thresholds), metrics

    train = make_train_function(tf.distribute.get_strategy(), learner, objective, tracker(supernet, schedule, target))
    batches = iter(tf.data.Dataset.from_tensors((tf.zeros([1, 16, 16, 3]), tf.zeros([1], tf.int32))).repeat())
    seen = []
    for _ in range(WARMUP + DECISION + SETTLE):
        metrics = train(batches, 1)
        seen.append(
            {
                "thresholds": supernet.thresholds.numpy(),
                "margins": supernet.margins.numpy(),
                "integral": np.array([target.integral.numpy()]),
                "lambda": np.array([metrics["cost_lambda"][0]]),
                "rate": np.array([metrics["learning_rate_1"][0]]),
                "deciding": metrics["deciding"][0],
            }
        )
    return seen


def changes(steps, name):
    """The updates, from 1, after which a value differs from the one after the update before."""
    pairs = itertools.pairwise(steps)
    return [number for number, (before, after) in enumerate(pairs, start=2) if (before[name] != after[name]).all()]


DECIDING = list(range(WARMUP + 1, WARMUP + DECISION + 1))


def test_the_objective_decides_in_the_decision_phase(steps):
    assert [number for number, step in enumerate(steps, start=1) if step["deciding"]] == DECIDING


@pytest.mark.parametrize("name", ["thresholds", "margins"])
def test_thresholds_and_margins_move_with_every_update_of_the_decision_phase_and_no_other(steps, name):
    assert changes(steps, name) == DECIDING


def test_lambda_counts_in_the_decision_phase_alone_and_rises_from_its_first_step(steps):
    values = [float(step["lambda"][0]) for step in steps]
    assert [number for number, value in enumerate(values, start=1) if value > 0] == DECIDING
    # It is set, and the sum grows, behind the update before.
    assert [step["integral"][0] > 0 for step in steps] == [False] * (WARMUP - 1) + [True] * (DECISION + SETTLE + 1)
    assert changes(steps, "integral")[-1] == WARMUP + DECISION - 1


def test_the_rates_shown_are_those_of_the_phase(steps):
    assert [number for number, step in enumerate(steps, start=1) if step["rate"][0] > 0] == DECIDING
