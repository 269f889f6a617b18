"""A kind of gate that the project does not have, in one place: whether a block has a conventional non-local block.

CONTRIBUTING.md sends those here who add a kind.
"""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from test_supernet import images, perturb

from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import network_cost
from autonl_tf.arch.spec import EmbeddedNLSpec
from autonl_tf.engine.names import by_name
from autonl_tf.errors import UserError
from autonl_tf.layers.embedded_nl import EmbeddedProduct
from autonl_tf.layers.gated import GatedBatchNormalization
from autonl_tf.layers.initializers import FanOutNormal, fan_out_stddev
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.inherit import inherited_network
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search import results
from autonl_tf.search.target_flips import flips_to_target
from autonl_tf.space import latency
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model
from autonl_tf.space.gate_kind import InsertedKind, WeightSlice, batch_norm_slices, check_kinds, ratio_list
from autonl_tf.space.kinds import KINDS

STRIDE = 2


class GatedEmbeddedNonLocal(keras.layers.Layer):
    """x + g BN(W_out softmax(theta phi^T) g): parts built here, so that their variables are named by block."""

    def __init__(self, ratio, sync_batch_norm, **kwargs):
        super().__init__(**kwargs)
        self.ratio = ratio
        self.pool = keras.layers.MaxPooling2D(STRIDE, padding="same")
        self.product = EmbeddedProduct()
        self.bn = GatedBatchNormalization("zeros", synchronized=sync_batch_norm, name="bn")

    def build(self, input_shape):
        channels = input_shape[-1]
        inner = int(channels * self.ratio)
        self.parts = {
            name: keras.layers.Conv2D(filters, 1, use_bias=name != "out", kernel_initializer=FanOutNormal(), name=name)
            for name, filters in (("theta", inner), ("phi", inner), ("g", inner), ("out", channels))
        }
        for name, layer in (*self.parts.items(), ("bn", self.bn)):
            with tf.name_scope(name):
                layer.build([*input_shape[:-1], inner if name == "out" else channels])
        self.built = True

    def call(self, inputs, gate, training=None):
        theta, phi, g = (self.parts[name](inputs) for name in ("theta", "phi", "g"))
        y = self.parts["out"](self.product([theta, self.pool(phi), self.pool(g)]))
        return inputs + self.bn(y, gate, training=training)


class Embedded(InsertedKind):
    """One choice: none, or the one ratio there may be."""

    choices, titles = ("embedded",), ("conventional non-local",)
    candidates = ("embedded_ratios",)
    name, position = "embedded", "projected"

    def options(self, base, entry, where):
        ratios = ratio_list(entry, "embedded_ratios", where)
        if len(ratios) > 1:
            raise UserError(f"{where}: 'embedded_ratios' has {len(ratios)} candidates; accepted: at most one")
        return {"embedded": (None, *ratios)}

    def fields(self, chosen):
        return {"embedded": EmbeddedNLSpec(chosen["embedded"], STRIDE) if chosen["embedded"] else None}

    def adds(self, choice, order):
        return True

    def layer(self, base, options, sync_batch_norm):
        return GatedEmbeddedNonLocal(options["embedded"][1], sync_batch_norm, name=self.name)

    def call(self, layer, inputs, gates, training):
        return layer(inputs, gates["embedded"][0], training=training), {}

    def values(self, layer, distances):
        kernel = layer.parts["theta"].kernel
        return {"embedded": [tf.sqrt(tf.reduce_mean(tf.square(kernel))) / fan_out_stddev(kernel.shape)]}

    def slices(self, layer, member):
        if member.embedded is None:
            return {}
        convolutions = {f"embedded_{name}": list(map(WeightSlice, part.weights)) for name, part in layer.parts.items()}
        return convolutions | {"embedded_bn": batch_norm_slices(layer.bn)}


SHAPE = {"image_size": 16, "num_classes": 5}
SPACE = {
    "candidates": {
        "kernels": [3, 5],
        "expansions": [3, 6],
        "nonlocal_ratios": [0.25, 0.5],
        "nonlocal_strides": [2, 1],
        "embedded_ratios": [0.5],
    },
    "blocks": [
        {"block": "r1_k5_s22_e6_i32_o12"},
        {"block": "r2_k5_s11_e6_i12_o12"},
        {"block": "r1_k5_s22_e6_i12_o16", "embedded_ratios": []},
    ],
}


