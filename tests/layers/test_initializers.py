import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given
from hypothesis import strategies as st

from autonl_tf.arch import blockstring
from autonl_tf.layers.initializers import DenseUniform, FanOutNormal, light_nl_depthwise
from autonl_tf.networks.network import build_network


def moments(values):
    values = np.asarray(values, np.float64).ravel()
    return values.mean(), values.std(), (values**4).mean() / values.var() ** 2


@pytest.mark.parametrize(("shape", "fan_out"), [([1, 1, 64, 400], 400), ([3, 3, 40, 64], 576), ([5, 5, 2000, 1], 25)])
def test_convolutions_are_normal_with_variance_2_over_fan_out(shape, fan_out):
    keras.utils.set_random_seed(0)
    mean, deviation, kurtosis = moments(FanOutNormal()(shape))
    expected = (2 / fan_out) ** 0.5
    assert abs(mean) < 0.03 * expected
    assert deviation == pytest.approx(expected, rel=0.02)
    assert kurtosis == pytest.approx(3.0, rel=0.06)  # neither uniform (1.8) nor truncated (2.1)


@pytest.mark.parametrize(("units", "limit"), [(4000, 4000**-0.5), (1000, 1000**-0.5), (6, 1000**-0.5)])
def test_dense_kernels_are_uniform_in_one_over_root_units_as_if_there_were_1000_at_least(units, limit):
    keras.utils.set_random_seed(0)
    values = DenseUniform()([1280, units]).numpy()
    assert abs(values).max() == pytest.approx(limit, rel=1e-3)
    assert moments(values)[1:] == pytest.approx((limit / 3**0.5, 1.8), rel=0.02)


@pytest.mark.parametrize("classes", [2, 6, 100])
def test_a_network_starts_at_chance_however_few_classes_it_has(classes):
    keras.utils.set_random_seed(0)
    spec = blockstring.parse("r1_k3_s11_e1_i32_o16_noskip\nr1_k3_s22_e6_i16_o40\nr1_k3_s22_e6_i40_o80_nonlocal0.25-1")
    model = build_network(spec, image_size=32, num_classes=classes)
    logits = model(tf.random.normal([64, 32, 32, 3]), training=True)
    entropy = keras.losses.sparse_categorical_crossentropy(np.arange(64) % classes, logits, from_logits=True)
    assert np.mean(entropy) == pytest.approx(np.log(classes), rel=0.03)


def test_light_nl_depthwise_is_glorot_uniform():
    keras.utils.set_random_seed(0)
    channels = 2000
    values = light_nl_depthwise()([3, 3, channels, 1]).numpy()
    limit = (6 / (9 * channels + 9)) ** 0.5
    assert abs(values).max() == pytest.approx(limit, rel=1e-3)
    assert moments(values)[1:] == pytest.approx((limit / 3**0.5, 1.8), rel=0.03)
    assert (values**2).sum() == pytest.approx(2.0, rel=0.03)


def test_every_weight_of_a_network_starts_as_in_the_release():
    keras.utils.set_random_seed(1)
    spec = blockstring.parse("r1_k3_s11_e1_i32_o320\nr1_k5_s11_e6_i320_o320_se0.5_nonlocal0.25-1")
    model = build_network(spec, image_size=16, num_classes=1000)
    deviations = {
        "stem_conv/kernel": (2 / (9 * 32)) ** 0.5,
        "block1_expand_conv/kernel": (2 / 1920) ** 0.5,
        "block1_depthwise/depthwise_kernel": (2 / 25) ** 0.5,
        "block1_se_reduce/kernel": (2 / 160) ** 0.5,
        "block1_project_conv/kernel": (2 / 320) ** 0.5,
        "block1_nl_depthwise/depthwise_kernel": (2 / (9 * 320 + 9)) ** 0.5,
        "head_conv/kernel": (2 / 1280) ** 0.5,
        "logits/kernel": (1 / 3000) ** 0.5,
    }
    values = {v.name.split(":")[0]: v.numpy() for v in model.variables}
    for name, expected in deviations.items():
        assert values[name].std() == pytest.approx(expected, rel=0.1), name
    for name, value in values.items():
        if name.endswith(("bias", "beta", "moving_mean")) or name == "block1_nl_bn/gamma":
            assert not value.any(), name
        elif name.endswith(("gamma", "moving_variance")):
            assert (value == 1).all(), name


@given(st.integers(0, 2**31 - 1))
def test_a_seeded_initialiser_repeats_itself(seed):
    tf.random.set_seed(0)
    first = FanOutNormal(seed)([1, 1, 2, 3]).numpy()
    tf.random.set_seed(0)
    np.testing.assert_array_equal(first, FanOutNormal.from_config({"seed": seed})([1, 1, 2, 3]))
