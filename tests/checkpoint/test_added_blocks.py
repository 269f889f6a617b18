"""Weights of a network that is part of another: the blocks it lacks start as the identity, anything else is refused."""

import numpy as np
import pytest
from official_checkpoints import write_checkpoint

from autonl_tf.arch import blockstring
from autonl_tf.arch.placement import place_nonlocal
from autonl_tf.checkpoint import ours
from autonl_tf.checkpoint.opening import open_checkpoint
from autonl_tf.checkpoint.tf1 import AVERAGE_SUFFIX, official_names
from autonl_tf.engine.averages import MovingAverages
from autonl_tf.engine.batch_norm import averaged_variables
from autonl_tf.engine.names import by_name
from autonl_tf.errors import UserError
from autonl_tf.networks.network import build_network
from autonl_tf.networks.quantized import quantized_network
from autonl_tf.records import ModelRecord

PLAIN = blockstring.parse(
    "r1_k3_s22_e1_i32_o8_noskip\nr1_k3_s22_e2_i8_o12_nonlocal0.25-2\nr1_k3_s11_e2_i12_o12_se0.25\n"
)
MORE = blockstring.parse(
    "r1_k3_s22_e1_i32_o8_noskip_nonlocal0.5-1\nr1_k3_s22_e2_i8_o12_nonlocal0.25-2\n"
    "r1_k3_s11_e2_i12_o12_se0.25_embedded0.5-2\n"
)
X = np.random.default_rng(0).normal(size=[2, 32, 32, 3]).astype(np.float32)


def network(spec):
    return build_network(spec, image_size=32, num_classes=3)


@pytest.fixture(scope="module")
def plain():
    """A network whose every weight is other than at the start."""
    model = network(PLAIN)
    rng = np.random.default_rng(1)
    for variable in model.variables:
        variable.assign(rng.uniform(0.5, 1.0, variable.shape) * (1 if len(variable.shape) == 1 else 0.1))
    return model


def our_run(directory, model, spec, **described):
    ours.write_weights(directory, 5, model, MovingAverages(averaged_variables(model), 0.9))
    description = {"arch": blockstring.write(spec), "class_names": ["a", "b", "c"], "input_image_size": 32}
    description |= {"crop_padding": 0, "depth_multiplier": 1.0} | described
    ours.write_model_json(directory, ModelRecord(**description))
    return str(directory)


def official(directory, model, spec):
    """Without an arch.txt beside it."""
    values = by_name(model.variables)
    names = dict(official_names(spec))
    return str(
        write_checkpoint(directory / "x.ckpt", {names[name] + AVERAGE_SUFFIX: v.numpy() for name, v in values.items()})
    )


@pytest.mark.parametrize("write", [our_run, official])
def test_the_network_is_the_plain_one_and_the_run_says_which_blocks_were_added(write, plain, tmp_path):
    path, said = write(tmp_path / "a", plain, PLAIN), []
    found, model = open_checkpoint(path, MORE), network(MORE)
    found.load_into(model, tell=said.append)
    np.testing.assert_allclose(model(X), plain(X), rtol=1e-5)
    assert said[-1].endswith(
        "starting as the identity: LightNL in 1 block (0) and conventional non-local in 1 block (2)"
    )
    again = network(PLAIN)
    open_checkpoint(path, PLAIN).load_into(again)
    np.testing.assert_allclose(again(X), plain(X), rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "culprit"),
    [
        (
            ("nonlocal0.25-2", "nonlocal0.5-2"),
            r"another architecture than .*: block 1: nonlocal 0\.25-2, not 0\.5-2",
        ),
        (("_nonlocal0.25-2", ""), r"block 1: nonlocal 0\.25-2, not none"),
        (("_nonlocal0.25-2", "_embedded0.25-2"), r"block 1: nonlocal 0\.25-2, not none"),
        (("_se0.25", ""), r"block 2: se_ratio 0\.25, not none"),
        (("o12_se0.25", "o12_se0.25\nr1_k3_s11_e2_i12_o12"), "3 blocks, not 4"),
    ],
)
def test_what_is_not_a_block_added_is_refused_and_named(changed, culprit, plain, tmp_path):
    path = our_run(tmp_path / "a", plain, PLAIN)
    with pytest.raises(UserError, match=culprit):
        open_checkpoint(path, blockstring.parse(blockstring.write(PLAIN).replace(*changed)))


def test_a_block_that_the_checkpoint_should_have_is_missed(plain, tmp_path):
    path = our_run(tmp_path / "a", network(place_nonlocal(PLAIN, "none")), PLAIN)
    with pytest.raises(UserError, match=r"5 missing: block1_nl_bn/beta \(12,\), "):
        open_checkpoint(path, MORE).load_into(network(MORE))


def test_simulated_int8_takes_no_further_blocks_but_its_float_weights_do(plain, tmp_path):
    quantized = quantized_network(plain)
    path = our_run(tmp_path / "a", quantized, PLAIN, qat=True)
    more = blockstring.parse(blockstring.write(MORE).replace("_embedded0.5-2", ""))
    with pytest.raises(UserError, match=r"was trained with --qat and has no ranges for LightNL in 1 block \(0\)"):
        open_checkpoint(path, more).load_into(quantized_network(network(more)))
    model = network(more)
    open_checkpoint(path, more).load_into(model)
    np.testing.assert_allclose(model(X), plain(X), rtol=1e-5)
