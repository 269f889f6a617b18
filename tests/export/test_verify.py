"""The comparison accepts rounding and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from autonl_tf.errors import UserError
from autonl_tf.export.verify import compare


def answers(images: int = 4, classes: int = 10, seed: int = 0):
    logits = np.random.default_rng(seed).normal(0.0, 2.0, (images, classes)).astype(np.float32)
    return tf.nn.softmax(logits).numpy(), logits


def check(expected, got, tolerance=1e-3):
    return compare("file", "signature", expected, got, tolerance=tolerance)


@given(st.integers(0, 100), st.integers(1, 8), st.integers(2, 50))
def test_equal_answers_differ_by_nothing(seed, images, classes):
    expected = answers(images, classes, seed)
    agreement = check(expected, expected, tolerance=0.0)
    assert agreement.max_probability_difference == agreement.probabilities_relative_l2 == 0.0
    assert agreement.logits_relative_l2 == 0.0
    assert agreement.top1_agreement == 1.0 and agreement.images == images


@given(st.floats(1e-4, 1.0), st.integers(0, 3), st.integers(0, 9))
def test_one_changed_logit_is_measured_and_refused_above_the_tolerance(change, row, column):
    expected = answers()
    logits = expected[1].astype(np.float64)
    logits[row, column] += change
    share = change / np.linalg.norm(expected[1][row])
    agreement = check(expected, (expected[0], logits), tolerance=10.0)
    assert agreement.logits_relative_l2 == pytest.approx(share, rel=1e-2)
    with pytest.raises(UserError, match=r"file \(signature\): logits \(relative L2\)"):
        check(expected, (expected[0], logits), tolerance=share * 0.9)


def test_probabilities_alone_are_compared_where_there_are_no_logits():
    expected = answers()
    changed = expected[0].copy()
    changed[2, 3] += 0.01
    with pytest.raises(UserError, match=r"\(absolute\) differ .* by 0.01; accepted: at most 0.001"):
        check(expected, (changed, None))
    assert check(expected, (expected[0], None)).logits_relative_l2 is None


def test_small_probabilities_of_many_classes_are_still_compared():
    uniform = np.full((1, 1000), 1e-3, np.float32)
    wrong = uniform * np.where(np.arange(1000) % 2, 1.5, 0.5).astype(np.float32)
    assert np.abs(wrong - uniform).max() < 1e-3
    with pytest.raises(UserError, match=r"probabilities \(relative L2\) differ .* by 0.5"):
        check((uniform, np.zeros_like(uniform)), (wrong, None))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_refused(value):
    expected = answers()
    for index in (0, 1):
        got = [array.copy() for array in expected]
        got[index][1, 1] = value
        with pytest.raises(UserError, match="differ"):
            check(expected, tuple(got))


def test_another_shape_is_refused():
    expected = answers()
    with pytest.raises(UserError, match=r"shape \(4, 9\), not \(4, 10\)"):
        check(expected, (expected[0][:, :9], None))


def test_top1_agreement_is_the_share_of_images_with_the_same_best_class():
    expected = answers()
    got = expected[0].copy()
    got[0] = np.roll(got[0], 1)
    assert check(expected, (got, None), tolerance=10.0).top1_agreement == 0.75
