"""What holds of every layer: build, call, shape, precision, gradients, configuration, files."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from layer_cases import EXAMPLES, IMAGES, KINDS, called

ALONE = [name for name, (_, rest) in EXAMPLES.items() if rest == ()]  # the others are parts of something
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


def trains(layer):
    return "training" in inspect.signature(layer.call).parameters


@pytest.fixture(params=PRECISIONS)
def policy(request):
    return request.param


@pytest.fixture(params=sorted(KINDS))
def make(request):
    """make(policy): a layer of the kind with random weights."""

    def made(policy="float32"):
        layer = KINDS[request.param](**EXAMPLES[request.param][0], dtype=policy)
        called(layer, IMAGES)
        for number, variable in enumerate(layer.variables):
            variable.assign(tf.abs(tf.random.stateless_normal(variable.shape, [3, number])))
        return layer

    return made


def test_every_layer_has_an_example():
    assert set(KINDS) == set(EXAMPLES)


def test_variables_are_float32_and_the_output_is_of_the_policys_type(make, policy):
    layer = make(policy)
    result = called(layer, IMAGES)
    assert result.dtype == keras.mixed_precision.Policy(policy).compute_dtype
    assert {variable.dtype for variable in layer.variables} <= {tf.float32}
    expected = called(make(), IMAGES).numpy()
    error = np.linalg.norm(tf.cast(result, tf.float32) - expected) / np.linalg.norm(expected)
    assert error < {"float32": 1e-6, "mixed_float16": 0.01, "mixed_bfloat16": 0.06}[policy]


def test_building_makes_the_weights_that_a_call_makes(make):
    called_layer = make()
    again = type(called_layer).from_config(called_layer.get_config())
    rest = EXAMPLES[type(again).__name__][1]
    again.build([IMAGES.shape] * 3 if rest is None else IMAGES.shape)

    def inside(layer):
        return [(v.name.removeprefix(f"{layer.name}/"), v.shape) for v in layer.variables]

    assert inside(again) == inside(called_layer)


@pytest.mark.parametrize("make", ALONE, indirect=True)
def test_the_shape_is_known_before_the_call(make):
    layer = make()
    assert layer.compute_output_shape(IMAGES.shape) == called(layer, IMAGES).shape


def test_every_trainable_variable_has_a_finite_gradient(make, policy):
    layer = make(policy)
    with tf.GradientTape() as tape:
        result = called(layer, IMAGES, **({"training": True} if trains(layer) else {}))
        total = tf.reduce_mean(tf.square(tf.cast(result, tf.float32)))
    for variable, gradient in zip(
        layer.trainable_variables, tape.gradient(total, layer.trainable_variables), strict=True
    ):
        assert gradient is not None and np.isfinite(gradient).all(), variable.name


def test_its_configuration_makes_it_again(make, policy):
    layer = make(policy)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    called(again, IMAGES)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(called(again, IMAGES), called(layer, IMAGES))


@pytest.mark.parametrize("make", ALONE, indirect=True)
def test_a_network_with_it_is_saved_and_read_back(make, tmp_path):
    inputs = keras.Input(IMAGES.shape[1:])
    model = keras.Model(inputs, make()(inputs))
    for name in ("model.keras", "model.h5", "saved_model"):
        model.save(tmp_path / name)
        again = keras.models.load_model(tmp_path / name)
        np.testing.assert_array_equal(again(IMAGES), model(IMAGES))
