"""What each open gate gains is measured when decisions are taken, and what is not seen to gain its price is closed."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given
from hypothesis import strategies as st

from autonl_tf.engine.inputs import distribute
from autonl_tf.engine.objectives import cross_entropy
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search import measured
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model

SIZE, CLASSES, BATCH = 16, 3, 8
SPACE = {
    "network": "stem=8 head=16",
    "candidates": {"kernels": [3], "expansions": [3], "nonlocal_ratios": [0.5], "nonlocal_strides": [1]},
    "blocks": [{"block": "r2_k3_s22_e3_i8_o8"}],
}


def supernet_of(scope, gammas):
    """Its LightNL adds its product times `gammas`, one a block."""
    keras.utils.set_random_seed(0)
    with scope:
        supernet = Supernet(space_lib.parse(SPACE, "two"), image_size=SIZE, num_classes=CLASSES, dropout_rate=0.5)
    for block, gamma in zip(supernet.blocks, gammas, strict=True):
        layer = block.inserted["nl"]
        layer.bn.gamma.assign(tf.fill(layer.bn.gamma.shape, float(gamma)))
    return supernet


def places(supernet):
    return [index for index, name in enumerate(supernet.table.names) if name.endswith("/nl")]


def some_batches(count, factor=1):
    rng = np.random.default_rng(0)
    size = factor * BATCH
    return [(rng.normal(size=[size, SIZE, SIZE, 3]).astype("f"), rng.integers(3, size=size)) for _ in range(count)]


def gains(supernet, batches, multiplier=0.0, **how):
    model = macs_model(supernet.table.space, image_size=SIZE, num_classes=CLASSES)
    how = {"micro_batches": 1, "held_out": False} | how
    gates = measured.candidates(supernet.table, supernet.margins.numpy())
    return measured.measured_gains(tf.distribute.get_strategy(), supernet, model, gates, multiplier, batches, **how)


def entropy(supernet, batches, gates):
    """The cross-entropy of every image, without dropout, on the batch's statistics."""
    rate, supernet.head_dropout.rate = supernet.head_dropout.rate, 0.0
    found = [cross_entropy(supernet(x, gates=gates, training=True), y, 0.0).numpy() for x, y in batches]
    supernet.head_dropout.rate = rate
    return np.concatenate(found)


def opened(supernet, closed=()):
    gates = (supernet.margins.numpy() >= 0).astype(np.float32)
    gates[list(closed)] = 0
    return gates


@pytest.fixture
def plain():
    return supernet_of(tf.distribute.get_strategy().scope(), (1, 2))


def test_a_gain_is_how_much_plain_cross_entropy_rises_without_and_nothing_else_changes(plain):
    before, batches = [variable.numpy() for variable in plain.variables], some_batches(2)
    found = gains(plain, batches)
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, plain.variables, strict=True))
    assert plain.head_dropout.rate == 0.5
    assert {gain.gate for gain in found} == set(places(plain))
    rise = entropy(plain, batches, opened(plain, [found[0].gate])) - entropy(plain, batches, opened(plain))
    assert found[0].gain == pytest.approx(rise.mean(), abs=1e-6) and abs(found[0].gain) > 1e-4
    assert found[0].error == pytest.approx(rise.std(ddof=1) / math.sqrt(len(rise)), rel=1e-3)


@pytest.mark.parametrize("first", [0, 1])
def test_the_closest_call_comes_first_and_the_next_is_measured_without_what_closed(plain, first):
    own, batches = places(plain), some_batches(1)
    margins = plain.margins.numpy()
    margins[own] = [0.4, 0.4]
    margins[own[first]] = 0.1
    plain.margins.assign(margins)
    found = gains(plain, batches, multiplier=1e3)  # nothing is worth that
    assert [gain.gate for gain in found] == [own[first], own[1 - first]] and all(gain.closes for gain in found)
    rise = entropy(plain, batches, opened(plain, own)) - entropy(plain, batches, opened(plain, [own[first]]))
    assert found[1].gain == pytest.approx(rise.mean(), abs=1e-6)
    kept = gains(plain, batches, multiplier=-1e3)  # everything is
    assert not any(gain.closes for gain in kept)
    rise = entropy(plain, batches, opened(plain, [own[1 - first]])) - entropy(plain, batches, opened(plain))
    assert kept[1].gain == pytest.approx(rise.mean(), abs=1e-6)


