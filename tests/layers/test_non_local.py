"""The conventional non-local block against its formula, and its cost."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from autonl_tf.layers.non_local import NonLocal, non_local_macs


def test_it_starts_as_the_identity_and_then_follows_its_formula():
    rng = np.random.default_rng(0)
    x = rng.normal(size=[2, 3, 4, 6]).astype(np.float32)
    layer = NonLocal()
    np.testing.assert_array_equal(layer(x), x)
    layer.bn.gamma.assign(np.ones(6))
    flat = x.reshape(2, 12, 6).astype(np.float64)

    def project(convolution, values):
        return values @ convolution.kernel.numpy()[0, 0] + (convolution.bias.numpy() if convolution.use_bias else 0)

    theta, phi, g = (project(part, flat) for part in (layer.theta, layer.phi, layer.g))
    weights = tf.nn.softmax(theta @ phi.transpose(0, 2, 1)).numpy()
    np.testing.assert_allclose(weights.sum(-1), 1)
    expected = flat + project(layer.out, weights @ g) / np.sqrt(1 + layer.bn.epsilon)
    np.testing.assert_allclose(layer(x), expected.reshape(x.shape), rtol=1e-4, atol=1e-5)


def test_its_cost_is_what_its_kernels_and_products_do():
    layer = NonLocal()
    layer(keras.Input([5, 7, 8]))
    kernels = sum(int(np.prod(part.kernel.shape)) for part in (layer.theta, layer.phi, layer.g, layer.out))
    assert non_local_macs(5, 7, 8) == 35 * kernels + 2 * 35 * 35 * 4


def test_unknown_or_too_few_channels_are_refused():
    with pytest.raises(ValueError, match="static height and width"):
        NonLocal()(keras.Input([None, 4, 8]))
    with pytest.raises(ValueError, match="2 channels"):
        NonLocal()(keras.Input([4, 4, 1]))
