"""Statistics of averaged weights measured anew: what they are, what is saved, and that nothing else moves."""

import numpy as np
import tensorflow as tf
from engine_tiny_run import Few, Run, moments

from autonl_tf.engine import checkpoints, recalibrate


def test_measured_statistics_are_those_of_the_averaged_weights_and_nothing_else_moves():
    run = Run()
    run.train(run.batches(), 5)
    before = run.everything()
    measure = recalibrate.Recalibration(run.strategy, run.model, Few(run, 5, 3))
    with run.averages.swapped_in():
        expected = moments(run, Few(run, 5, 3))
        with measure.applied():
            evaluated = [variable.numpy() for variable in run.model.get_layer("bn").non_trainable_variables]
    unmoved = run.everything()
    with measure.in_averages(run.averages):
        after = run.everything()
    for moved in (unmoved, run.everything()):
        assert all(np.array_equal(before[name], moved[name]) for name in before)
    names = ("average bn/moving_mean", "average bn/moving_variance")
    assert {name for name in before if not np.array_equal(before[name], after[name])} == set(names)
    np.testing.assert_array_equal(after[names[0]], evaluated[0])
    np.testing.assert_array_equal(after[names[1]], evaluated[1])
    np.testing.assert_allclose(after[names[0]], expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after[names[1]], expected[1], rtol=1e-4)
    assert run.model.get_layer("bn").momentum == 0.9


def test_training_goes_on_with_the_momentum_it_had():
    run, plain = Run(), Run()
    measure = recalibrate.Recalibration(run.strategy, run.model, Few(run, 0, 1))
    with run.averages.swapped_in(), measure.applied():
        pass
    for each in (run, plain):
        each.train(each.batches(), 4)
    for one, other in zip(run.model.variables, plain.model.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_the_best_copy_is_what_was_evaluated_and_a_run_goes_on_from_what_was_not(tmp_path):
    run = Run()
    run.train(run.batches(), 4)
    measure = recalibrate.Recalibration(run.strategy, run.model, Few(run, 4, 2))
    plain = run.averages.shadows["bn/moving_variance"].numpy()
    with run.averages.swapped_in(), measure.applied():
        evaluated = run.model.get_layer("bn").moving_variance.numpy()
    kept = checkpoints.Checkpoints(tmp_path, run.learner, as_evaluated=lambda: measure.in_averages(run.averages))
    kept.save(4)
    kept.save_best(4, 0.5)
    key = "averages/shadows/bn.Smoving_variance/.ATTRIBUTES/VARIABLE_VALUE"
    saved = [tf.train.load_checkpoint(str(tmp_path / of / "ckpt-4")).get_tensor(key) for of in ("best", "checkpoints")]
    np.testing.assert_array_equal(saved, [evaluated, plain])
    assert (evaluated != plain).any()


def test_training_ends_with_the_same_bits_however_often_it_is_evaluated(tmp_path):
    """On one device; `engine_tiny_run.py --compare` does the same on two, whose statistics are merged."""
    ends = []
    for every in (3, 5):
        run = Run()
        measure = recalibrate.Recalibration(run.strategy, run.model, Few(run, 2, 2))

        def evaluate(run=run, measure=measure):
            with run.averages.swapped_in(), measure.applied():
                return {"top1": 0.5, "loss": 1.0}

        run.go(tmp_path / str(every), 10, evaluate=evaluate, evaluate_every=every, steps_per_loop=5, save_every=5)
        ends.append(run.everything())
    for name in ends[0]:
        np.testing.assert_array_equal(ends[0][name], ends[1][name], err_msg=name)
