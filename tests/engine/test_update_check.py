"""Updates that are clipped, scaled or left out: what changes, what must not, and what the run says."""

import json

import numpy as np
import pytest
import tensorflow as tf
from engine_tiny_run import BATCH, Run, train_dataset

from autonl_tf.engine import checkpoints, learner, objectives, update_check
from autonl_tf.errors import UserError


def batch(step=0):
    return next(iter(train_dataset(step)))


def poisoned(run, bad_steps, value=np.nan):
    """`make_batches` whose images are not finite at some steps, counted from 1."""
    return lambda start: run.batches(start, bad_steps=bad_steps, bad_value=value)


def by_hand(run, steps, clip=None):
    """The same steps in eager operations, nothing in between: gradient, RMSProp, averages."""
    objective = objectives.classification_objective(
        run.model, global_batch_size=BATCH, num_micro_batches=1, label_smoothing=0.1, weight_decay_rate=1e-3
    )
    variables, optimizer, norms = run.model.trainable_variables, run.learner.optimizers[0], []

    @tf.function
    def step(images, labels, after):
        with tf.GradientTape() as tape:
            loss, _ = objective(images, labels, after - 1)
        gradients = tape.gradient(loss, variables)
        norm = tf.linalg.global_norm(gradients)
        if clip is not None:
            gradients = [gradient * tf.minimum(1.0, clip / norm) for gradient in gradients]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        run.averages.update(after)
        return norm

    for number in range(steps):
        norms.append(step(*batch(number), tf.constant(number + 1, tf.int64)).numpy())
    return norms


