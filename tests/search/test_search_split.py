"""Thresholds that learn from images held out of training: who learns from which half, and that no image is in both."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from test_objective import RECIPE, SPACE

from autonl_tf.data.splits import IndexedSplit, divided
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search.objective import search_objective
from autonl_tf.search.schedule import SearchSchedule
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model

STEP = tf.constant(5, tf.int64)


def gradients(labels, cost_lambda=0.3):
    """Gradients to the weights and to the thresholds for one batch of four, of which the last two are held out."""
    keras.utils.set_random_seed(1)
    supernet = Supernet(space_lib.parse(SPACE, "test"), image_size=16, num_classes=3, start_margin=1.0, name="supernet")
    for block in supernet.blocks:
        gamma = block.inserted["nl"].bn.gamma
        gamma.assign(tf.ones_like(gamma))  # else LightNL's gates feel nothing at the start
    schedule = SearchSchedule(10, 2, 2, 0.6, 0.0, cost_lambda, 3.0)
    cost = GateCost(supernet.table, macs_model(supernet.table.space, image_size=16, num_classes=3))
    objective = search_objective(supernet, cost, schedule, seed=0, held_out=True, **RECIPE)
    images = tf.random.stateless_normal([4, 16, 16, 3], [3, 4])
    weights = [v for v in supernet.trainable_variables if v is not supernet.thresholds]
    with tf.GradientTape() as tape:
        loss, metrics = objective(images, tf.constant(labels), STEP)
    of_weights, of_thresholds = tape.gradient(loss, [weights, supernet.thresholds])
    flat = np.concatenate([np.ravel(tf.convert_to_tensor(g)) for g in of_weights if g is not None])
    return flat, of_thresholds.numpy(), metrics


def test_weights_learn_from_the_first_half_alone_and_thresholds_from_the_second():
    weights, thresholds, metrics = gradients([0, 1, 2, 0])
    other_first = gradients([1, 2, 2, 0])
    other_second = gradients([0, 1, 1, 1])
    np.testing.assert_array_equal(thresholds, other_first[1])
    assert np.abs(weights - other_first[0]).max() > 1e-3
    np.testing.assert_array_equal(weights, other_second[0])
    assert np.abs(thresholds - other_second[1]).max() > 1e-4
    assert {"cross_entropy", "held_out_cross_entropy"} <= set(metrics)


def test_the_cost_moves_the_thresholds_and_not_the_weights():
    free, charged = gradients([0, 1, 2, 0], 0.0), gradients([0, 1, 2, 0], 3.0)
    np.testing.assert_array_equal(free[0], charged[0])
    assert (charged[1] < free[1]).all()  # a higher threshold is cheaper


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_two_parts_share_no_example_and_miss_none(share):
    whole = IndexedSplit(37, lambda index: {"label": index})
    parts = divided(whole, share, 5)
    seen = [[int(part.fetch(tf.constant(i, tf.int64))["label"]) for i in range(part.size)] for part in parts]
    assert sorted(seen[0] + seen[1]) == list(range(37))
    assert len(seen[1]) == round(share * 37)
    again = divided(whole, share, 5)[1]
    assert [int(again.fetch(tf.constant(i, tf.int64))["label"]) for i in range(again.size)] == seen[1]
