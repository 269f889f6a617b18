"""How far thresholds move: what --threshold_travel promises, whatever came before the decision phase."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from autonl_tf.search.schedule import SearchSchedule, ThresholdRate
from autonl_tf.search.threshold_optimizer import ThresholdAdam

WARMUP, DECISION, TRAVEL = 60, 40, 3.0


def moved(gradients, start=WARMUP, travel=TRAVEL):
    """Where thresholds [G] are after each of these gradients [steps, G], from 0; the last 3 steps settle."""
    thresholds = tf.Variable(tf.zeros(gradients.shape[1]))
    optimizer = ThresholdAdam(ThresholdRate(start, len(gradients) - 3, travel))
    optimizer.build([thresholds])

    @tf.function
    def run(gradients):
        taken = tf.TensorArray(tf.float32, gradients.shape[0])
        for step in tf.range(gradients.shape[0]):
            optimizer.apply_gradients([(gradients[step], thresholds)])
            taken = taken.write(step, thresholds)
        return taken.stack()

    return run(tf.constant(gradients, tf.float32)).numpy()


def behind(warmup, gradient):
    """A warm-up of gradients [WARMUP, G], then one gradient [G] at every step."""
    return np.concatenate([warmup, np.tile(gradient, (DECISION + 3, 1))])


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-9, 1e3])
def test_a_constant_gradient_moves_a_threshold_by_the_travel_whatever_the_warm_up_was(size):
    noise = np.random.default_rng(0).normal(size=WARMUP)
    ones = np.ones(WARMUP)
    warmups = size * np.stack([0 * ones, ones, -ones, noise, 100 * noise, 0.01 * ones, -100 * ones], 1)
    thresholds = moved(behind(warmups, size * np.ones(warmups.shape[1])))
    assert not thresholds[:WARMUP].any()
    np.testing.assert_array_equal(thresholds, np.tile(thresholds[:, :1], thresholds.shape[1]))
    assert thresholds[-1] == pytest.approx(-TRAVEL, rel=1e-5)
    np.testing.assert_array_equal(thresholds[-4], thresholds[-1])


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.floats(-12, 3), st.booleans())
def test_no_gradients_move_a_threshold_further_than_its_travel(seed, spread, same_sign):
    rng = np.random.default_rng(seed)
    # Their squares stay within float32: a run stops at a gradient norm that is not finite.
    gradients = np.clip(np.exp(spread * rng.normal(size=[WARMUP + DECISION + 3, 5])), 1e-15, 1e15)
    gradients[:, 1:3] = np.sort(gradients[:, 1:3], 0)  # those that grow, Adam's own steps are largest for
    if not same_sign:
        gradients *= rng.choice([-1, 1], gradients.shape)
    assert np.abs(moved(gradients)).max() <= TRAVEL * (1 + 1e-5)


@pytest.mark.parametrize("size", [0.5, 3.0, 1e3])
def test_noise_slows_a_threshold_down_and_makes_it_wander_as_the_schedule_says(size):
    rng = np.random.default_rng(0)
    gradients = behind(100 * rng.normal(size=[WARMUP, 400]), np.ones(400)) + size * rng.normal(size=[103, 400])
    thresholds = moved(gradients)[-1]
    assert -thresholds.mean() == pytest.approx(TRAVEL / np.sqrt(1 + size**2), rel=0.15, abs=0.1)
    wander = SearchSchedule(WARMUP + DECISION, WARMUP, 0, 0.6, 0.3, TRAVEL).noise
    assert wander == pytest.approx(0.5477, abs=1e-3)
    if size >= 3:
        assert thresholds.std() == pytest.approx(wander, rel=0.3)


def test_a_step_that_is_passed_over_is_not_counted():
    """As of a loss that is not finite: the next one is the first."""
    thresholds = tf.Variable([0.0])
    optimizer = ThresholdAdam(ThresholdRate(0, 4, 1.0))
    optimizer.build([thresholds])
    optimizer.iterations.assign_add(1)
    optimizer.apply_gradients([(tf.constant([0.7]), thresholds)])
    rate = 2 / 4 * (4 - 1 - 0.5) / 4
    assert float(thresholds[0]) == pytest.approx(-rate, rel=1e-6)
