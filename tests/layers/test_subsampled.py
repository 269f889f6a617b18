"""Strided maps taken from one another are those taken from the whole map."""

import numpy as np
import pytest

from autonl_tf.layers.gated import subsampled


@pytest.mark.parametrize("strides", [(1,), (2, 1), (4, 2, 1), (6, 3, 2, 1), (5, 4, 1)])
def test_every_stride_gives_the_slice_bit_for_bit(strides):
    x = np.random.default_rng(0).normal(size=[2, 13, 12, 3]).astype(np.float32)
    for stride, found in zip(strides, subsampled(x, strides), strict=True):
        np.testing.assert_array_equal(found, x[:, ::stride, ::stride, :])