def test_the_price_is_what_closing_saves_of_the_costs_term(plain):
    model = macs_model(plain.table.space, image_size=SIZE, num_classes=CLASSES)
    found = gains(plain, some_batches(1), multiplier=0.3)[0]
    costs = [model.of(plain.table.selections(opened(plain, closed))) for closed in ((), [found.gate])]
    assert found.price == pytest.approx(0.3 * math.log(costs[0] / costs[1])) and found.price > 0


@pytest.mark.parametrize(("gain", "closes"), [(0.021, False), (0.019, True), (-0.02, True), (math.nan, True)])
def test_a_gate_closes_unless_its_gain_is_above_its_price_by_its_error(gain, closes):
    assert measured.Gain(0, gain, error=0.005, price=0.015).closes == closes


def test_gates_that_are_closed_are_not_measured(plain):
    margins = plain.margins.numpy()
    margins[places(plain)[0]] = -0.1
    plain.margins.assign(margins)
    assert [gain.gate for gain in gains(plain, some_batches(1))] == places(plain)[1:]


def test_held_out_images_are_measured_alone(plain):
    (images, labels), held = some_batches(1, factor=2)[0], slice(BATCH, None)
    found = gains(plain, [(images, labels)], held_out=True)
    assert found == gains(plain, [(images[held], labels[held])])


def test_micro_batches_are_batches_of_their_own(plain):
    (images, labels) = some_batches(1, factor=2)[0]
    halves = [(images[half], labels[half]) for half in (slice(BATCH), slice(BATCH, None))]
    assert gains(plain, [(images, labels)], micro_batches=2) == gains(plain, halves)


def test_replicas_measure_what_as_many_batches_do(plain):
    batches, strategy = some_batches(4), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    supernet = supernet_of(strategy.scope(), (1, 2))
    data = tf.data.Dataset.from_tensor_slices(tuple(map(np.concatenate, zip(*batches, strict=True))))
    distributed = iter(distribute(strategy, lambda shard, count: data.batch(2 * BATCH, drop_remainder=True)))
    model = macs_model(supernet.table.space, image_size=SIZE, num_classes=CLASSES)
    copies = [copy.numpy() for v in supernet.variables for copy in strategy.experimental_local_results(v)]
    found = measured.measured_gains(
        strategy,
        supernet,
        model,
        places(supernet),
        0.0,
        [next(distributed) for _ in range(2)],
        micro_batches=1,
        held_out=False,
    )
    after = [copy.numpy() for v in supernet.variables for copy in strategy.experimental_local_results(v)]
    assert all(map(np.array_equal, copies, after))
    for gain, alone in zip(found, gains(plain, batches), strict=True):
        assert tuple(gain) == pytest.approx(tuple(alone), abs=1e-6)


@given(st.integers(0, 60), st.integers(1, 4096), st.integers(1, 400_000), st.integers(16, 1024))
def test_measuring_takes_a_tenth_of_the_search_and_half_a_gigabyte_or_two_images(gates, batch_size, steps, image_size):
    batches = measured.batches_to_measure(gates, batch_size, steps, image_size)
    assert batches * batch_size >= 2
    if batches > math.ceil(2 / batch_size):
        assert (batches - 1) * batch_size < 2048
        assert (batches - 1) * batch_size * image_size**2 * 12 < 2**29
        assert batches * (1 + gates) / 3 <= 0.1 * steps
