"""What a program around our layers has set does not change what they are: image format, epsilon, float types."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import autonl_tf
from autonl_tf.arch import blockstring
from autonl_tf.networks.network import build_network

# Every kind of layer that a network may have.
ARCH = """\
network padding=symmetric
r1_k3_s22_e1_i32_o8_noskip
r1_k3.5_s22_e2_i8_o12_nonlocal0.25-2_se0.25
r1_k3_s11_e2_i12_o12_embedded0.5-2
"""
ON = tf.constant(1.0)
PUBLIC = {
    "LightNL": lambda x: autonl_tf.LightNL(0.25, 2)(x, training=True),
    "EmbeddedNonLocal": lambda x: autonl_tf.EmbeddedNonLocal(0.5, 2)(x, training=True),
    "GatedSqueezeExcite": lambda x: autonl_tf.GatedSqueezeExcite((4, 8))(x, [ON, ON]),
    "GatedLightNL": lambda x: autonl_tf.GatedLightNL((4, 8), (2, 1))(x, ON, [ON], [ON], training=True)[0],
    "SuperkernelDepthwiseConv2D": lambda x: autonl_tf.SuperkernelDepthwiseConv2D((3, 5))(x, [ON]),
}


@pytest.fixture(autouse=True)
def restored():
    """Keras as it was before the test."""
    policy = keras.mixed_precision.global_policy()
    before = keras.backend.image_data_format(), keras.backend.epsilon(), keras.backend.floatx()
    yield
    keras.backend.set_image_data_format(before[0])
    keras.backend.set_epsilon(before[1])
    keras.backend.set_floatx(before[2])
    keras.mixed_precision.set_global_policy(policy)


def made():
    """Kind, format and epsilon of every layer that has any, in a network and in the public layers."""
    model = build_network(blockstring.parse(ARCH), image_size=32, num_classes=3)
    layers = [autonl_tf.LightNL(), autonl_tf.EmbeddedNonLocal(), autonl_tf.GatedSqueezeExcite((4,))]
    for layer in layers:
        layer(tf.zeros([1, 8, 8, 8]), *([[ON]] if layer is layers[-1] else []))
    parts = [part for whole in (model, *layers) for part in whole.submodules]
    parts = [part for part in parts if hasattr(part, "data_format") or hasattr(part, "epsilon")]
    kinds = {type(part).__name__ for part in parts}
    assert kinds >= {"Conv2D", "DepthwiseConv2D", "ZeroPadding2D", "GlobalAveragePooling2D", "MaxPooling2D"}
    return [(type(p).__name__, getattr(p, "data_format", None), getattr(p, "epsilon", None)) for p in parts]


def test_neither_format_nor_epsilon_of_a_program_changes_a_layer():
    expected = made()
    keras.backend.set_image_data_format("channels_first")
    keras.backend.set_epsilon(0.1)
    assert made() == expected


def test_pixels_come_in_float32_whatever_the_float_type():
    keras.backend.set_floatx("float16")
    (inputs,) = build_network(blockstring.parse(ARCH), image_size=32, num_classes=3).inputs
    assert inputs.dtype == tf.float32


@pytest.mark.parametrize("policy", ["float64", "bfloat16", "mixed_float16"])
def test_public_layers_compute_under_any_policy(policy):
    keras.mixed_precision.set_global_policy(policy)
    x = tf.cast(
        np.random.default_rng(0).normal(size=[2, 8, 8, 16]), keras.mixed_precision.global_policy().compute_dtype
    )
    for name, call in PUBLIC.items():
        y = call(x)
        assert (y.dtype, y.shape) == (x.dtype, x.shape), name
        assert np.isfinite(tf.cast(y, tf.float32)).all(), name


def test_layers_compute_the_same_when_functions_run_eagerly():
    x = tf.random.stateless_normal([2, 8, 8, 16], [1, 2])
    layers = [autonl_tf.LightNL(0.25, 2), autonl_tf.EmbeddedNonLocal(0.5, 2)]
    expected = [tf.function(layer)(x) for layer in layers]
    tf.config.run_functions_eagerly(True)
    try:
        for layer, value in zip(layers, expected, strict=True):
            np.testing.assert_allclose(tf.function(layer)(x), value, atol=1e-6)
    finally:
        tf.config.run_functions_eagerly(False)


def test_initialisers_need_no_seed_where_operations_are_to_be_deterministic(monkeypatch):
    from autonl_tf.layers.initializers import DenseUniform, FanOutNormal

    def refuse_without_seed(draw):
        def drawn(*arguments, seed=None):
            if seed is None:
                raise RuntimeError("Random ops require a seed to be set when determinism is enabled.")
            return draw(*arguments, seed=seed)

        return drawn

    monkeypatch.setattr(tf.random, "normal", refuse_without_seed(tf.random.normal))
    monkeypatch.setattr(tf.random, "uniform", refuse_without_seed(tf.random.uniform))
    assert FanOutNormal()([3, 3, 4, 8]).shape == [3, 3, 4, 8] and DenseUniform()([4, 8]).shape == [4, 8]
