"""The superkernel against the Single-Path NAS code, values and gradients; and its nesting."""

import json

import numpy as np
import pytest
import tensorflow as tf
from golden_data import TESTDATA
from hypothesis import given, settings
from hypothesis import strategies as st

from autonl_tf.layers.gates import channel_mask, cumulative_masks, indicator, option_weights
from autonl_tf.layers.superkernel import (
    SuperkernelDepthwiseConv2D,
    masked_kernel,
    ring_indicators,
    squared_sums,
)

CASES = json.loads((TESTDATA / "layers" / "superkernel.json").read_text())["cases"]
GOLDEN = np.load(TESTDATA / "layers" / "superkernel.npz")
SIZES = (3, 5)


def ancestor(kernel, thresholds, case, x):
    """The ancestor's block out of our parts: raw norms, channels masked in the kernel, its runtime term."""
    t5, t50, t100 = thresholds
    half = round(case["channels"] / 2)
    parts = [half, case["channels"] - half]
    n5 = tf.sqrt(tf.reduce_sum(squared_sums(kernel, SIZES)[1]))
    d5 = indicator(n5 - t5)
    nested = masked_kernel(kernel, SIZES, [d5])
    n50, n100 = (tf.norm(part) for part in tf.split(nested, parts, axis=2))
    d100 = indicator(n100 - t100)
    d50 = indicator(n50 - t50) if case["can_skip"] else tf.ones([])
    used = d50 * nested * channel_mask(parts, [d100])[:, None]
    y = tf.nn.depthwise_conv2d(x, used, [1, case["stride"], case["stride"], 1], "SAME")
    runtimes = case["runtimes"]
    rc = d50 * (runtimes[2] + d100 * (runtimes[3] - runtimes[2]))
    q = runtimes[1] / runtimes[3]
    runtime = rc * q + rc * (1 - q) * d5
    loss = 0.01 * tf.reduce_sum(y**2) + 0.1 * tf.math.log(10 + runtime)
    return {
        "y": y,
        "total": 10 + runtime,
        "d5x5": d5,
        "d50c": d50,
        "d100c": d100,
        "n5": n5,
        "n50": n50,
        "n100": n100,
        "loss": loss,
    }


@pytest.mark.parametrize("index", range(len(CASES)))
def test_superkernel_equals_the_ancestors_in_values_and_gradients(index):
    case = CASES[index]
    golden = {key.split("/")[1]: GOLDEN[key] for key in GOLDEN.files if key.startswith(f"{index}/")}
    kernel = tf.Variable(golden["kernel"])
    thresholds = [tf.Variable(case[name]) for name in ("t5x5", "t50c", "t100c")]
    with tf.GradientTape(persistent=True) as tape:
        got = ancestor(kernel, thresholds, case, golden["x"])
    got["gk"] = tape.gradient(got["loss"], kernel)
    for name, value in got.items():
        expected = golden[name]
        scale = max(float(np.abs(expected).max()), 1e-6)
        close(value, expected, 2e-5 * scale, name)
    gates = ("d5x5", "d50c", "d100c") if case["can_skip"] else ("d5x5", "d100c")
    variables = dict(zip(("d5x5", "d50c", "d100c"), thresholds, strict=True))
    for gate in gates:
        name = {"d5x5": "g5", "d50c": "g50", "d100c": "g100"}[gate]
        # sigmoid' = s (1 - s) loses its digits where s is within a few float32 steps of 1: two steps are allowed.
        steps = 2 * 2.0**-23 * abs(float(tape.gradient(got["loss"], got[gate])))
        expected = golden[name]
        close(
            tape.gradient(got["loss"], variables[gate]),
            expected,
            2e-5 * float(np.abs(expected).max()) + steps + 1e-20,
            name,
        )


def close(value, expected, tolerance, name):
    np.testing.assert_allclose(np.reshape(value, expected.shape), expected, rtol=0, atol=tolerance, err_msg=name)


def test_golden_cases_open_and_close_every_gate():
    for name in ("d5x5", "d50c", "d100c"):
        assert {float(np.squeeze(GOLDEN[f"{i}/{name}"])) for i in range(len(CASES))} == {0.0, 1.0}


@given(st.lists(st.integers(0, 6).map(lambda n: 2 * n + 1), min_size=1, max_size=4, unique=True).map(sorted))
def test_rings_partition_the_kernel(sizes):
    rings = ring_indicators(tuple(sizes))[..., 0, 0]
    np.testing.assert_array_equal(rings.sum(0), np.ones([sizes[-1]] * 2))
    for ring in range(len(sizes)):
        assert rings[: ring + 1].sum() == sizes[ring] ** 2


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [7, 8])
def test_a_closed_ring_is_the_smaller_kernel(stride, size):
    layer = SuperkernelDepthwiseConv2D((3, 5, 7), stride)
    x = tf.random.stateless_normal([2, size, size, 4], [1, 2])
    for rings, side in (([0.0, 1.0], 3), ([1.0, 0.0], 5), ([1.0, 1.0], 7)):
        got = layer(x, gates=[tf.constant(gate) for gate in rings])
        border = (7 - side) // 2
        inner = layer.depthwise_kernel[border : 7 - border, border : 7 - border]
        expected = tf.nn.depthwise_conv2d(x, inner, [1, stride, stride, 1], "SAME")
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_values_are_about_1_at_initialisation_whatever_the_gates():
    layer = SuperkernelDepthwiseConv2D((3, 5))
    layer.build([None, 8, 8, 600])
    assert [float(value) for value in layer.ring_values()] == pytest.approx([1.0], abs=0.05)
    for ring in (0.0, 1.0):
        values = layer.group_values([300, 300], [tf.constant(ring)])
        assert [float(value) for value in values] == pytest.approx([1.0, 1.0], abs=0.05)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=0, max_size=4))
def test_exactly_one_option_has_weight_1(gates):
    weights = [float(weight) for weight in option_weights([tf.constant(gate) for gate in gates])]
    chosen = gates.index(0.0) if 0.0 in gates else len(gates)
    assert weights == [float(option == chosen) for option in range(len(gates) + 1)]
    assert [float(mask) for mask in cumulative_masks(gates)] == [float(order < chosen) for order in range(len(gates))]
