"""The equalities that make a supernet one: off is exactly off, and what is found is what was searched."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given, settings
from hypothesis import strategies as st

from autonl_tf.arch.cost import network_cost
from autonl_tf.layers.superkernel import ring_indicators
from autonl_tf.networks.gate_table import GateCost, GateTable
from autonl_tf.networks.inherit import inherited_network
from autonl_tf.networks.supernet import MARGIN_RANGE, Supernet
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model

SIZE, CLASSES = 16, 5
SPACE = {
    "candidates": {
        "kernels": [3, 5],
        "expansions": [3, 6],
        "se_ratios": [0.25, 0.5],
        "nonlocal_ratios": [0.25, 0.5],
        "nonlocal_strides": [2, 1],
    },
    "blocks": [
        {"block": "r1_k3.5_s22_e1_i32_o8_se0.5_nonlocal0.5-2", "searchable": False},
        {"block": "r1_k5_s22_e6_i8_o12", "nonlocal_ratios": [0.25, 0.5, 1.0]},
        {"block": "r2_k7_s11_e6_i12_o12", "kernels": [3, 5, 7], "expansions": [2, 4, 6]},
    ],
}


def perturb(model, seed=0):
    """Weights that a wrong slice, a forgotten mask or a stale statistic would show with."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        name, shape = variable.name, variable.shape
        if "gamma" in name or "variance" in name:
            variable.assign(rng.uniform(0.5, 1.5, shape))
        elif any(part in name for part in ("beta", "mean", "bias")):
            variable.assign(0.3 * rng.normal(size=shape))


@pytest.fixture(scope="module")
def supernet():
    keras.utils.set_random_seed(0)
    net = Supernet(
        space_lib.parse(SPACE, "test"), image_size=SIZE, num_classes=CLASSES, start_margin=1.0, name="supernet"
    )
    perturb(net)
    return net


def images(batch=3):
    return np.random.default_rng(5).normal(size=[batch, SIZE, SIZE, 3]).astype(np.float32)


@pytest.mark.parametrize("block", [1, 2])  # 3 is the repeat of 2
def test_a_block_with_forced_gates_equals_the_real_block_for_every_configuration(supernet, block):
    """Every selection of one block, the others fixed: the supernet equals the network with the sliced weights."""
    table, x = supernet.table, tf.constant(images())
    run = tf.function(lambda gates: supernet(x, gates=gates))
    options = supernet.table.space.blocks[block].options
    kinds = [("kernel", "expand"), ("se",), ("nl", "nl_ratio", "nl_stride")]
    largest = [other.largest for other in table.space.blocks]
    seen = 0
    for group in kinds:  # the groups act in turn on the activations; within a group selections interact
        for selection in itertools.product(*(range(len(options[kind])) for kind in group)):
            selections = [dict(other) for other in largest]
            selections[block].update(zip(group, selection, strict=True))
            gates = table.opened(selections)
            real = inherited_network(supernet, gates, image_size=SIZE, num_classes=CLASSES)
            assert table.space.member(selections) == table.decode(gates)
            np.testing.assert_allclose(run(gates), real(x), rtol=2e-5, atol=2e-5, err_msg=str(selections[block]))
            seen += 1
    assert seen == sum(np.prod([len(options[kind]) for kind in group]) for group in kinds)


@pytest.mark.parametrize("seed", range(6))
def test_the_supernet_equals_its_decoded_network_with_inherited_weights(supernet, seed):
    rng = np.random.default_rng(seed)
    gates = (rng.uniform(size=len(supernet.table)) < rng.uniform(0.2, 0.9)).astype(np.float32)
    real = inherited_network(supernet, gates, image_size=SIZE, num_classes=CLASSES)
    x = images()
    np.testing.assert_allclose(supernet(x, gates=tf.constant(gates)), real(x), rtol=2e-5, atol=2e-5)


def test_in_training_too_the_supernet_is_the_network_it_decodes_to(supernet):
    """Batch statistics: a channel that is off must not leak into those of the channels that are on."""
    gates = (np.random.default_rng(8).uniform(size=len(supernet.table)) < 0.6).astype(np.float32)
    real = inherited_network(supernet, gates, image_size=SIZE, num_classes=CLASSES)
    kept = [variable.numpy() for variable in supernet.variables]
    got = supernet(images(8), gates=tf.constant(gates), training=True)
    for variable, value in zip(supernet.variables, kept, strict=True):
        variable.assign(value)
    np.testing.assert_allclose(got, real(images(8), training=True), rtol=1e-3, atol=1e-3)


SPACES = {name: space_lib.load(name) for name in space_lib.names()} | {"test": space_lib.parse(SPACE, "test")}
COSTS = {
    name: (
        GateTable(space),
        GateCost(GateTable(space), macs_model(space, image_size=size, num_classes=10), dtype=tf.float64),
        size,
    )
    for name, space, size in ((n, s, {"paper": 224, "demo": 64, "test": SIZE}.get(n, 64)) for n, s in SPACES.items())
}


