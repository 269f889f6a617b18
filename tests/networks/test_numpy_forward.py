"""Our networks against a forward pass in NumPy float64, and that against the release's numbers."""

import json

import numpy as np
import pytest
from forward_cases import compare, size_for
from golden_data import TESTDATA, TINY, VALUES, relative_l2
from numpy_forward import Forward, Weights
from official_checkpoints import TINY_SIZE, statistics_of

from autonl_tf.arch import blockstring, presets
from autonl_tf.checkpoint.tf1 import AVERAGE_SUFFIX

TOLERANCE = 1e-4
FORWARD = TESTDATA / "forward"
RANDOM = json.loads((TESTDATA / "presets" / "random_archs.json").read_text())
CHOSEN = (5, 8, 12, 14, 16, 20, 27, 32, 37)  # of the 40; benchmarks/forward_errors.py takes all
# What the random networks lack: groups of other kernels and unequal shares, strides that do not divide their maps.
UNEVEN = [
    "r1_k3_s22_e1_i32_o20_noskip_sw",
    "r2_k3.5.7.9_s22_a1.3_p3.1.1_e3_i20_o29_nonlocal0.3-3_se0.3",
    "r2_k1_s11_a3_e4_i29_o29_p5_nonlocal1.0-4",
    "r1_k7.3_s33_e1_i29_o31_p1.1_nonlocal",
]


@pytest.mark.parametrize(("name", "seed", "batch", "size"), [("tiny", 7, 4, TINY_SIZE), ("autonl_s", 3, 2, 224)])
def test_the_numpy_forward_pass_equals_the_release(name, seed, batch, size):
    golden = np.load(FORWARD / f"{name}.npz")
    lines = TINY.split() if name == "tiny" else blockstring.write(presets.load(name)).split()
    statistics = statistics_of(FORWARD / f"{name}_moving_statistics.npz")
    classes = golden["logits_ema"].shape[-1]
    weights = Weights(VALUES.value, AVERAGE_SUFFIX, statistics)
    passed = Forward(lines, VALUES.inputs(seed, batch, size), classes, weights)
    assert len(passed.blocks) == sum(key.startswith("statistics/block_") for key in golden.files)
    for index, x in enumerate(passed.blocks):
        found = [abs(x).mean(), x.mean(), x.std()]
        np.testing.assert_allclose(found, golden[f"statistics/block_{index}"], atol=1e-5 * x.std(), err_msg=str(index))
    assert relative_l2(passed.logits, golden["logits_ema"]) < 1e-5
    if name == "tiny":
        plain = Weights(VALUES.value, "", statistics_of(TESTDATA / "tiny_checkpoint" / "plain_moving_statistics.npz"))
        passed = Forward(lines, VALUES.inputs(seed, batch, size), classes, plain)
        assert relative_l2(passed.logits, golden["logits_raw"]) < 1e-5


def located(errors):
    """What is wrong and where first, or an empty string."""
    places = [*(f"block {index}" for index in range(len(errors) - 1)), "the logits"]
    wrong = [f"{place}: {error:.2e}" for place, error in zip(places, errors, strict=True) if not error <= TOLERANCE]
    return "; ".join(wrong)


@pytest.mark.parametrize(("size", "multiplier"), [(224, None), (128, 0.5)])
def test_autonl_l_equals_the_numpy_forward_pass_block_by_block(size, multiplier, tmp_path):
    lines = blockstring.write(presets.load("autonl_l")).split()
    errors, _ = compare(lines, tmp_path, size=size, classes=1000, multiplier=multiplier)
    assert not located(errors)


def test_uneven_groups_and_strides_equal_the_numpy_forward_pass_block_by_block(tmp_path):
    errors, _ = compare(UNEVEN, tmp_path, size=136, classes=7)
    assert not located(errors)


@pytest.mark.parametrize("number", CHOSEN)
def test_random_networks_equal_the_numpy_forward_pass_block_by_block(number, tmp_path):
    golden = RANDOM[number]
    errors, values = compare(
        golden["arch"],
        tmp_path,
        size=size_for(golden["arch"]),
        classes=golden["num_classes"],
        multiplier=golden["depth_multiplier"],
    )
    assert not located(errors)
    trained = [value.size for name, value in values.items() if "/moving_" not in name]
    assert (len(trained), sum(trained)) == (golden["num_trainable"], golden["trainable_params"])


def test_the_random_networks_taken_use_every_token_of_the_forty():
    def tokens(number):
        found = {token for line in RANDOM[number]["arch"] for token in line.split("_") if token[0] not in "rio"}
        return {*found, RANDOM[number]["depth_multiplier"]}

    assert set.union(*map(tokens, CHOSEN)) == set.union(*map(tokens, range(len(RANDOM))))


def test_an_error_is_located_at_its_block():
    assert located([1e-6, 3e-5, 2e-3, 1e-2]) == "block 2: 2.00e-03; the logits: 1.00e-02"
    assert located([1e-6, float("nan")]).startswith("the logits")