def assert_same(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name, value in first.items():
        if tolerance:
            np.testing.assert_allclose(value, second[name], err_msg=name, **tolerance)
        else:
            np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_without_a_check_steps_are_those_of_a_plain_loop():
    run, plain = Run(), Run()
    metrics = run.train(run.batches(), 6)
    norms = by_hand(plain, 6)
    assert_same(run.everything(), plain.everything(), rtol=1e-5, atol=1e-7)
    assert metrics["gradient_norm"][0] == pytest.approx(sum(norms), rel=1e-5)


def test_clipping_scales_the_whole_gradient_to_the_norm():
    run, plain = Run(clip_norm=0.1), Run()
    metrics = run.train(run.batches(), 6)
    norms = by_hand(plain, 6, clip=0.1)
    assert min(norms) > 0.1
    assert metrics["gradient_norm"][0] == pytest.approx(sum(norms), rel=1e-5)  # before clipping
    assert_same(run.everything(), plain.everything(), rtol=1e-5, atol=1e-7)
    far = Run(clip_norm=1e6)
    far.train(far.batches(), 6)
    plain = Run()
    plain.train(plain.batches(), 6)
    assert_same(far.everything(), plain.everything())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_skipped_update_leaves_weights_slots_and_statistics_as_they_were(value):
    run = Run(skip=True)
    batches = poisoned(run, [3], value)(0)
    run.train(batches, 2)
    before = run.everything()
    metrics = run.train(batches, 1)
    after = run.everything()
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    # the optimizer's step and learning rate go on, and the averages of what stands still
    counters = {name for name in before if name.startswith("slot") and before[name].ndim == 0}
    assert moved <= counters | {name for name in before if name.startswith(("average ", "state "))}
    assert metrics["non_finite_loss"] == (3.0, 1.0)
    assert metrics["loss"] == (0.0, 0.0)
    assert (run.learner.current_step, run.learner.skipped_updates) == (3, 1)
    metrics = run.train(batches, 2)
    assert np.isfinite(metrics["loss"][0]) and metrics["loss"][1] == 2.0
    assert int(run.learner.optimizers[0].iterations.numpy()) == 5
    assert run.learner.names_not_finite() == []


def test_skipping_makes_no_difference_where_nothing_is_skipped():
    run, plain = Run(skip=True), Run()
    for each in (run, plain):
        each.train(each.batches(), 6)
    assert_same(run.everything(), plain.everything())


def test_skipped_updates_are_told_and_counted_and_a_run_stops_after_as_many_as_allowed(tmp_path, capsys):
    run = Run(skip=True)
    result = run.go(tmp_path / "fine", make_batches=poisoned(run, [3, 4, 9]), evaluate=None, max_skipped=3)
    assert result.step == 20
    records = [json.loads(line) for line in (tmp_path / "fine" / "metrics.jsonl").read_text().splitlines()]
    counts = {record["step"]: record["values"]["skipped_updates"] for record in records}
    assert (counts[2], counts[4], counts[8], counts[10], counts[20]) == (0, 2, 2, 3, 3)
    values = records[1]["values"]  # of steps 3 and 4, both skipped
    assert (values["loss"], values["cross_entropy"], values["gradient_norm"]) == (None, None, None)
    assert values["learning_rate"] > 0 and values["weight_decay"] > 0
    assert "not finite at step 9: update skipped (3 so far" in capsys.readouterr().err
    run = Run(skip=True)
    with pytest.raises(UserError, match=r"step 9: 3 updates skipped, more than 2; .*ckpt-8"):
        run.go(tmp_path / "stopped", make_batches=poisoned(run, [3, 4, 9]), evaluate=None, max_skipped=2)
    # one that has stopped goes on when more may be skipped: from its checkpoint, with its count
    run = Run(skip=True)
    result = run.go(tmp_path / "stopped", make_batches=poisoned(run, [3, 4, 9]), evaluate=None, max_skipped=3)
    assert (run.started_at, result.step, run.learner.skipped_updates) == (8, 20, 3)


def test_a_run_stopped_by_a_bad_step_goes_on_by_skipping(tmp_path):
    run = Run()
    with pytest.raises(UserError, match=r"step 7; .*ckpt-4; .*--on_nan=skip"):
        run.go(tmp_path, make_batches=poisoned(run, [7]), evaluate=None)
    run = Run(skip=True)
    result = run.go(tmp_path, make_batches=poisoned(run, [7]), evaluate=None, max_skipped=1)
    assert (run.started_at, result.step, run.learner.skipped_updates) == (4, 20, 1)


def root_objective(run):
    """A finite loss whose gradient is not: the square root at zero."""

    def objective(images, labels, step):
        logits = run.model(images, training=True)
        zero = tf.where(step == 2, tf.reduce_sum(logits) * 0.0, 1.0)
        return tf.reduce_mean(tf.square(logits)) + tf.sqrt(zero), {}

    return objective


def test_a_gradient_that_is_not_finite_is_found_though_the_loss_is(tmp_path):
    run = Run()
    run.train = learner.make_train_function(run.strategy, run.learner, root_objective(run))
    with pytest.raises(UserError, match="the gradient is not finite at step 3"):
        run.go(tmp_path, evaluate=None)


def test_a_scaled_loss_gives_the_same_steps_bit_for_bit():
    """A power of two comes out of float32 as it went in."""
    run, plain = Run(scale_loss=True), Run()
    metrics = run.train(run.batches(), 6)
    plain.train(plain.batches(), 6)
    assert metrics["loss_scale"] == (6 * update_check.FIRST_LOSS_SCALE, 6.0)
    reached = {name: value for name, value in run.everything().items() if "loss_scale" not in name}
    assert_same(reached, plain.everything())


def test_an_overflow_halves_the_scale_and_is_no_trouble():
    run = Run(scale_loss=True)

    def objective(images, labels, step):
        return 1000 * tf.reduce_mean(tf.square(run.model(images, training=True))), {}

    run.train = learner.make_train_function(run.strategy, run.learner, objective)
    run.learner.update_check.scale.assign(2.0**127)  # the scaled gradient overflows, the gradient does not
    before = {variable.name: variable.numpy() for variable in run.model.variables}
    metrics = run.train(run.batches(), 1)
    assert run.learner.update_check.scale.numpy() == 2.0**126
    assert not set(learner.TROUBLES) & metrics.keys()
    assert run.learner.skipped_updates == 0
    for variable in run.model.variables:
        np.testing.assert_array_equal(variable.numpy(), before[variable.name])
    metrics = run.train(run.batches(), 20)
    assert metrics["loss"][1] > 0 and np.isfinite(metrics["loss"][0])


def test_a_scale_of_one_excuses_nothing():
    run = Run(scale_loss=True)
    run.learner.update_check.scale.assign(1.0)
    run.train = learner.make_train_function(run.strategy, run.learner, root_objective(run))
    metrics = run.train(run.batches(), 4)
    assert metrics["non_finite_gradient"] == (3.0, 1.0)
    assert run.learner.update_check.scale.numpy() == 1.0


def test_the_scale_doubles_after_as_many_good_steps_as_in_keras():
    run = Run(scale_loss=True)
    run.learner.update_check.good_steps.assign(update_check.STEPS_TO_GROW - 2)
    run.train(run.batches(), 3)
    assert run.learner.update_check.scale.numpy() == 2 * update_check.FIRST_LOSS_SCALE
    assert run.learner.update_check.good_steps.numpy() == 1


def test_loss_scale_and_skipped_updates_are_resumed(tmp_path):
    run = Run(scale_loss=True, skip=True)
    run.learner.update_check.good_steps.assign(update_check.STEPS_TO_GROW - 1)
    run.train(poisoned(run, [3])(0), 4)
    checkpoints.Checkpoints(tmp_path, run.learner).save(4)
    again = Run(scale_loss=True, skip=True)
    assert checkpoints.Checkpoints(tmp_path, again.learner).restore_latest() == 4
    # doubled by the first step, halved by the third
    assert (
        again.learner.update_check.scale.numpy()
        == run.learner.update_check.scale.numpy()
        == update_check.FIRST_LOSS_SCALE
    )
    assert (again.learner.update_check.good_steps.numpy(), again.learner.skipped_updates) == (1, 1)


def test_checked_steps_compile_with_xla_to_the_same_numbers():
    checked = {"skip": True, "clip_norm": 0.1, "scale_loss": True}
    plain, compiled = Run(**checked), Run(jit_compile=True, **checked)
    first, second = (run.train(run.batches(bad_steps=[3]), 5) for run in (plain, compiled))
    assert first["non_finite_loss"] == second["non_finite_loss"] == (3.0, 1.0)
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-5)
    assert plain.learner.skipped_updates == compiled.learner.skipped_updates == 1
    assert_same(plain.everything(), compiled.everything(), rtol=1e-3, atol=1e-5)
