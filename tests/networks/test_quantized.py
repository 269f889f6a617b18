"""Simulated int8 starts where the float network is, and stays there while nothing is learned."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch import blockstring
from autonl_tf.errors import UserError
from autonl_tf.networks import quantizers
from autonl_tf.networks.network import build_network
from autonl_tf.networks.quantized import calibrate, check_beginning, quantized_network

SIZE = 32
# Both orders of LightNL's product, a stride, squeeze-excite, kernels in groups.
BLOCKS = """\
r1_k3_s22_e1_i32_o16_nonlocal0.25-1
r1_k3.5_s11_e3_i16_o16_se0.25
r1_k3_s22_e3_i16_o24_nonlocal0.5-2
"""


def pictures(count: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).normal(size=[count, 8, 8, 3])
    return tf.image.resize(coarse, [SIZE, SIZE]).numpy()


@pytest.fixture(scope="module", params=["swish", "relu6"])
def pair(request):
    """A float network with statistics of its own data, and its simulated int8, ranges not known."""
    keras.utils.set_random_seed(1)
    spec = blockstring.parse(f"network activation={request.param}\n{BLOCKS}")
    model = build_network(spec, image_size=SIZE, num_classes=5)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            layer.gamma.assign(tf.ones_like(layer.gamma) * (0.3 if "nl_bn" in layer.name else 1.0))
    model(pictures(64), training=True)
    return model, quantized_network(model)


def apart(pair, images) -> float:
    """The simulated logits' distance from the float ones, as a share of their norm: the median over images."""
    expected, got = (network(images, training=False).numpy() for network in pair)
    return float(np.median(np.linalg.norm(got - expected, axis=1) / np.linalg.norm(expected, axis=1)))


def test_calibrated_ranges_give_the_float_networks_logits_and_training_keeps_them(pair):
    _, quantized = pair
    images = pictures(64, seed=1)
    untouched = {variable.name: variable.numpy() for variable in quantized.variables}
    before = apart(pair, images)
    calibrate(quantized, np.concatenate([pictures(20, seed=2), pictures(12, seed=3)]))
    start = apart(pair, images)
    assert start < 0.1 and before > 0.5, (start, before)
    ranges = {name for name in untouched if name.split("_")[-1] in ("low:0", "high:0", "seen:0")}
    for variable in quantized.variables:
        same = np.array_equal(variable.numpy(), untouched[variable.name])
        assert same == (variable.name not in ranges), variable.name
    for layer in quantized.submodules:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 1.0
    for step in range(12):
        quantized(pictures(8, seed=10 + step), training=True)
    assert apart(pair, images) < start + 0.03
    assert all(float(v) == pytest.approx(99 + 12) for v in quantized.variables if v.name.endswith("seen:0"))


def test_a_range_covers_the_images_and_not_the_odd_one_with_values_far_outside(pair):
    quantized, images = pair[1], pictures(64)
    calibrate(quantized, images)
    ends = quantizers.output_range(quantized.get_layer("quant_block0_project_bn"))
    low, high = (float(end) for end in ends)
    images[0] *= 50.0
    calibrate(quantized, images)
    assert 1.5 * low < float(ends[0]) < 0.5 * low and 0.5 * high < float(ends[1]) < 1.5 * high


def test_values_that_are_not_finite_on_many_images_are_told(pair):
    images = pictures(8)
    images[:2] = np.nan
    with pytest.raises(UserError, match="on 2 of 8 calibration images the network's values are not finite"):
        calibrate(pair[1], images)
    with pytest.raises(ValueError, match="at least one"):
        calibrate(pair[1], images[:0])


def test_what_is_fused_into_a_convolution_has_no_range_of_its_own(pair):
    """The file computes a relu6 within the convolution in front, and rounds once."""
    float_network, quantized = pair
    for name in ("block0_depthwise_bn", "block1_depthwise_bn", "block1_se_reduce", "head_bn"):
        relu6 = "relu6" in float_network.layers[3].name
        assert (quantizers.output_range(quantized.get_layer(f"quant_{name}")) is None) == relu6, name
    assert quantizers.output_range(quantized.get_layer("quant_block0_project_bn")) is not None


def test_nothing_is_rounded_up_to_the_first_convolution_behind_depthwise_ones(pair):
    float_network, quantized = pair
    images = pictures(4)
    calibrate(quantized, images)

    def values(network, name):
        found = [layer for layer in network.layers if layer.name in (name, f"quant_{name}")]
        output = found[0].get_output_at(len(found[0].inbound_nodes) - 1)
        return keras.Model(network.input, output)(images, training=False).numpy()

    for name in ("stem_bn", "block0_depthwise"):
        np.testing.assert_array_equal(values(quantized, name), values(float_network, name))
    activation = [layer.name for layer in float_network.layers if layer.name.startswith("block0_depthwise_")][-1]
    assert 30 < len(np.unique(values(quantized, activation))) <= 256


def test_ranges_of_an_earlier_version_are_refused_in_one_line_and_todays_are_not(pair):
    names = [variable.name for variable in pair[1].variables]
    check_beginning(names, "runs/qat")
    with pytest.raises(UserError, match=r"^runs/qat: was trained with --qat by an earlier version[^\n]*$"):
        check_beginning([*names, "quantize_image/quantize_image_low"], "runs/qat")


def test_a_sigmoid_is_rounded_to_the_steps_that_every_int8_file_has():
    values = np.linspace(0, 1, 1001, dtype=np.float32)
    got = quantizers.held_sigmoid(tf.constant(values)).numpy()
    np.testing.assert_allclose(got, np.minimum(np.rint(values * 256), 255) / 256, atol=1e-6)


def test_the_quantiles_are_numpys():
    for count in (1, 2, 7, 20):
        values = np.random.default_rng(count).normal(size=count).astype(np.float32)
        for share in (0.05, 0.95):
            got = float(quantizers._quantile(tf.constant(values), share))
            assert got == pytest.approx(float(np.quantile(values, share)), abs=1e-6)


SCRIPT = """
import sys, numpy as np, tensorflow as tf
sys.path.insert(0, {folder!r})
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import test_quantized as cases
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
found = []
for scope in (strategy.scope(), tf.distribute.get_strategy().scope()):
    with scope:
        spec = cases.blockstring.parse("r1_k3_s22_e1_i32_o16_nonlocal0.25-1")
        cases.keras.utils.set_random_seed(0)
        network = cases.quantized_network(cases.build_network(spec, image_size=cases.SIZE, num_classes=3))
        cases.calibrate(network, cases.pictures(4))
        found.append((network, {{v.name: v.numpy() for v in network.variables}}))
(network, held), (_, expected) = found
assert held.keys() == expected.keys() and all(np.array_equal(held[name], expected[name]) for name in held)
images = tf.constant(cases.pictures(4))
strategy.run(tf.function(lambda: network(images, training=True)))
for variable in network.variables:
    if variable.name.endswith("seen:0"):
        assert [float(local) for local in strategy.experimental_local_results(variable)] == [100.0, 100.0]
print("alike")
"""


def test_every_replica_starts_from_the_same_ranges():
    script = SCRIPT.format(folder=str(pathlib.Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0 and done.stdout.endswith("alike\n"), done.stderr[-3000:]
