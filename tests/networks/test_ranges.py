"""Which range a tensor takes: the one whose int8 values are nearest to its own, image by image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autonl_tf.errors import UserError
from autonl_tf.networks.ranges import SHARES, ClosestRanges, finite_images


def extremes(values: np.ndarray) -> np.ndarray:
    rows = values.reshape(len(values), -1)
    return np.stack([rows.min(axis=1), rows.max(axis=1)], axis=1)


def chosen(values: np.ndarray, **options) -> tuple[float, float]:
    closest = ClosestRanges({"x": extremes(values)}, **options)
    for first in range(0, len(values), 3):
        closest.see("x", values[first : first + 3])
    return closest.chosen()["x"]


def mean_error(values: np.ndarray, low: float, high: float) -> float:
    """As the docstring has it, image by image, every int8 value written down and the nearest taken."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255
    levels = (np.arange(256) - np.round(-low / step)) * step
    found = []
    for image in values.astype(float):
        nearest = levels[np.abs(levels - image.reshape(-1, 1)).argmin(axis=1)]
        found.append(np.sqrt(np.square(nearest - image.ravel()).sum() / np.square(image).sum()))
    return float(np.mean(found))


def errors_by_share(values: np.ndarray, measured: np.ndarray) -> list[float]:
    """The errors in some of the values, by every range to choose from."""
    tops = extremes(values)
    return [mean_error(measured, np.quantile(tops[:, 0], 1 - s), np.quantile(tops[:, 1], s)) for s in SHARES]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 3.0), st.floats(-2.0, 2.0))
def test_no_other_share_has_a_smaller_error(seed, spread, shift):
    rng = np.random.default_rng(seed)
    values = rng.normal(shift, 1.0, [20, 4, 5]) * np.exp(spread * rng.normal(size=[20, 1, 1]))
    values = values.astype(np.float32)
    assert mean_error(values, *chosen(values)) <= min(errors_by_share(values, values)) * 1.001


def test_images_alike_are_covered_and_the_odd_one_with_values_far_outside_is_not():
    values = np.random.default_rng(0).uniform(0, 6, [100, 50]).astype(np.float32)
    assert chosen(values)[1] > 5.9
    for factor in (1e2, 1e18):  # the square of the second is beyond float32
        odd = values.copy()
        odd[0] *= np.float32(factor)
        assert 5 < chosen(odd)[1] < 6.1
    same = np.tile(np.linspace(-1, 1, 50, dtype=np.float32), [10, 1])
    assert chosen(same) == (-1.0, 1.0)


def test_one_share_may_be_asked_for():
    values = np.random.default_rng(0).normal(size=[100, 8]).astype(np.float32)
    tops = extremes(values)
    expected = (np.quantile(tops[:, 0], 0.05), np.quantile(tops[:, 1], 0.95))
    assert chosen(values, shares=(0.95,)) == pytest.approx(expected)


def test_large_tensors_are_compared_by_some_values_of_every_channel():
    """One of 96 channels is far larger, the rest alike: a sample of few channels would cut it off or cover it whole."""
    rng = np.random.default_rng(0)
    reach = np.ones([1, 1, 96])
    reach[..., 17] = 30
    values = rng.normal(size=[30, 400, 96]) * reach * np.exp(0.5 * rng.normal(size=[30, 1, 1]))
    values = values.astype(np.float32)
    errors = errors_by_share(values, values[:, ::5])
    assert mean_error(values[:, ::5], *chosen(values)) < 1.005 * min(errors) < np.median(errors)


def test_values_of_zero_alone_have_a_range():
    assert chosen(np.zeros([4, 6], np.float32)) == (0.0, 0.0)


def test_images_whose_values_are_not_finite_are_left_out_unless_they_are_many():
    rows = np.tile(np.float32([-1.0, 1.0]), [40, 1])
    odd = rows.copy()
    odd[3, 1] = np.inf
    np.testing.assert_array_equal(finite_images({"a": rows, "b": odd}), np.arange(40) != 3)
    odd[[5, 6], 0] = np.nan
    with pytest.raises(UserError, match="on 3 of 40 calibration images"):
        finite_images({"a": rows, "b": odd})
    with pytest.raises(ValueError, match="at least one"):
        finite_images({"a": rows[:0]})
