"""The zoo, its header lines, and blocks placed by hand."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autonl_tf.arch import blockstring, cost, presets
from autonl_tf.arch.placement import place_nonlocal
from autonl_tf.arch.spec import ACTIVATIONS, EmbeddedNLSpec, LightNLSpec, Normalization, difference
from autonl_tf.errors import UserError

# MACs that the papers give for networks whose count here must come within 1%. docs/zoo.md explains the others.
WITHIN_ONE_PERCENT = {
    "autonl_s", "autonl_l", "mobilenet_v2", "mnasnet_a1", "fbnet_c", "proxylessnas_mobile", "efficientnet_b0",
}  # fmt: skip


# MACs and parameters at 224, 240, 260, 280, 300 px.
LITE = [
    (385250272, 4652008),
    (600267152, 5416680),
    (859839952, 6092072),
    (1383425552, 8197096),
    (2553162336, 13006568),
]


def counted(name):
    return cost.network_cost(presets.load(name), image_size=presets.image_size(name), num_classes=1000).total


def test_every_shipped_network_is_in_the_table_and_no_other():
    assert sorted(presets.published()) == list(presets.names())


@pytest.mark.parametrize("name", presets.names())
def test_parameters_are_those_of_the_reference(name):
    entry, params = presets.published()[name], counted(name).params
    if entry["reference_params"] is not None:
        assert params == entry["reference_params"]
    assert params / 1e6 == pytest.approx(entry["params"], rel=0.07)


@pytest.mark.parametrize("name", presets.names())
def test_macs_are_the_papers_or_the_gap_is_known(name):
    gap = counted(name).macs / 1e6 / presets.published()[name]["macs"] - 1
    assert (abs(gap) < 0.01) == (name in WITHIN_ONE_PERCENT)
    assert abs(gap) < 0.09


def test_efficientnet_lite_counts_exactly_at_its_own_sizes_and_takes_its_own_pixels():
    names = [f"efficientnet_lite{number}" for number in range(5)]
    assert [presets.image_size(name) for name in names] == [224, 240, 260, 280, 300]
    assert [(counted(name).macs, counted(name).params) for name in names] == LITE
    assert {presets.load(name).normalization for name in names} == {Normalization((127.0,) * 3, (128.0,) * 3)}
    others = set(presets.names()) - set(names)
    assert {presets.load(name).normalization for name in others} == {Normalization()}


def test_a_header_round_trips_and_changes_what_it_says():
    text = "network activation=relu6 stem=16 head=96 shuffle=on\nr1_k3_s22_p1.1_e2_i16_o24\nr1_k3_s11_e2_i24_o24_sw\n"
    spec = blockstring.parse(text)
    assert blockstring.write(spec) == text
    assert [block.activation for block in spec.blocks] == ["relu6", "swish"]
    assert [block.shuffle_groups for block in spec.blocks] == [2, 1]
    assert (spec.stem_filters, spec.head_filters, spec.has_header) == (16, 96, True)
    total = cost.network_cost(spec, image_size=32, num_classes=10).total
    plain = blockstring.parse(text.partition("\n")[2].replace("i16", "i32"))
    assert not plain.has_header
    assert total.macs < cost.network_cost(plain, image_size=32, num_classes=10).total.macs


decimals = st.one_of(st.integers(1, 255).map(float), st.floats(0.001, 255))
triples = st.one_of(decimals.map(lambda value: (value,) * 3), st.tuples(decimals, decimals, decimals))


@given(triples, triples)
def test_any_normalisation_reads_back_as_itself(mean, stddev):
    spec = dataclasses.replace(blockstring.parse("r1_k3_s11_e1_i32_o16"), normalization=Normalization(mean, stddev))
    again = blockstring.parse(blockstring.write(spec))
    assert again == spec and again.normalization == Normalization(mean, stddev)
    assert blockstring.write(again) == blockstring.write(spec)


def test_without_a_header_pixels_are_normalised_as_the_release_does_to_the_bit():
    normal = blockstring.parse("r1_k3_s11_e1_i32_o16").normalization
    for values, shares in ((normal.mean, (0.485, 0.456, 0.406)), (normal.stddev, (0.229, 0.224, 0.225))):
        assert [np.float32(value) for value in values] == [np.float32(share * 255) for share in shares]
    explicit = "network mean=123.675,116.28,103.53 stddev=58.395,57.12,57.375\nr1_k3_s11_e1_i32_o16"
    assert blockstring.write(blockstring.parse(explicit)) == "r1_k3_s11_e1_i32_o16\n"


def test_three_equal_values_are_one_and_each_key_stands_alone():
    spec = blockstring.parse("network mean=127.0,127,127\nr1_k3_s11_e1_i32_o16")
    assert spec.normalization == Normalization(mean=(127.0,) * 3)
    assert blockstring.write(spec).splitlines()[0] == "network mean=127"


def test_architectures_that_differ_in_normalisation_alone_are_told_apart_by_it():
    plain, lite = (blockstring.parse(head + "r2_k3_s11_e1_i32_o32") for head in ("", "network mean=127 stddev=128\n"))
    other = blockstring.parse("r1_k5_s11_e1_i32_o32")
    unrolled = dataclasses.replace(plain, blocks=tuple(plain.singles()))
    assert difference(plain, unrolled) is None
    assert difference(lite, plain) == (
        "the same layers with another normalisation (mean 127, stddev 128; not mean 123.675/116.28/103.53, "
        "stddev 58.395/57.12/57.375)"
    )
    assert difference(other, plain) == difference(other, lite) == "another architecture"


@given(st.sampled_from(ACTIVATIONS), st.integers(1, 300), st.integers(1, 3000), st.booleans())
def test_any_header_reads_back_as_itself(activation, stem, head, shuffle):
    block = f"r1_k3_s11_p1.1_e4_i{stem}_o8"
    text = f"network activation={activation} stem={stem} head={head} shuffle={'on' if shuffle else 'off'}\n{block}"
    spec = blockstring.parse(text)
    assert blockstring.parse(blockstring.write(spec)) == spec
    assert spec.activation == spec.blocks[0].activation == activation


BLOCK = "\nr1_k3_s11_e1_i32_o16"


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("network activation=gelu" + BLOCK, r"line 1: 'activation=gelu' is out of range; accepted: swish, relu,"),
        ("network stem=0" + BLOCK, r"line 1: 'stem=0' is out of range; accepted: 1 to 65536"),
        ("network stem=x" + BLOCK, r"'stem=x' is out of range"),
        ("network shuffle=yes" + BLOCK, r"'shuffle=yes' is out of range; accepted: on, off"),
        ("network width=3" + BLOCK, r"unknown 'width=3' in .* accepted: activation=\.\.\. stem="),
        ("network head" + BLOCK, r"unknown 'head'"),
        ("network head=8 head=9" + BLOCK, r"'head=9' repeats 'head'"),
        ("network stddev=0" + BLOCK, r"line 1: 'stddev=0' is out of range; accepted: a number from 0.001 to 65536, or"),
        ("network stddev=-1" + BLOCK, r"'stddev=-1' is out of range"),
        ("network stddev=nan" + BLOCK, r"'stddev=nan' is out of range"),
        ("network stddev=inf" + BLOCK, r"'stddev=inf' is out of range"),
        ("network stddev=1e400" + BLOCK, r"'stddev=1e400' is out of range"),
        ("network stddev=128,128" + BLOCK, r"'stddev=128,128' is out of range; .* or three with commas between: red"),
        ("network stddev=1,2,3,4" + BLOCK, r"'stddev=1,2,3,4' is out of range"),
        ("network stddev=58,0,57" + BLOCK, r"'stddev=58,0,57' is out of range"),
        ("network mean=" + BLOCK, r"'mean=' is out of range; accepted: a number from 0 to 255"),
        ("network mean=256" + BLOCK, r"'mean=256' is out of range"),
        ("network mean=1,,3" + BLOCK, r"'mean=1,,3' is out of range"),
        ("network mean=1 mean=2" + BLOCK, r"'mean=2' repeats 'mean'"),
        ("network head=8\nnetwork stem=9" + BLOCK, r"line 2: .*the header must be the first line"),
        (BLOCK + "\nnetwork head=8", r"line 3: .*the header must be the first line"),
        ("network stem=16" + BLOCK, r"line 2: token 'i32' does not follow the 16 .* stem; accepted: 'i16'"),
        ("network head=8", "no block"),
        ("r1_k3_s11_e1_i32_o16_embedded", "unknown token 'embedded'"),
        ("r1_k3_s11_e1_i32_o16_embedded2-1", "'embedded2-1' is out of range"),
    ],
)
def test_a_wrong_header_or_token_is_refused_by_line(text, culprit):
    with pytest.raises(UserError, match=culprit):
        blockstring.parse(text, "mine.txt")


def test_groups_that_cannot_be_shuffled_are_refused():
    spec = blockstring.parse("network shuffle=on\nr1_k3_s11_p1.1_e1_i32_o15\nr1_k3_s11_p1.1_e1_i15_o15")
    with pytest.raises(UserError, match="block 1: 15 channels cannot be shuffled among 2 groups"):
        cost.network_cost(spec, image_size=32, num_classes=2)


# Placement.

TEXT = "r2_k3_s11_e2_i32_o32_nonlocal0.5-2\nr1_k3_s22_e2_i32_o40"


@pytest.mark.parametrize(
    ("text", "light", "embedded"),
    [
        ("none", {}, {}),
        ("all:0.25-2", dict.fromkeys(range(3), LightNLSpec(0.25, 2)), {}),
        ("1:0.25", {1: LightNLSpec(0.25, 1)}, {}),
        ("0,2:embedded0.5-2", {}, dict.fromkeys((0, 2), EmbeddedNLSpec(0.5, 2))),
    ],
)
def test_blocks_are_placed_where_it_says_and_others_go(text, light, embedded):
    blocks = place_nonlocal(blockstring.parse(TEXT), text).blocks
    assert {i: block.nonlocal_ for i, block in enumerate(blocks) if block.nonlocal_} == light
    assert {i: block.embedded for i, block in enumerate(blocks) if block.embedded} == embedded
    bare = [dataclasses.replace(block, nonlocal_=None, embedded=None) for block in blockstring.parse(TEXT).singles()]
    assert [dataclasses.replace(block, nonlocal_=None, embedded=None) for block in blocks] == bare


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("all", "accepted: none, all:C-S"),
        ("all:", "accepted: none, all:C-S"),
        ("some:0.25-1", "accepted: none, all:C-S"),
        ("3:0.25-1", "no block 3; accepted: 0 to 2"),
        ("all:1.5-1", "'nonlocal1.5-1' is out of range"),
        ("all:0.25-0", "'nonlocal0.25-0' is out of range"),
        ("all:embedded0-1", "'embedded0-1' is out of range"),
    ],
)
def test_a_wrong_placement_is_refused(text, culprit):
    with pytest.raises(UserError, match=rf"--nonlocal={text}: .*{culprit}"):
        place_nonlocal(blockstring.parse(TEXT), text)


def test_a_conventional_block_costs_its_convolutions_and_its_products():
    plain, placed = (blockstring.parse_block("r1_k3_s11_e1_i32_o16" + end) for end in ("", "_embedded0.5-2"))
    added = dataclasses.astuple(cost.block_cost(placed, 7))[0] - dataclasses.astuple(cost.block_cost(plain, 7))[0]
    assert added == 4 * 16 * 8 * 49 + 2 * 49 * 16 * 8 + 2 * 49 * 8


def test_light_nl_is_hundreds_of_times_cheaper_than_the_conventional_block():
    """At 56x56 with 24 channels, the conventional one as in the source's formula: no bottleneck, no subsampling."""
    plain, light, full = (
        cost.block_cost(blockstring.parse_block("r1_k3_s11_e1_i24_o24" + end), 56).macs
        for end in ("", "_nonlocal0.25-2", "_embedded1-1")
    )
    assert (full - plain) / (light - plain) == pytest.approx(385.9, abs=0.1)
