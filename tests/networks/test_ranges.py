"""How wide ranges are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autonl_tf.errors import UserError
from autonl_tf.networks.ranges import addable, covering


def test_a_range_covers_95_of_100_images_and_not_the_odd_one_with_values_far_outside():
    tops = np.arange(1.0, 101.0)
    rows = np.stack([-tops, 2 * tops], axis=1)
    assert covering({"x": rows})["x"] == pytest.approx((-np.quantile(tops, 0.95), 2 * np.quantile(tops, 0.95)))
    rows[99] *= 1e6
    low, high = covering({"x": rows})["x"]
    assert low > -100 and high < 200


def test_images_whose_values_are_not_finite_are_left_out_of_every_range_unless_they_are_many():
    rows = np.tile(np.float32([-1.0, 1.0]), [40, 1])
    odd = rows.copy()
    odd[3] = np.inf, -7.0
    assert covering({"a": rows, "b": odd}) == {"a": (-1.0, 1.0), "b": (-1.0, 1.0)}
    odd[[5, 6], 0] = np.nan
    with pytest.raises(UserError, match="on 3 of 40 calibration images"):
        covering({"a": rows, "b": odd})
    with pytest.raises(ValueError, match="at least one"):
        covering({"a": rows[:0]})


@given(st.floats(-10, 0), st.floats(0, 10), st.floats(-10, 0), st.floats(0, 10))
def test_a_term_of_a_sum_has_at_least_a_256th_of_the_sums_range_and_a_wide_one_its_own(low, high, least, greatest):
    found = addable((low, high), (least, greatest))
    assert found[1] - found[0] >= (greatest - least) / 256 * (1 - 1e-9)
    assert found[0] <= low and high <= found[1]
    assert found == (low, high) or high - low < (greatest - least) / 256
