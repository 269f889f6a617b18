import numpy as np
import pytest
import tf_keras as keras
from forward_cases import last_layer
from golden_data import TESTDATA, VALUES, averaged_network, relative_l2

from autonl_tf.arch import blockstring, cost, presets
from autonl_tf.errors import UserError
from autonl_tf.networks.network import build_network

FORWARD = TESTDATA / "forward"


@pytest.mark.parametrize(
    ("name", "seed", "batch", "size", "classes"), [("tiny", 7, 4, 64, 10), ("autonl_s", 3, 2, 224, 1000)]
)
def test_forward_pass_equals_the_release_block_by_block(name, seed, batch, size, classes):
    model = averaged_network(name, size, classes)
    golden = np.load(FORWARD / f"{name}.npz")
    blocks = sum(key.startswith("statistics/block_") for key in golden.files)
    ends = {f"block{index}": last_layer(model, f"block{index}_") for index in range(blocks)}
    probe = keras.Model(model.input, [*ends.values(), model.output])
    *activations, logits = probe(VALUES.inputs(seed, batch, size))
    for index, x in enumerate(activations):
        x = x.numpy()
        expected = golden[f"statistics/block_{index}"]
        np.testing.assert_allclose([abs(x).mean(), x.mean(), x.std()], expected, rtol=1e-3, atol=1e-5 * expected[2])
    assert relative_l2(logits, golden["logits_ema"]) < 1e-4


@pytest.mark.parametrize(
    ("name", "size", "classes", "multiplier"),
    [("autonl_s", 224, 1000, 1.0), ("autonl_l", 96, 10, 1.0), ("autonl_s", 64, 7, 0.5)],
)
def test_trainable_parameters_are_those_the_cost_model_counts(name, size, classes, multiplier):
    spec = presets.load(name)
    model = build_network(spec, image_size=size, num_classes=classes, depth_multiplier=multiplier)
    counted = cost.network_cost(spec, image_size=size, num_classes=classes, depth_multiplier=multiplier).total
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == counted.params


def test_layer_names_are_stable():
    spec = blockstring.parse(
        "r1_k3_s11_e1_i32_o16\nr2_k3.5_s22_a1.1_e3_i16_o24_nonlocal0.25-2_se0.5\nr1_k3_s11_e6_i24_o24_p1.1"
    )
    model = build_network(spec, image_size=32, num_classes=3)
    names = {layer.name for layer in model.layers}
    assert {
        "stem_conv",
        "stem_bn",
        "block0_depthwise",
        "block1_expand_conv_group1",
        "block1_depthwise_group0",
        "block1_se_reduce",
        "block1_nl_product",
        "block1_nl_depthwise",
        "block1_nl_bn",
        "block2_add",
        "block3_project_conv_group1",
        "head_conv",
        "head_pool",
        "head_dropout",
        "logits",
    } <= names
    assert not any("add" in name for name in names if name.startswith(("block0_", "block1_add")))


def test_the_network_is_flat_and_rebuilds_from_its_config():
    model = build_network(blockstring.parse("r2_k3_s22_e3_i32_o32_nonlocal0.5-2"), image_size=32, num_classes=5)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    again = keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    x = VALUES.inputs(0, 2, 32)
    np.testing.assert_array_equal(model(x), again(x))


def test_a_light_nl_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match="block 0 at 4 px: LightNL stride 4"):
        build_network(blockstring.parse("r1_k3_s22_e3_i32_o32_nonlocal0.5-4"), image_size=4, num_classes=2)
