import dataclasses
import json
import math

import numpy as np
import pytest
import tensorflow as tf
from golden_data import TESTDATA, relative_l2
from hypothesis import example, given
from hypothesis import strategies as st

from autonl_tf.arch import cost
from autonl_tf.arch.spec import BlockSpec, LightNLSpec
from autonl_tf.layers.light_nl import LightNL, LightNLProduct, subsample

CASES = json.loads((TESTDATA / "layers" / "non_local_op.json").read_text())


def reference(x, ratio, stride):
    """The formula in float64, one position at a time."""
    _, height, width, channels = x.shape
    reduced = int(channels * ratio)
    g = x[:, ::stride, ::stride].reshape(len(x), -1, channels).astype(np.float64)
    theta = x[..., :reduced].reshape(len(x), -1, reduced).astype(np.float64)
    affinity = np.einsum("bpc,bqc->bpq", theta, g[..., :reduced])
    return np.einsum("bpq,bqc->bpc", affinity, g).reshape(x.shape) / (height * width)


@pytest.mark.parametrize("index", range(len(CASES)))
def test_product_equals_the_release(index):
    golden = np.load(TESTDATA / "layers" / "non_local_op.npz")
    case = CASES[index]
    y = LightNLProduct(case["ratio"], case["stride"])(golden[f"x{index}"])
    assert relative_l2(y, golden[f"y{index}"]) < 1e-5


def test_golden_cases_use_both_association_orders():
    orders = set()
    for case in CASES:
        layer = LightNLProduct(case["ratio"], case["stride"])
        layer.build([None, case["h"], case["w"], case["c"]])
        orders.add(layer.affinity_first)
    assert orders == {True, False}


@st.composite
def near_the_tie(draw):
    """Side, channels, ratio and stride with which both orders take about as much, or the same."""
    ratio, stride = draw(st.sampled_from([0.05, 0.125, 0.2, 0.25, 0.5, 0.75, 1.0])), draw(st.integers(1, 3))
    side = draw(st.integers(stride, 40))
    positions, kept = side**2, (side // stride) ** 2
    tie = positions * kept * (1 + ratio) / ((positions + kept) * ratio)
    return side, max(round(tie) + draw(st.integers(-1, 1)), math.ceil(1 / ratio)), ratio, stride


@given(near_the_tie())
@example((14, 490, 0.25, 1))  # ties, where what is computed takes more in one order than in the other
@example((10, 180, 0.125, 2))
def test_layer_and_counts_take_the_same_order(case):
    side, channels, ratio, stride = case
    layer = LightNLProduct(ratio, stride)
    layer.build([None, side, side, channels])
    both = cost.light_nl_products(side, side, channels, ratio, stride)
    assert min(both) == both[0 if layer.affinity_first else 1]
    block = BlockSpec((3,), 1, 1, channels, channels)
    placed = dataclasses.replace(block, nonlocal_=LightNLSpec(ratio, stride))
    added = cost.block_cost(placed, side).macs_exact - cost.block_cost(block, side).macs_exact
    positions, kept, reduced = side**2, (-(-side // stride)) ** 2, int(channels * ratio)
    affinity, context = positions * kept * (reduced + channels), (positions + kept) * reduced * channels
    assert added - 9 * channels * side**2 == (affinity if layer.affinity_first else context)


@pytest.mark.parametrize(("height", "width", "stride"), [(7, 7, 2), (5, 9, 3), (8, 8, 1), (3, 3, 3)])
def test_product_equals_the_formula(height, width, stride):
    x = np.random.default_rng(0).normal(size=[2, height, width, 12]).astype(np.float32)
    assert relative_l2(LightNLProduct(0.3, stride)(x), reference(x, 0.3, stride)) < 1e-6


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_subsampling_is_the_slice_bit_for_bit(stride):
    x = tf.random.stateless_normal([2, 7, 5, 3], [1, 2])
    np.testing.assert_array_equal(subsample(x, stride), x[:, ::stride, ::stride])


def test_light_nl_starts_as_the_identity():
    x = tf.random.stateless_normal([2, 8, 8, 16], [1, 2])
    np.testing.assert_array_equal(LightNL(0.25, 2)(x, training=True), x)


def test_product_stays_in_float32_under_mixed_precision():
    x = np.random.default_rng(0).normal(size=[1, 8, 8, 16]).astype(np.float32) * 40
    y = LightNLProduct(0.5, dtype="mixed_float16")(x / 8)
    assert y.dtype == tf.float16
    half = tf.cast(x / 8, tf.float16).numpy()
    assert relative_l2(tf.cast(y, tf.float32), reference(half, 0.5, 1)) < 1e-3


@pytest.mark.parametrize(
    ("shape", "ratio", "stride", "message"),
    [
        ([None, None, 8, 16], 0.5, 1, "static"),
        ([None, 8, 8, 16], 0.01, 1, "leaves no channel"),
        ([None, 8, 2, 16], 0.5, 3, "larger than its 8x2"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, ratio, stride, message):
    with pytest.raises(ValueError, match=message):
        LightNLProduct(ratio, stride).build(shape)
