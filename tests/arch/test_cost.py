import json

import pytest
from golden_data import TESTDATA, TINY
from hypothesis import given
from hypothesis import strategies as st

from autonl_tf.arch import blockstring, cost, presets
from autonl_tf.arch.spec import scale_filters, split_channels
from autonl_tf.errors import UserError


def total(spec, image_size=224, num_classes=1000, depth_multiplier=1.0):
    return cost.network_cost(
        spec, image_size=image_size, num_classes=num_classes, depth_multiplier=depth_multiplier
    ).total


@pytest.mark.parametrize(
    ("name", "macs", "params"), [("autonl_s", 266878784, 4389350), ("autonl_l", 352829728, 5580336)]
)
def test_published_networks_count_exactly_as_published(name, macs, params):
    counted = total(presets.load(name))
    assert (counted.macs, counted.params) == (macs, params)


def test_all_random_networks_count_exactly_as_officially():
    cases = json.loads((TESTDATA / "presets" / "random_archs.json").read_text())
    assert len(cases) == 40
    for case in cases:
        spec = blockstring.parse("\n".join(case["arch"]))
        counted = total(spec, case["image_size"], case["num_classes"], case["depth_multiplier"] or 1.0)
        assert (counted.macs, counted.params) == (case["macs"], case["trainable_params"]), case["arch"]


def test_the_small_network_counts_exactly_as_officially():
    counted = total(blockstring.parse(TINY), 64, 10)
    assert (counted.macs, counted.params) == (9673408, 227384)


def test_light_nl_macs_are_the_official_ones():
    for case in json.loads((TESTDATA / "layers" / "non_local_op.json").read_text()):
        macs = min(cost.light_nl_products(case["h"], case["w"], case["c"], case["ratio"], case["stride"]))
        assert macs == case["macs"]


def test_exact_macs_count_ceiled_positions_and_floored_channels():
    # LightNL on a 7x7 map of 20 channels, ratio 0.13, stride 2: 16 positions, 2 channels, context first.
    spec = blockstring.parse("r1_k3_s22_e1_i32_o20_nonlocal0.13-2")
    counted = total(spec, image_size=28)
    affinity = 49 * 16 * (2 + 20)
    context = (49 + 16) * 2 * 20
    floored = min(49 * 9 * 20 * 1.13, (49 + 9) * 400 * 0.13)
    assert counted.macs_exact - counted.macs == pytest.approx(context - floored)
    assert context < affinity


def test_rows_add_up_and_cover_stem_blocks_and_head():
    costs = cost.network_cost(presets.load("autonl_s"), image_size=224, num_classes=1000)
    assert [row.name for row in costs.rows] == ["stem", *(f"block{i}" for i in range(18)), "head"]
    assert sum(row.cost.macs for row in costs.rows) == costs.total.macs
    assert costs.rows[-1].in_size == 7


@given(st.integers(16, 300), st.sampled_from([0.35, 0.5, 1.0, 1.4]))
def test_macs_grow_with_the_image_and_parameters_do_not(size, multiplier):
    spec = blockstring.parse("r1_k3_s11_e1_i32_o16\nr2_k3_s22_e3_i16_o24_se0.25\nr1_k5_s22_e6_i24_o40")
    small, large = (total(spec, side, 10, multiplier) for side in (size, size + 16))
    assert small.macs < large.macs
    assert small.params == large.params


@given(st.integers(1, 1000), st.floats(0.1, 4))
def test_scaled_filters_are_multiples_of_8_never_10_percent_down(filters, multiplier):
    scaled = scale_filters(filters, multiplier)
    if multiplier != 1.0:
        assert scaled % 8 == 0
    assert scaled >= 0.9 * filters * multiplier or scaled == filters


@given(st.integers(1, 500), st.integers(1, 9))
def test_groups_share_channels_with_the_remainder_first(total_channels, groups):
    parts = split_channels(total_channels, groups)
    assert sum(parts) == total_channels
    assert set(parts[1:]) <= {total_channels // groups}
    assert parts[0] >= total_channels // groups


@pytest.mark.parametrize(
    ("block", "culprit"),
    [("nonlocal0.25-3", "stride 3 is larger than its 2x2"), ("nonlocal0.01-1", "leaves no channel")],
)
def test_a_light_nl_that_does_not_fit_is_refused(block, culprit):
    spec = blockstring.parse(f"r1_k3_s22_e3_i32_o16_{block}", "arch.txt")
    with pytest.raises(UserError, match=f"arch.txt: block 0 at 8 px: .*{culprit}"):
        total(spec, image_size=8)


def test_an_unknown_name_lists_the_shipped_ones():
    with pytest.raises(UserError, match="autonl_l, autonl_s"):
        presets.load("autonl_xl")
