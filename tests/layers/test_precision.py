"""Mixed precision: what stays float32, and that LightNL survives inputs whose product float16 cannot hold."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from golden_data import VALUES, averaged_network, relative_l2
from one_block import SPACE

from autonl_tf.flag_values import POLICIES
from autonl_tf.layers.light_nl import LightNL
from autonl_tf.layers.precision import precision_scope, wide_dtype
from autonl_tf.networks.supernet import Supernet
from autonl_tf.space import space as space_lib

SHORT = ("bfloat16", "float16")
ERRORS = {"bfloat16": 0.1, "float16": 0.01}  # 8 and 11 bits of mantissa through some sixty layers


def network(precision):
    """The small network of the release's numbers, with the weights and statistics those were made with."""
    with precision_scope(precision):
        return averaged_network("tiny", 64, 10)


def supernet(precision):
    keras.utils.set_random_seed(1)
    with precision_scope(precision):
        return Supernet(space_lib.parse(SPACE, "test"), image_size=16, num_classes=3, start_margin=1.0, name="supernet")


def test_the_scope_ends_with_the_policy_that_was():
    with pytest.raises(KeyError), precision_scope("bfloat16"):
        assert keras.mixed_precision.global_policy().compute_dtype == "bfloat16"
        raise KeyError
    assert keras.mixed_precision.global_policy().name == "float32"


def test_wide_types_are_float32_at_least():
    policies = ("float32", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")
    wide = [wide_dtype(keras.mixed_precision.Policy(name)) for name in policies]
    assert wide == ["float32"] * 5 + ["float64"]


@pytest.mark.parametrize("precision", SHORT)
@pytest.mark.parametrize("make", [network, supernet])
def test_variables_and_logits_are_float32_and_close_to_those_of_float32(make, precision):
    plain, mixed = make("float32"), make(precision)
    assert [v.name for v in plain.variables] == [v.name for v in mixed.variables]
    for one, other in zip(plain.variables, mixed.variables, strict=True):
        assert one.dtype == other.dtype
        other.assign(one)
    images = VALUES.inputs(7, 16, 64) if make is network else tf.random.stateless_normal([16, 16, 16, 3], [1, 2])
    for training in (False, True):
        expected, got = plain(images, training=training), mixed(images, training=training)
        assert got.dtype == tf.float32
        errors = tf.norm(got - expected, axis=1) / tf.norm(expected, axis=1)
        # The median: LightNL cubes what is far from these random weights' statistics, and its roundings.
        assert 0 < np.median(errors) < ERRORS[precision]


def test_the_float32_scope_changes_no_bit():
    images = VALUES.inputs(7, 4, 64)
    plain, scoped = averaged_network("tiny", 64, 10), network("float32")
    for training in (False, True):
        np.testing.assert_array_equal(plain(images, training=training), scoped(images, training=training))


@pytest.mark.parametrize("precision", SHORT)
def test_every_layer_of_light_nl_and_every_statistic_is_float32(precision):
    model = network(precision)
    light = [layer for layer in model.layers if "_nl_" in layer.name and not layer.name.endswith("_add")]
    assert len(light) >= 3
    assert {layer.compute_dtype for layer in light} == {"float32"}
    assert model.get_layer("stem_conv").compute_dtype == model.get_layer("stem_bn").compute_dtype == precision
    assert model.get_layer("logits").compute_dtype == "float32"
    super_block = supernet(precision).blocks[0]
    nl = super_block.inserted["nl"]
    assert nl.bn.compute_dtype == nl.depthwise_kernel.dtype == "float32"
    assert super_block.expand_conv.compute_dtype == precision


@pytest.mark.parametrize("gated", [False, True])
def test_light_nl_takes_inputs_whose_product_float16_cannot_hold(gated):
    """Values around 60 give products around 10^6: infinite in float16, where batch norm makes them NaN."""
    x = tf.abs(tf.random.stateless_normal([4, 8, 8, 32], [3, 4])) * 60
    outputs = {}
    for precision in ("float32", "float16"):
        if gated:
            keras.utils.set_random_seed(2)
            layer = supernet(precision).blocks[0].inserted["nl"]
            layer.bn.gamma.assign(tf.ones_like(layer.bn.gamma))
            one = tf.ones([])
            half = tf.cast(x, precision)
            outputs[precision] = layer(half, one, [one], [one], training=True)[0]
        else:
            keras.utils.set_random_seed(2)
            layer = LightNL(0.5, 1, dtype=POLICIES[precision])
            layer(x)
            layer.bn.gamma.assign(tf.ones_like(layer.bn.gamma))
            outputs[precision] = layer(x, training=True)
        assert outputs[precision].dtype == precision
    product = layer.product(tf.cast(x, tf.float16)) if not gated else tf.fill([1], 1e6)
    assert product.dtype == tf.float32 and tf.reduce_max(product) > tf.float16.max
    assert relative_l2(tf.cast(outputs["float16"], tf.float32), outputs["float32"].numpy()) < 2e-3