@pytest.fixture(scope="module")
def supernet():
    keras.utils.set_random_seed(0)
    space = space_lib.parse(SPACE, "test", (*KINDS, Embedded()))
    return Supernet(space, start_margin=0.1, name="supernet", **SHAPE)


def test_its_gates_are_named_and_start_like_the_others(supernet):
    added = [gate for gate in supernet.table.gates if gate.choice == "embedded"]
    assert [gate.name for gate in added] == [f"block{index}/embedded0.5" for index in range(3)]
    adds = np.array([gate.adds for gate in supernet.table.gates])
    np.testing.assert_allclose(supernet.live_margins().numpy()[adds], 0.1, atol=1e-6)
    for block in supernet.blocks:
        if "embedded" in block.inserted:
            (value,) = Embedded().values(block.inserted["embedded"], {})["embedded"]
            assert float(value) == pytest.approx(1, abs=0.3)


def test_its_variables_are_told_apart(supernet):
    assert any("embedded/theta" in name for name in by_name(supernet.variables))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_supernet_is_the_network_it_decodes_to(supernet, seed, training):
    perturb(supernet)
    gates = (np.random.default_rng(seed).uniform(size=len(supernet.table)) < 0.7).astype(np.float32)
    real = inherited_network(supernet, gates, **SHAPE)
    x, kept = images(8), supernet.get_weights()
    got = supernet(x, gates=tf.constant(gates), training=training)
    supernet.set_weights(kept)
    np.testing.assert_allclose(got, real(x, training=training), rtol=1e-3, atol=1e-3)


def test_it_is_costed_decoded_timed_and_landed_on_like_the_others(supernet):
    table, rng = supernet.table, np.random.default_rng(1)
    model = macs_model(table.space, **SHAPE)
    cost = GateCost(table, model, tf.float64)
    for _ in range(20):
        selections = [{choice: rng.integers(len(of)) for choice, of in b.options.items()} for b in table.space.blocks]
        spec = table.decode(table.opened(selections))
        assert table.space.contains(spec)
        assert float(cost(table.opened(selections))) == network_cost(spec, **SHAPE).total.macs == model.of(selections)
    pieces = latency.pieces(table.space, **SHAPE)
    assert any("embedded0.5-2" in key for key in pieces)
    margins = np.where([gate.choice == "embedded" for gate in table.gates], 0.01, 0.5)
    target = model.of(table.selections(margins > 0.1))
    flips = flips_to_target(table, model, margins, target, close_call=0.2)
    spec, result = results.summary(table, margins, flipped=flips, **SHAPE)
    assert result["macs"] == pytest.approx(target, rel=0.01)
    assert {gate["name"] for gate in result["gates"] if gate["flipped"]} >= {"block0/embedded0.5"}
    assert all(gate["counts"] for gate in result["gates"] if gate["name"] == "block0/embedded0.5")
    assert blockstring.parse(blockstring.write(spec)).canonical() == spec.canonical()


def test_its_gate_gets_a_gradient(supernet):
    perturb(supernet)
    with tf.GradientTape() as tape:
        gates = tf.ones([len(supernet.table)])
        tape.watch(gates)
        loss = tf.reduce_sum(tf.square(supernet(images(), gates=gates, training=True)))
    gradient = tape.gradient(loss, gates).numpy()
    assert all(gradient[[gate.choice == "embedded" for gate in supernet.table.gates]] != 0)


def test_a_space_file_without_its_candidates_is_as_before():
    data = json.loads((space_lib._FOLDER / "demo.json").read_text())
    plain, more = space_lib.parse(data, "demo"), space_lib.parse(data, "demo", (*KINDS, Embedded()))
    assert more.choices == (*plain.choices, "embedded")
    assert more.largest() == plain.largest()
    with pytest.raises(UserError, match="unknown key 'embedded_ratios'"):
        space_lib.parse(SPACE, "test")


def test_kinds_that_could_not_be_told_apart_or_never_act_are_a_mistake():
    class Elsewhere(Embedded):
        position = "somewhere"

    with pytest.raises(ValueError, match="two kinds of gates have the choice 'embedded'"):
        check_kinds((*KINDS, Embedded(), Embedded()))
    with pytest.raises(ValueError, match="Elsewhere: position 'somewhere'; accepted: filtered, projected"):
        check_kinds((Elsewhere(),))
