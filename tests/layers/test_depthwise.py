"""Depthwise convolutions and swish: values and gradients are TensorFlow's, whichever way they are computed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given, settings
from hypothesis import strategies as st

from autonl_tf.layers.activations import swish
from autonl_tf.layers.depthwise import DepthwiseConv2D, depthwise_conv2d


def with_gradients(function, *arguments, seed=0):
    """[value, gradient of each argument] of `function`, for one gradient of its value."""
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        value = function(*arguments)
    upstream = np.random.default_rng(seed).normal(size=value.shape)
    return [value, *tape.gradient(value, arguments, tf.cast(tf.constant(upstream), value.dtype))]


def numbers(*shape, dtype=tf.float32, seed=1):
    return tf.cast(tf.constant(np.random.default_rng(seed).normal(size=shape)), dtype)


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    taps=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    stride=st.integers(1, 3),
    multiplier=st.integers(1, 2),
    padding=st.sampled_from(["SAME", "VALID"]),
)
def test_gradients_are_tensorflows_for_every_size_kernel_and_stride(size, taps, stride, multiplier, padding):
    if padding == "VALID":  # a convolution with an output
        size = tuple(max(pair) for pair in zip(size, taps, strict=True))
    x, kernel = numbers(2, *size, 3), numbers(*taps, 3, multiplier)
    ours = with_gradients(lambda x, kernel: depthwise_conv2d(x, kernel, stride, padding), x, kernel)
    strides = [1, stride, stride, 1]
    theirs = with_gradients(lambda x, kernel: tf.nn.depthwise_conv2d(x, kernel, strides, padding), x, kernel)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_are_those_of_finite_differences(stride):
    arguments = [numbers(1, 6, 5, 2, dtype=tf.float64), numbers(5, 5, 2, 1, dtype=tf.float64)]
    found, expected = tf.test.compute_gradient(lambda x, k: depthwise_conv2d(x, k, stride, "SAME"), arguments)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


def test_a_wide_kernels_gradient_is_taken_in_strips_on_a_processor():
    @tf.function
    def gradients(x, kernel, upstream):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = depthwise_conv2d(x, kernel, 1, "SAME")
        return tape.gradient(y, [x, kernel], upstream)

    x, kernel = numbers(1, 8, 8, 2), numbers(7, 7, 2, 1)
    operations = gradients.get_concrete_function(x, kernel, x).graph.get_operations()
    kinds = [operation.type for operation in operations]
    assert kinds.count("DepthwiseConv2dNativeBackpropFilter") == 3  # columns 0 to 2, 3 to 5, 6
    # A copy of the input that does not wait for the gradient is made in the forward pass, and held until then.
    copies = [operation for operation in operations if operation.type == "Pad"]
    assert copies and all("upstream" in ancestors(copy) for copy in copies)


def ancestors(operation):
    """Names of what must have run before."""
    found, waiting = set(), [operation]
    while waiting:
        one = waiting.pop()
        if one.name not in found:
            found.add(one.name)
            waiting += [*(tensor.op for tensor in one.inputs), *one.control_inputs]
    return found


def test_an_accelerator_keeps_tensorflows_gradients(monkeypatch):
    devices = [tf.config.LogicalDevice("/device:CPU:0", "CPU"), tf.config.LogicalDevice("/device:GPU:0", "GPU")]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda *_: devices)

    @tf.function
    def gradient(x, kernel):
        return with_gradients(lambda x, kernel: depthwise_conv2d(x, kernel, 1, "SAME"), x, kernel)

    graph = gradient.get_concrete_function(numbers(1, 8, 8, 2), numbers(5, 5, 2, 1)).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("DepthwiseConv2dNativeBackpropFilter") == 1


@pytest.mark.parametrize("options", [{}, {"use_bias": True, "activation": "relu"}, {"dilation_rate": 2}])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_layer_computes_what_keras_layer_does(options, policy):
    x = numbers(2, 6, 6, 3)
    layers = [
        kind(5, padding="same", dtype=policy, **options) for kind in (DepthwiseConv2D, keras.layers.DepthwiseConv2D)
    ]
    for layer in layers:
        layer.build(x.shape)
    layers[0].set_weights(layers[1].get_weights())
    gradients = []
    for layer in layers:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.square(tf.cast(layer(x), tf.float32)))
            if isinstance(layer, DepthwiseConv2D):
                total = tf.reduce_sum(tf.square(tf.cast(layer(x, training=True), tf.float32)))
        gradients.append([total, *tape.gradient(total, layer.trainable_variables)])
    tolerance = 1e-5 if policy == "float32" else 2e-2
    for mine, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance * np.abs(other).max())
    np.testing.assert_array_equal(layers[0](x), layers[1](x))


def test_swish_and_its_gradients_are_tensorflows_and_those_of_finite_differences():
    x = tf.constant(np.linspace(-30, 30, 301))
    for mine, other in zip(with_gradients(swish, x), with_gradients(tf.nn.silu, x), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12)
    (found,), (expected,) = tf.test.compute_gradient(swish, [x[100:200]])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16, tf.float16])
def test_swish_at_the_ends_of_a_type_has_a_finite_gradient(dtype):
    x = tf.cast(tf.constant([float(dtype.min), -100.0, 0.0, 100.0, float(dtype.max)]), dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = swish(x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(tf.cast(tape.gradient(y, x), tf.float32), [0.0, 0.0, 0.5, 1.0, 1.0])
