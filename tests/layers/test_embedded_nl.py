import numpy as np
import pytest
import tf_keras as keras

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


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_layer_starts_as_the_identity_and_learns(stride):
    layer = EmbeddedNonLocal(0.5, stride)
    x = np.random.default_rng(1).normal(size=[2, 7, 7, 8]).astype(np.float32)
    np.testing.assert_array_equal(layer(x), x)
    gamma = next(v for v in layer.trainable_variables if "gamma" in v.name)
    gamma.assign(np.ones(8))
    assert np.abs(layer(x) - x).max() > 1e-3
    assert len(layer.trainable_variables) == 9
    assert EmbeddedNonLocal.from_config(layer.get_config()).get_config() == layer.get_config()


def test_a_network_with_the_layer_is_saved_and_read_back(tmp_path):
    inputs = keras.Input([8, 8, 4])
    model = keras.Model(inputs, EmbeddedNonLocal()(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(2).normal(size=[1, 8, 8, 4]).astype(np.float32)
    np.testing.assert_array_equal(again(x), model(x))


@pytest.mark.parametrize(("ratio", "stride"), [(0, 1), (1.5, 1), (0.5, 0), (0.01, 1)])
def test_wrong_arguments_are_refused(ratio, stride):
    with pytest.raises(ValueError, match="non-local block"):
        EmbeddedNonLocal(ratio, stride)(np.zeros([1, 4, 4, 8], np.float32))
