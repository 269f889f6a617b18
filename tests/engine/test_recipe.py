"""Optimizer, averages and learning rate against numbers of the official training."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from autonl_tf.engine.averages import MovingAverages
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.engine.schedules import WarmupCosine, WarmupStaircase, scale_learning_rate

GOLDEN = Path(__file__).parents[1] / "testdata" / "train"


class FromTable(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, rates):
        self.rates = tf.constant(rates)

    def __call__(self, step):
        return self.rates[tf.cast(step, tf.int32)]


def test_optimizer_and_averages_follow_the_official_ones():
    golden = np.load(GOLDEN / "rmsprop_ema.npz")
    variable = tf.Variable(golden["w0"], name="w")
    optimizer = TF1RMSprop(FromTable(golden["lr"]))
    averages = MovingAverages([variable], 0.9999)

    @tf.function  # traced once, applied 25 times: slots must not start anew
    def step(gradient, step_after):
        optimizer.apply_gradients([(gradient, variable)])
        averages.update(step_after)

    for index, gradient in enumerate(golden["grads"]):
        step(tf.constant(gradient), tf.constant(index + 1, tf.int64))
        np.testing.assert_allclose(variable.numpy(), golden["w"][index], rtol=2e-7, atol=3e-8)
        np.testing.assert_allclose(averages.shadows["w"].numpy(), golden["ema"][index], rtol=2e-7, atol=3e-8)


def test_eager_steps_equal_traced_ones():
    golden = np.load(GOLDEN / "rmsprop_ema.npz")
    variable, optimizer = tf.Variable(golden["w0"], name="w"), TF1RMSprop(FromTable(golden["lr"]))
    for gradient in golden["grads"]:
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
    np.testing.assert_allclose(variable.numpy(), golden["w"][-1], rtol=2e-7, atol=3e-8)


@pytest.mark.parametrize("traced", [False, True])
def test_learning_rates_equal_the_official_ones(traced):
    cases = json.loads((GOLDEN / "learning_rate.json").read_text())
    cases = [case for case in cases if case["decay"] == "exponential"]
    assert len(cases) >= 2
    for case in cases:
        warmup_epochs = max(0, case["warmup_epochs"])  # -1 stood for none
        warmup_steps = int(warmup_epochs * case["steps_per_epoch"])
        schedule = WarmupStaircase(case["initial_lr"], case["steps_per_epoch"], warmup_steps)
        schedule = tf.function(schedule.__call__) if traced else schedule
        reached = [schedule(tf.constant(step, tf.int64)).numpy() for step in case["steps"]]
        np.testing.assert_array_equal(np.array(reached), np.array(case["lr"], "f4"))


def test_schedule_without_warm_up_starts_at_the_peak():
    assert WarmupStaircase(0.5, 10.0, 0)(0).numpy() == 0.5
    assert WarmupStaircase(0.5, 10.0, 0)(24).numpy() == pytest.approx(0.5 * 0.97)


@pytest.mark.parametrize("warmup", [0, 10])
def test_the_cosine_rises_to_its_peak_and_ends_near_zero(warmup):
    rates = [WarmupCosine(0.5, 100, warmup)(tf.constant(step, tf.int64)).numpy() for step in range(100)]
    assert rates[warmup] == max(rates) == 0.5
    assert rates[:warmup] == pytest.approx([0.5 * (step + 1) / (warmup + 1) for step in range(warmup)])
    assert rates[(100 + warmup) // 2] == pytest.approx(0.25)
    assert 0 < rates[-1] < 0.001 and rates[warmup:] == sorted(rates[warmup:], reverse=True)


def test_learning_rate_scales_with_the_batch():
    assert scale_learning_rate(0.016, 4096) == 0.256


def test_swapped_averages_come_back_after_an_exception():
    variable = tf.Variable([1.0, 2.0], name="v")
    averages = MovingAverages([variable], 0.5)
    variable.assign([5.0, 7.0])
    with pytest.raises(KeyError), averages.swapped_in():
        np.testing.assert_array_equal(variable.numpy(), [1.0, 2.0])
        with pytest.raises(RuntimeError), averages.swapped_in():
            pass
        raise KeyError
    np.testing.assert_array_equal(variable.numpy(), [5.0, 7.0])
    np.testing.assert_array_equal(averages.shadows["v"].numpy(), [1.0, 2.0])


def test_first_average_weighs_the_new_value_nine_elevenths():
    variable = tf.Variable(0.0, name="v")
    averages = MovingAverages([variable], 0.9999)
    variable.assign(1.0)
    averages.update(tf.constant(1))
    assert averages.shadows["v"].numpy() == pytest.approx(9 / 11)


def test_two_variables_of_one_name_are_refused():
    with pytest.raises(ValueError, match="distinct"):
        MovingAverages([tf.Variable(0.0, name="v"), tf.Variable(1.0, name="v")], 0.5)
