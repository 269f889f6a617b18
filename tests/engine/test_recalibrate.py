"""Statistics of averaged weights measured anew: what they are, what is saved, and that nothing else moves."""

import numpy as np
import pytest
from engine_tiny_run import BATCH, Run

from autonl_tf.engine import checkpoints, recalibrate


def moments(run, batches):
    """Mean and variance of what enters the batch norm, mean over batches, in float64."""
    kernel, bias = (run.model.get_layer("conv").weights[i].numpy().astype("f8") for i in (0, 1))
    found = []
    for images, _ in batches:
        windows = np.lib.stride_tricks.sliding_window_view(images.numpy().astype("f8"), (3, 3), axis=(1, 2))
        outputs = np.einsum("bhwcij,ijco->bhwo", windows, kernel) + bias
        found.append((outputs.mean((0, 1, 2)), outputs.var((0, 1, 2), ddof=0)))
    return np.mean([f[0] for f in found], 0), np.mean([f[1] for f in found], 0)


def test_measured_statistics_are_those_of_the_averaged_weights_and_nothing_else_moves():
    run = Run()
    run.train(run.batches(), 5)
    before = run.everything()
    measure = recalibrate.Recalibration(run.strategy, run.model, lambda: run.batches(5), 3)
    batches = run.batches(5)
    with run.averages.swapped_in():
        expected = moments(run, [next(batches) for _ in range(3)])
        measure()
    after = run.everything()
    names = ("average bn/moving_mean", "average bn/moving_variance")
    assert {name for name in before if not np.array_equal(before[name], after[name])} == set(names)
    np.testing.assert_allclose(after[names[0]], expected[0], rtol=1e-4, atol=1e-5)
    samples = BATCH * 4 * 4  # the fused kernel gives the unbiased variance
    np.testing.assert_allclose(after[names[1]], expected[1] * samples / (samples - 1), rtol=1e-4)
    assert run.model.get_layer("bn").momentum == 0.9


def test_training_goes_on_with_the_momentum_it_had():
    run, plain = Run(), Run()
    measure = recalibrate.Recalibration(run.strategy, run.model, lambda: run.batches(0), 1)
    with run.averages.swapped_in():
        measure()
    for each in (run, plain):
        each.train(each.batches(), 4)
    for one, other in zip(run.model.variables, plain.model.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_what_was_measured_is_what_is_saved_and_resumed(tmp_path):
    run = Run()
    run.train(run.batches(), 4)
    measure = recalibrate.Recalibration(run.strategy, run.model, lambda: run.batches(4), 2)
    with run.averages.swapped_in():
        measure()
        evaluated = run.model.get_layer("bn").moving_variance.numpy()
    checkpoints.Checkpoints(tmp_path, run.learner).save(4)
    again = Run()
    checkpoints.Checkpoints(tmp_path, again.learner).restore_latest()
    np.testing.assert_array_equal(again.averages.shadows["bn/moving_variance"].numpy(), evaluated)


def test_no_batches_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        recalibrate.Recalibration(None, None, None, 0)
