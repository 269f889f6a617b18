"""The networks of other families: built, counted, and equal to the reference where there is one here."""

import numpy as np
import pytest
import tf_keras as keras
from golden_data import VALUES

from autonl_tf.arch import blockstring, cost, presets
from autonl_tf.arch.placement import place_nonlocal
from autonl_tf.checkpoint.tf1 import official_names
from autonl_tf.errors import UserError
from autonl_tf.layers.activations import ChannelShuffle, HardSwish, activation
from autonl_tf.networks.network import build_network


def trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize("name", presets.names())
def test_every_network_of_the_zoo_builds_with_the_parameters_counted(name):
    spec = presets.load(name)
    model = build_network(spec, image_size=64, num_classes=5)
    assert trainable(model) == cost.network_cost(spec, image_size=64, num_classes=5).total.params
    assert model.output_shape == (None, 5)


@pytest.mark.parametrize("where", ["all:0.25-1", "1,2:embedded0.5-2", "0:embedded0.25-1"])
def test_parameters_with_blocks_placed_by_hand_are_those_counted(where):
    text = "network activation=hswish stem=8 head=24\nr1_k3_s22_e2_i8_o12\nr2_k3_s11_e2_i12_o12_se0.25"
    spec = place_nonlocal(blockstring.parse(text), where)
    model = build_network(spec, image_size=32, num_classes=5)
    assert trainable(model) == cost.network_cost(spec, image_size=32, num_classes=5).total.params
    again = keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    x = VALUES.inputs(0, 2, 32)
    np.testing.assert_array_equal(model(x), again(x))
    plain = build_network(place_nonlocal(spec, "none"), image_size=32, num_classes=5)
    kept = [layer for layer in plain.layers if layer.weights]
    for layer in kept:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    np.testing.assert_array_equal(model(x), plain(x))  # every non-local block starts as the identity


def in_order(model):
    """Weights by kind, in the order of the layers that have them: kernels, depthwise kernels, batch norms."""
    layers = [layer for layer in model.layers if layer.weights and not isinstance(layer, keras.layers.Normalization)]
    assert {type(layer).__name__ for layer in layers} == {"Conv2D", "DepthwiseConv2D", "BatchNormalization", "Dense"}
    return layers


def copy_weights(source, target):
    ours, theirs = in_order(target), in_order(source)
    assert [type(layer).__name__ for layer in ours] == [type(layer).__name__ for layer in theirs]
    rng = np.random.default_rng(0)
    for mine, other in zip(ours, theirs, strict=True):
        values = [np.abs(rng.normal(1, 0.1, w.shape)) if w.ndim == 1 else w for w in other.get_weights()]
        other.set_weights(values)
        mine.set_weights(values)


def test_mobilenet_v2_computes_what_keras_applications_does():
    reference = keras.applications.MobileNetV2(
        input_shape=(64, 64, 3), weights=None, classes=10, classifier_activation=None
    )
    model = build_network(presets.load("mobilenet_v2"), image_size=64, num_classes=10)
    assert trainable(model) == trainable(reference)
    copy_weights(reference, model)
    x = VALUES.inputs(0, 2, 64)
    np.testing.assert_allclose(model(x), reference(x), rtol=1e-4, atol=1e-4)


def test_efficientnet_b0_computes_what_keras_applications_does():
    reference = keras.applications.EfficientNetB0(
        input_shape=(64, 64, 3), weights=None, classes=10, classifier_activation=None
    )
    model = build_network(presets.load("efficientnet_b0"), image_size=64, num_classes=10)
    assert trainable(model) == trainable(reference)
    copy_weights(reference, model)
    x = VALUES.inputs(0, 2, 64)
    # Its rescaling and normalisation are layers; ours are applied before.
    head = keras.Model(reference.get_layer("stem_conv_pad").output, reference.output)
    padded = np.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)])
    np.testing.assert_allclose(model(x), head(padded), rtol=1e-4, atol=1e-4)


def test_a_channel_shuffle_transposes_the_groups():
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 1, 6)
    np.testing.assert_array_equal(ChannelShuffle(2)(x).numpy().ravel(), [0, 3, 1, 4, 2, 5])


def test_the_shuffle_comes_before_the_depthwise_of_grouped_blocks_only():
    model = build_network(presets.load("fbnet_a"), image_size=64, num_classes=5)
    names = [layer.name for layer in model.layers]
    assert sum(name.endswith("_shuffle") for name in names) == 3
    assert names.index("block8_depthwise") == names.index("block8_shuffle") + 1


def test_activations_are_what_their_names_say():
    x = np.array([-4.0, -1.0, 0.5, 4.0, 8.0], np.float32)
    expected = {
        "swish": x / (1 + np.exp(-x)),
        "relu": np.maximum(x, 0),
        "relu6": np.clip(x, 0, 6),
        "hswish": x * np.clip(x + 3, 0, 6) / 6,
    }
    for kind, values in expected.items():
        np.testing.assert_allclose(activation(kind, "a")(x), values, rtol=1e-6)
    assert HardSwish.from_config(HardSwish(name="h").get_config()).name == "h"


def test_mixnets_swish_blocks_are_the_marked_ones():
    kinds = [block.activation for block in presets.load("mixnet_s").singles()]
    assert kinds[:3] == ["relu"] * 3
    assert set(kinds[3:]) == {"swish"}


def test_official_names_refuse_another_family():
    with pytest.raises(UserError, match="mobilenet_v2: official checkpoints hold"):
        official_names(presets.load("mobilenet_v2"))
