"""Thresholds that learn from images held out of training: who learns from which half, and that no image is in both."""

import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from mode_cases import configure
from test_objective import RECIPE, SPACE

from autonl_tf.data.example_order import IndexedSplit, divided
from autonl_tf.engine.batch_norm import forward_state
from autonl_tf.engine.learner import Learner
from autonl_tf.engine.update_check import UpdateCheck
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.supernet import Supernet
from autonl_tf.prepare import inputs
from autonl_tf.search.objective import search_objective
from autonl_tf.search.schedule import SearchSchedule
from autonl_tf.search.threshold_optimizer import ThresholdAdam
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model

STEP = tf.constant(5, tf.int64)


def gradients(labels, cost_lambda=0.3, brighter=(0.0, 0.0)):
    """Gradients to the weights and to the thresholds for one batch of four, of which the last two are held out; the
    metrics; and what the step left in batch norm's statistics and in the distances."""
    keras.utils.set_random_seed(1)
    supernet = Supernet(space_lib.parse(SPACE, "test"), image_size=16, num_classes=3, start_margin=1.0, name="supernet")
    for block in supernet.blocks:
        gamma = block.inserted["nl"].bn.gamma
        gamma.assign(tf.ones_like(gamma))  # else LightNL's gates feel nothing at the start
    schedule = SearchSchedule(10, 2, 2, 0.6, cost_lambda, 3.0)
    cost = GateCost(supernet.table, macs_model(supernet.table.space, image_size=16, num_classes=3))
    objective = search_objective(supernet, cost, schedule, seed=0, held_out=True, **RECIPE)
    images = tf.random.stateless_normal([4, 16, 16, 3], [3, 4]) + np.repeat(brighter, 2)[:, None, None, None]
    weights = [v for v in supernet.trainable_variables if v is not supernet.thresholds]
    written = forward_state(supernet)
    before = [variable.numpy() for variable in written]
    with tf.GradientTape() as tape:
        loss, metrics = objective(images, tf.constant(labels), STEP)
    of_weights, of_thresholds = tape.gradient(loss, [weights, supernet.thresholds])
    flat = np.concatenate([np.ravel(tf.convert_to_tensor(g)) for g in of_weights if g is not None])
    left = [variable.numpy() for variable in written]
    assert any((a != b).any() for a, b in zip(left, before, strict=True))
    return flat, of_thresholds.numpy(), metrics, np.concatenate([np.ravel(value) for value in left])


def test_weights_learn_from_the_first_half_alone_and_thresholds_from_the_second():
    weights, thresholds, metrics, _ = gradients([0, 1, 2, 0])
    other_first = gradients([1, 2, 2, 0])
    other_second = gradients([0, 1, 1, 1])
    np.testing.assert_array_equal(thresholds, other_first[1])
    assert np.abs(weights - other_first[0]).max() > 1e-3
    np.testing.assert_array_equal(weights, other_second[0])
    assert np.abs(thresholds - other_second[1]).max() > 1e-4
    assert {"cross_entropy", "held_out_cross_entropy"} <= set(metrics)


@pytest.mark.parametrize("replicas", [1, 2])
def test_each_replica_gets_as_many_images_of_either_part_those_held_out_behind(replicas, monkeypatch):
    devices = [f"CPU:{number}" for number in range(replicas)]
    strategy = tf.distribute.MirroredStrategy(devices) if replicas > 1 else tf.distribute.get_strategy()
    parts = {"learnt": 0, "held out": 100}

    def train_batches(of, batch_size, **how):
        numbers = parts[of] + tf.range(batch_size)
        return tf.data.Dataset.from_tensors((numbers, numbers)).repeat()

    monkeypatch.setattr(inputs, "train_batches", train_batches)
    words = ("--mode=search", "--dataset=demo", "--model_dir=x", "--train_batch_size=4", "--input_image_size=32")
    batches = inputs.training_input(configure(*words), strategy, "learnt", None, "held out")(0)
    images, labels = next(batches)
    for values in (images, labels):
        own = [copy.numpy().tolist() for copy in strategy.experimental_local_results(values)]
        assert own == {1: [[0, 1, 2, 3, 100, 101, 102, 103]], 2: [[0, 1, 100, 101], [2, 3, 102, 103]]}[replicas]


def test_held_out_images_leave_no_trace_in_statistics_and_distances():
    left = gradients([0, 1, 2, 0])[3]
    np.testing.assert_array_equal(left, gradients([0, 1, 2, 0], brighter=(0.0, 5.0))[3])
    assert np.abs(left - gradients([0, 1, 2, 0], brighter=(5.0, 0.0))[3]).max() > 1e-3


def test_a_clipped_weight_does_not_feel_the_thresholds_gradient():
    """Whose length is the held-out images'; its own steps do not depend on it, so it is no part of the norm."""
    variables = [tf.Variable([1.0, 2.0], name="weights"), tf.Variable([0.5], name="thresholds")]
    moved = []
    for size in (0.0, 1.0, 1e6):
        optimizers = (keras.optimizers.SGD(1.0), ThresholdAdam(0.1))
        for variable, value in zip(variables, ([1.0, 2.0], [0.5]), strict=True):
            variable.assign(value)
        model = types.SimpleNamespace(variables=variables, trainable_variables=variables, non_trainable_variables=[])
        learner = Learner(
            model, [(o, [v]) for o, v in zip(optimizers, variables, strict=True)], update_check=UpdateCheck(clip_norm=1)
        )

        def step(learner=learner, size=size):
            gradients = [tf.constant([6.0, 8.0]), tf.constant([size])]
            return learner.update_check.update(
                tf.constant(0.0), gradients, learner.apply, learner.pass_over, [], clipped=learner.clipped
            )

        update = tf.distribute.get_strategy().run(tf.function(step))
        assert float(update.norm) == pytest.approx(10)
        moved.append([variable.numpy() for variable in variables])
    np.testing.assert_allclose(moved[0][0], [0.4, 1.2], rtol=1e-6)
    np.testing.assert_array_equal(moved[1][0], moved[0][0])
    np.testing.assert_array_equal(moved[2][0], moved[0][0])
    np.testing.assert_array_equal(moved[2][1], moved[1][1])


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