@settings(max_examples=150)
@given(st.sampled_from(sorted(COSTS)), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_the_cost_of_binary_gates_is_exactly_the_macs_of_the_decoded_network(name, seed, share):
    table, cost, size = COSTS[name]
    gates = (np.random.default_rng(seed).uniform(size=len(table)) < share).astype(np.float64)
    counted = network_cost(table.decode(gates), image_size=size, num_classes=10).total.macs
    assert float(cost(gates)) == counted


def test_the_cost_gives_every_gate_that_counts_a_gradient():
    table, cost, _ = COSTS["paper"]
    gates = tf.ones([len(table)], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(gates)
        macs = cost(gates)
    gradient = tf.convert_to_tensor(tape.gradient(macs, gates)).numpy()
    assert (gradient > 0).all()


def test_in_float32_the_cost_is_exact_to_a_millionth():
    table, cost, size = COSTS["paper"]
    gates = np.ones(len(table))
    rounded = GateCost(table, macs_model(table.space, image_size=size, num_classes=10))(gates)
    assert float(rounded) == pytest.approx(float(cost(gates)), rel=1e-6)


@pytest.mark.parametrize("name", ["paper", "demo"])
def test_every_margin_starts_at_about_1_and_every_surrogate_gradient_above_the_floor(name):
    """The floor is sigmoid'(1) = 0.197; raw norms would start at 1e-5 to 1e-17."""
    size = COSTS[name][2]
    net = Supernet(SPACES[name], image_size=size, num_classes=10, start_margin=1.0, name="supernet")
    margins = net.live_margins()
    assert len(net.table.names) == len(set(net.table.names)) == len(margins)
    np.testing.assert_allclose(margins, np.ones(len(margins)), atol=0.2)
    slope = tf.sigmoid(margins) * tf.sigmoid(-margins)
    assert float(tf.reduce_min(slope)) > 0.17


def test_a_ring_that_has_grown_counts_where_its_gate_is_open_alone():
    """A value above 1 counts as 1: over a threshold above that the kernel is closed, and so for its parts' values."""
    net = Supernet(
        space_lib.parse(SPACE, "test"), image_size=SIZE, num_classes=CLASSES, start_margin=1.0, name="supernet"
    )
    block, slices = net.blocks[1], net.table.slices[1]
    rings = ring_indicators(block.depthwise.kernel_sizes)
    kernel = block.depthwise.depthwise_kernel
    kernel.assign(kernel * (0.5 * rings[0] + 3.0 * rings[1]))
    before = net.live_margins().numpy()[slices["expand"]]
    thresholds = net.thresholds.numpy()
    thresholds[slices["kernel"]] = 1.2
    net.thresholds.assign(thresholds)
    margins = net.live_margins().numpy()
    assert margins[slices["kernel"]] == pytest.approx([-0.2])
    np.testing.assert_allclose(before, 1.0)
    np.testing.assert_allclose(margins[slices["expand"]], 0.5, atol=0.1)  # of the core alone


def test_tracking_keeps_the_surrogate_gradient_above_the_floor(supernet):
    kept = supernet.get_weights()
    for threshold in (-30.0, 30.0):
        supernet.thresholds.assign(tf.fill(supernet.thresholds.shape, threshold))
        supernet.track(tf.constant(False), tf.constant(False))
        margins = supernet.live_margins()
        assert float(tf.reduce_min(margins)) >= MARGIN_RANGE[0] - 1e-5
        assert float(tf.reduce_max(margins)) <= MARGIN_RANGE[1] + 1e-5
        assert float(tf.reduce_min(tf.sigmoid(margins) * tf.sigmoid(-margins))) > 0.1
    supernet.set_weights(kept)


def test_what_a_block_can_do_without_starts_at_the_start_margin_and_stays_there_while_thresholds_follow():
    net = Supernet(
        space_lib.parse(SPACE, "test"), image_size=SIZE, num_classes=CLASSES, start_margin=0.05, name="supernet"
    )
    adds = np.array([gate.adds for gate in net.table.gates])
    assert {gate.name.split("/")[1] for gate in net.table.gates if gate.adds} == {"nl", "se0.25"}
    np.testing.assert_allclose(net.live_margins().numpy()[adds], 0.05, atol=1e-6)
    for block in net.blocks[1:]:
        nl, se = block.inserted["nl"], block.inserted["se"]
        nl.depthwise_kernel.assign(0.7 * nl.depthwise_kernel)
        se.reduce.kernel.assign(0.7 * se.reduce.kernel)
    net.track(tf.constant(False), tf.constant(False))
    assert (net.live_margins().numpy()[adds] < -0.1).all()
    net.track(tf.constant(False), tf.constant(True))
    np.testing.assert_allclose(net.live_margins().numpy()[adds], 0.05, atol=1e-6)
    np.testing.assert_array_equal(net.thresholds.numpy()[~adds], 0)
    followed = net.thresholds.numpy()
    net.track(tf.constant(False), tf.constant(False))
    np.testing.assert_array_equal(net.thresholds, followed)


def test_held_margins_stand_still(supernet):
    before = supernet.margins.numpy()
    supernet.track(tf.constant(True), tf.constant(False))
    np.testing.assert_array_equal(supernet.margins, before)


def test_without_gates_the_margins_decide(supernet):
    gates = (np.random.default_rng(3).uniform(size=len(supernet.table)) < 0.5).astype(np.float32)
    kept = supernet.margins.numpy()
    supernet.margins.assign(gates - 0.5)
    np.testing.assert_array_equal(supernet(images()), supernet(images(), gates=tf.constant(gates)))
    supernet.margins.assign(kept)


def test_training_averages_the_distances_from_1_and_only_those(supernet):
    kept = supernet.get_weights()
    supernet.distances.assign(tf.ones_like(supernet.distances))
    supernet(images(8), gates=tf.ones([len(supernet.table)]), training=True)
    supernet.track(tf.constant(False), tf.constant(False))
    moved = supernet.distances.numpy() != 1
    compactness = [gate.choice in ("nl_ratio", "nl_stride") for gate in supernet.table.gates]
    np.testing.assert_array_equal(moved, compactness)
    supernet.set_weights(kept)
