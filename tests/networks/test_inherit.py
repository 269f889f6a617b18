"""A supernet takes over the weights of any member of its space: it then is that member, whose bits come out again."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given, settings
from hypothesis import strategies as st
from test_supernet import CLASSES, SIZE, SPACE, images, perturb

from autonl_tf.networks.inherit import inherited_network, take_over
from autonl_tf.networks.network import build_network
from autonl_tf.networks.supernet import Supernet
from autonl_tf.space import space as space_lib

FAMILIES = {
    "swish": SPACE,
    "relu6": {
        "network": "activation=relu6 stem=8 head=40 padding=symmetric mean=127 stddev=128",
        "candidates": {
            "kernels": [3, 5],
            "expansions": [2, 4],
            "nonlocal_ratios": [0.25, 0.5],
            "nonlocal_strides": [2, 1],
        },
        "blocks": [
            {"block": "r1_k3_s11_e1_i8_o8_se0.5", "kernels": [3], "expansions": [1]},
            {"block": "r2_k5_s22_e4_i8_o12_se0.25"},
            {"block": "r1_k5_s11_e4_i12_o12_sw", "se_ratios": [0.25, 0.5]},
        ],
    },
}
SHAPE = {"image_size": SIZE, "num_classes": CLASSES}


@pytest.fixture(scope="module")
def supernets():
    keras.utils.set_random_seed(0)
    return {
        name: Supernet(space_lib.parse(data, name), **SHAPE, start_margin=0.02, name=f"supernet_{name}")
        for name, data in FAMILIES.items()
    }


def network_of(spec, seed):
    """A network with weights, shifts and statistics of its own."""
    keras.utils.set_random_seed(seed % 2**31)
    model = build_network(spec, **SHAPE)
    perturb(model, seed)
    return model


def drawn(space, seed):
    rng = np.random.default_rng(seed)
    return [{choice: int(rng.integers(len(of))) for choice, of in block.options.items()} for block in space.blocks]


@settings(max_examples=12)
@given(st.sampled_from(sorted(FAMILIES)), st.integers(0, 2**32 - 1))
def test_the_supernet_is_the_member_whose_weights_it_took_and_gives_the_same_bits_back(supernets, family, seed):
    supernet = supernets[family]
    space = supernet.table.space
    spec = space.member(drawn(space, seed))
    model = network_of(spec, seed)
    gates = supernet.table.opened(space.selections_of(spec, "it"))
    perturb(supernet, seed + 1)
    take_over(supernet, model, gates)
    x = tf.constant(images())
    got = supernet(x, gates=tf.constant(gates))
    expected = model(x)
    assert np.linalg.norm(got - expected) <= 2e-5 * np.linalg.norm(expected)
    np.testing.assert_array_equal(supernet(x), got)  # as the margins decide, at once
    np.testing.assert_allclose(supernet.live_margins(), supernet.starts, atol=1e-6)
    back = inherited_network(supernet, gates, **SHAPE)
    for mine, theirs in zip(back.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_what_the_network_has_not_comes_in_gently_and_can_learn():
    """Further channels and a dropped block change nothing when they are opened; every gate compares a value of 1, and
    a new ring, which has to be something for that, is small."""
    keras.utils.set_random_seed(0)
    supernet = Supernet(space_lib.parse(SPACE, "test"), **SHAPE, start_margin=0.02, name="supernet")
    table = supernet.table
    selections = [block.smallest for block in table.space.blocks]
    model = network_of(table.space.member(selections), 3)
    gates = table.opened(selections)
    take_over(supernet, model, gates)
    x = tf.constant(images())
    names = {name: index for index, name in enumerate(table.names)}

    def opened(*also):
        changed = gates.copy()
        changed[[names[name] for name in also]] = 1
        return supernet(x, gates=tf.constant(changed))

    np.testing.assert_allclose(opened("block1/expand6", "block2/keep"), model(x), rtol=2e-5, atol=2e-5)
    assert np.abs(opened("block1/kernel5") - model(x)).max() > 1e-3
    kernel = supernet.blocks[1].depthwise.depthwise_kernel.numpy()
    core, whole = np.square(kernel[1:4, 1:4]).sum(), np.square(kernel).sum()
    assert np.sqrt(((whole - core) / 16) / (core / 9)) == pytest.approx(0.1, rel=1e-4)
    np.testing.assert_allclose(supernet.live_margins() + supernet.thresholds, 1.0, atol=1e-6)
    supernet(x, gates=tf.ones_like(gates), training=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(supernet(x, gates=tf.ones_like(gates), training=True)))
    project = supernet.blocks[1].project_conv.kernel
    assert np.abs(tape.gradient(loss, project)[:, :, 24:]).min() > 0


def test_the_normalisation_is_the_familys(supernets):
    space = supernets["relu6"].table.space
    assert space.largest().normalization == space.family.normalization
    assert dataclasses.replace(space.family, blocks=space.largest().blocks) == space.largest()
