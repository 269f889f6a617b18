import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.spec import BlockSpec, LightNLSpec, NetworkSpec
from autonl_tf.errors import UserError
from autonl_tf.space import space

odd = st.integers(0, 5).map(lambda n: 2 * n + 1)
kernels = st.lists(odd, min_size=1, max_size=3).map(tuple)
ratios = st.floats(0.001, 1.0)

blocks = st.builds(
    BlockSpec,
    kernels=kernels,
    stride=st.integers(1, 4),
    expansion=st.integers(2, 8),
    in_filters=st.integers(4, 300),
    out_filters=st.integers(4, 300),
    repeats=st.integers(1, 4),
    expand_kernels=kernels,
    project_kernels=kernels,
    se_ratio=st.none() | ratios,
    nonlocal_=st.none() | st.builds(LightNLSpec, ratios, st.integers(1, 9)),
    skip=st.booleans(),
    swish_token=st.booleans(),
)


@given(blocks)
def test_a_written_block_reads_back_as_itself(block):
    again = blockstring.parse_block(blockstring.write_block(block))
    assert again == block
    assert again.swish_token == block.swish_token


@given(blocks, st.randoms())
def test_the_order_of_tokens_does_not_matter(block, random):
    tokens = blockstring.write_block(block).split("_")
    random.shuffle(tokens)
    assert blockstring.parse_block("_".join(tokens)) == block


@given(st.text(alphabet="rkseioapnw0123456789._-lcqh ", max_size=40))
def test_any_text_is_read_or_refused_with_a_user_error(text):
    try:
        spec = blockstring.parse(text)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert blockstring.parse(blockstring.write(spec)) == spec


@pytest.mark.parametrize("name", presets.names())
def test_reading_then_writing_a_shipped_network_is_the_identity(name):
    spec = presets.load(name)
    text = blockstring.write(spec)
    assert blockstring.parse(text) == spec
    assert [set(line.split("_")) for line in text.splitlines()] == [
        set(line.split("_")) for line in _file(name).read_text().splitlines()
    ]


def _file(name):
    return presets._FOLDER / f"{name}.arch.txt"


def test_reading_then_writing_a_member_of_the_space_is_the_identity():
    paper = space.load("paper")
    rng = np.random.default_rng(0)
    for _ in range(200):
        member = paper.random_member(rng)
        text = blockstring.write(member)
        assert blockstring.parse(text) == member
        assert blockstring.write(blockstring.parse(text)) == text


def test_every_token_is_read():
    line = "r2_k3.5_s22_a1.1_p3.1_e6_i16_o24_nonlocal0.25-2_se0.5_noskip_sw"
    assert blockstring.parse_block(line) == BlockSpec(
        (3, 5), 2, 6, 16, 24, 2, (1, 1), (3, 1), 0.5, LightNLSpec(0.25, 2), skip=False, swish_token=True
    )


@pytest.mark.parametrize(
    ("token", "expected"),
    [("nonlocal", (1.0, 1)), ("nonlocal0.25", (0.25, 1)), ("nonlocal0.125-2", (0.125, 2))],
)
def test_light_nl_has_defaults(token, expected):
    block = blockstring.parse_block(f"r1_k3_s11_e6_i16_o24_{token}")
    assert dataclasses.astuple(block.nonlocal_) == expected


GOOD = "r1_k3_s11_e3_i32_o16"


@pytest.mark.parametrize(
    ("line", "culprit"),
    [
        (GOOD + "_nonlocl0.5-1", "'nonlocl0.5-1'"),
        (GOOD + "_nonlocal1.5-1", "'nonlocal1.5-1'"),
        (GOOD + "_nonlocal0.5-0", "'nonlocal0.5-0'"),
        (GOOD + "_nonlocal0-1", "'nonlocal0-1'"),
        (GOOD + "_se0.25_se0.5", "'se0.5'"),
        (GOOD + "_se0", "'se0'"),
        (GOOD + "_se1.5", "'se1.5'"),
        (GOOD + "_r1", "'r1'"),
        (GOOD + "_", "''"),
        (GOOD + "_NOSKIP", "'NOSKIP'"),
        ("r1_k3_s11_e3_i32", "'o'"),
        ("k3_s11_e3_i32_o16", "'r'"),
        ("r1_k4_s11_e3_i32_o16", "'k4'"),
        ("r1_k3_s12_e3_i32_o16", "'s12'"),
        ("r1_k3_s00_e3_i32_o16", "'s00'"),
        ("r1_k3_s1_e3_i32_o16", "'s1'"),
        ("r0_k3_s11_e3_i32_o16", "'r0'"),
        ("r1_k3_s11_e0_i32_o16", "'e0'"),
        ("r1_k3_s11_e3_i32_o0", "'o0'"),
        ("r1_k3_s11_e3_i32_o16_p1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1", "'p'"),
        ("r1_k3_s11_e1_i32_o16_a1.1", "'a'"),
        (f"r1_k{'.'.join(['3'] * 65)}_s11_e64_i32_o64", "at most 64 sizes"),
    ],
)
def test_a_bad_token_is_named_with_its_file_and_line(line, culprit):
    with pytest.raises(UserError) as caught:
        blockstring.parse(f"{GOOD}\n\n{line.replace('i32', 'i16')}\n", "my/arch.txt")
    assert str(caught.value).startswith("my/arch.txt, line 3: ")
    assert culprit in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_is_refused(text):
    with pytest.raises(UserError, match=r"my/arch\.txt: no block"):
        blockstring.parse(text, "my/arch.txt")


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("r1_k3_s11_e3_i16_o16", "line 1: token 'i16' does not follow the 32 output filters of the stem"),
        (GOOD + "\nr1_k3_s11_e3_i24_o24", "line 2: token 'i24' does not follow the 16 output filters"),
    ],
)
def test_channels_must_chain(text, culprit):
    with pytest.raises(UserError, match=culprit):
        blockstring.parse(text)


def test_repeats_after_the_first_take_stride_1_and_the_output_filters():
    spec = blockstring.parse("r3_k3_s22_e3_i32_o16_noskip")
    assert [(b.stride, b.in_filters, b.out_filters, b.skip) for b in spec.singles()] == [
        (2, 32, 16, False),
        (1, 16, 16, False),
        (1, 16, 16, False),
    ]


def test_an_architecture_of_too_many_blocks_is_refused_at_the_line():
    line = "r500_k3_s11_e3_i32_o32"
    assert len(list(blockstring.parse(f"{line}\n{line}\n").singles())) == 1000
    with pytest.raises(UserError, match="line 3: makes 1500 blocks; accepted: at most 1000, repeats counted"):
        blockstring.parse(f"{line}\n{line}\n{line}\n")


def test_canonical_form_drops_only_a_redundant_noskip():
    spec = blockstring.parse("r1_k3_s11_e3_i32_o16_noskip\nr1_k3_s11_e3_i16_o16_noskip")
    assert [block.skip for block in spec.canonical().blocks] == [True, False]
    assert NetworkSpec(spec.canonical().blocks).canonical() == spec.canonical()
