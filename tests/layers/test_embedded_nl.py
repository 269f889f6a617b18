import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from golden_data import relative_l2

from autonl_tf.arch.cost import embedded_cost
from autonl_tf.arch.spec import EmbeddedNLSpec
from autonl_tf.layers.embedded_nl import EmbeddedNonLocal, EmbeddedProduct


def reference(theta, phi, g):
    """The double loop of the source's equation 1."""
    out = np.zeros_like(theta)
    keys, values = phi.reshape(-1, phi.shape[-1]), g.reshape(-1, g.shape[-1])
    for row in range(theta.shape[0]):
        for column in range(theta.shape[1]):
            scores = np.exp([theta[row, column] @ key for key in keys])
            out[row, column] = sum(s * v for s, v in zip(scores / scores.sum(), values, strict=True))
    return out


def test_the_product_is_the_softmax_weighted_mean():
    rng = np.random.default_rng(0)
    theta, phi, g = (rng.normal(size=shape).astype(np.float32) for shape in [(3, 4, 5), (2, 2, 5), (2, 2, 5)])
    y = EmbeddedProduct()([theta[None], phi[None], g[None]])[0]
    np.testing.assert_allclose(y, reference(theta, phi, g), rtol=1e-5, atol=1e-6)


def test_without_subsampling_the_layer_follows_the_sources_formula():
    rng = np.random.default_rng(0)
    x = rng.normal(size=[2, 3, 4, 6]).astype(np.float32)
    layer = EmbeddedNonLocal(0.5, 1)
    layer(x)
    part = layer.branch.get_layer
    part("bn").gamma.assign(np.ones(6))
    flat = x.reshape(2, 12, 6).astype(np.float64)

    def project(name, values):
        convolution = part(name)
        return values @ convolution.kernel.numpy()[0, 0] + (convolution.bias.numpy() if convolution.use_bias else 0)

    for name in ("theta", "phi", "g"):
        part(name).bias.assign(rng.normal(size=3))
    theta, phi, g = (project(name, flat) for name in ("theta", "phi", "g"))
    weights = tf.nn.softmax(theta @ phi.transpose(0, 2, 1)).numpy()
    expected = flat + project("out", weights @ g) / np.sqrt(1 + part("bn").epsilon)
    np.testing.assert_allclose(layer(x), expected.reshape(x.shape), rtol=1e-4, atol=1e-5)


def test_its_cost_is_what_its_kernels_and_products_do():
    layer = EmbeddedNonLocal(0.5, 1)
    layer(keras.Input([7, 7, 9]))
    kernels = sum(int(np.prod(v.shape)) for v in layer.trainable_variables if "kernel" in v.name)
    assert embedded_cost(7, 9, EmbeddedNLSpec(0.5, 1)).macs == 49 * kernels + 2 * 49 * 49 * 4
    assert embedded_cost(7, 9, EmbeddedNLSpec(0.5, 1)).params == layer.count_params() - 2 * 9  # without the statistics


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_one_layer_alone_may_compute_in_a_short_type(precision, stride):
    plain, mixed = EmbeddedNonLocal(0.5, stride), EmbeddedNonLocal(0.5, stride, dtype=f"mixed_{precision}")
    x = np.random.default_rng(3).normal(size=[2, 6, 6, 8]).astype(np.float32)
    plain(x), mixed(x)
    plain.branch.get_layer("bn").gamma.assign(np.ones(8))
    mixed.set_weights(plain.get_weights())
    assert {v.dtype for v in mixed.variables} == {tf.float32}
    kinds = (keras.layers.Conv2D, keras.layers.MaxPooling2D, EmbeddedProduct, keras.layers.BatchNormalization)
    inner = [layer for layer in mixed.submodules if isinstance(layer, kinds)]
    assert len(inner) == 6 + 2 * (stride > 1) and {layer.compute_dtype for layer in inner} == {precision}
    for training in (False, True):
        y = mixed(x, training=training)
        assert y.dtype == precision
        assert relative_l2(tf.cast(y, tf.float32), plain(x, training=training).numpy()) < 0.02
    assert EmbeddedNonLocal.from_config(mixed.get_config()).compute_dtype == precision


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_layer_starts_as_the_identity_and_learns(stride):
    layer = EmbeddedNonLocal(0.5, stride)
    x = np.random.default_rng(1).normal(size=[2, 7, 7, 8]).astype(np.float32)
    np.testing.assert_array_equal(layer(x), x)
    gamma = next(v for v in layer.trainable_variables if "gamma" in v.name)
    gamma.assign(np.ones(8))
    assert np.abs(layer(x) - x).max() > 1e-3
    assert len(layer.trainable_variables) == 9


def test_a_ratio_that_leaves_no_channel_is_refused():
    with pytest.raises(ValueError, match=r"non-local block: ratio 0\.01 of 8 channels leaves no channel"):
        EmbeddedNonLocal(0.01, 1)(np.zeros([1, 4, 4, 8], np.float32))


def test_sizes_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match="static height, width and channels"):
        EmbeddedNonLocal()(keras.Input([None, 4, 8]))
