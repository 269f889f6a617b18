"""Layers put behind others: nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras

from autonl_tf.layers.light_nl import LightNL
from autonl_tf.networks.insert import insert_behind


def network() -> keras.Model:
    inputs = keras.Input([8, 8, 3])
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    y = keras.layers.Conv2D(4, 1, name="second")(x)
    return keras.Model(inputs, keras.layers.Add(name="sum")([x, y]))


def test_a_doubling_behind_a_layer_reaches_all_that_use_it_and_leaves_the_model_alone():
    model, x = network(), np.random.default_rng(0).normal(size=[2, 8, 8, 3]).astype(np.float32)
    before = model(x).numpy()
    changed = insert_behind(model, {"first": keras.layers.Rescaling(2.0)})
    first = keras.Model(model.input, model.get_layer("first").output)(x).numpy()
    expected = 2 * first + model.get_layer("second")(2 * first)
    np.testing.assert_allclose(changed(x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model(x), before)
    changed.get_layer("second").kernel.assign(0 * changed.get_layer("second").kernel)
    np.testing.assert_array_equal(model(x), before)


def test_light_nl_in_mobilenet_v2_is_the_identity_at_first():
    base = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=5)
    places = {"block_5_project_BN": LightNL(0.25, 1), "block_12_project_BN": LightNL(0.25, 2)}
    changed = insert_behind(base, places)
    x = np.random.default_rng(0).normal(size=[2, 32, 32, 3]).astype(np.float32)
    np.testing.assert_allclose(changed(x), base(x), rtol=1e-4, atol=1e-6)
    assert len(changed.layers) == len(base.layers) + 2


def test_an_unknown_layer_is_named():
    with pytest.raises(ValueError, match="no layer 'third'"):
        insert_behind(network(), {"third": LightNL()})


def test_a_layer_called_with_more_than_tensors_is_refused_and_not_called_without_them():
    inputs = keras.Input([4, 4, 3])
    x = keras.layers.Conv2D(3, 1, name="first")(inputs)
    with pytest.raises(ValueError, match=r"layer 'tf\.math\.multiply' is called with more than tensors"):
        insert_behind(keras.Model(inputs, x * 2.0), {"first": keras.layers.Rescaling(2.0)})


def test_a_layer_used_twice_is_refused():
    inputs = keras.Input([4, 4, 3])
    layer = keras.layers.Conv2D(3, 1, name="first")
    with pytest.raises(ValueError, match="layer 'first' is used 2 times"):
        insert_behind(keras.Model(inputs, layer(layer(inputs))), {"first": keras.layers.Rescaling(2.0)})
