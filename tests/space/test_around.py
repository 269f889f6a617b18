"""A space made from an architecture: that network is a member, and at least what was asked for may be chosen."""

import json

import pytest

from autonl_tf.arch import blockstring, presets
from autonl_tf.errors import UserError
from autonl_tf.space import around, space

WHOLE = ",kernels,expansions,depth"
GROUPED = ("fbnet_a", "mixnet_m", "mixnet_s")


@pytest.mark.parametrize("words", ["", WHOLE, f"{WHOLE},no_nonlocal", ",nonlocal0.5-4,nonlocal0.1-1"])
@pytest.mark.parametrize("name", [name for name in presets.names() if name not in GROUPED])
def test_a_network_is_a_member_of_the_space_around_it(name, words, tmp_path):
    found, spec = space.load(f"around:{name}{words}"), presets.load(name)
    selections = found.selections_of(spec, "it")
    assert found.member(selections).canonical() == spec.canonical()
    if "nonlocal0" not in words:  # of its own alone
        for block, selection in zip(found.blocks, selections, strict=True):
            assert {choice: selection[choice] for choice in ("kernel", "expand", "se")} == {
                choice: block.largest[choice] for choice in ("kernel", "expand", "se")
            }
    path = tmp_path / "space.json"
    path.write_text(found.text())
    assert space.load(str(path)).blocks == found.blocks and space.load(str(path)).family == found.family


def test_kernels_below_the_stride_are_not_offered(tmp_path):
    (tmp_path / "arch.txt").write_text("r1_k3_s22_e1_i32_o8_noskip\nr1_k7_s44_e3_i8_o12\n")
    found = space.load(f"around:{tmp_path}/arch.txt,kernels")
    assert [block.options["kernel"] for block in found.blocks] == [(3,), (5, 7)]


def test_a_run_of_multiplied_filters_is_a_member_of_the_space_around_it(tmp_path):
    spec = blockstring.parse("r1_k3_s22_e1_i32_o8_noskip\nr1_k3_s11_e2_i8_o8\n", "arch")
    (tmp_path / "arch.txt").write_text(blockstring.write(spec))
    told = {"arch": blockstring.write(spec), "input_image_size": 32, "crop_padding": 0, "depth_multiplier": 2.0}
    (tmp_path / "model.json").write_text(json.dumps(told | {"class_names": ["ant", "bee"]}))
    found = space.load(f"around:{tmp_path}{WHOLE}")
    selections = found.selections_of(spec.scaled(2.0), "it")
    assert found.member(selections).canonical() == spec.scaled(2.0).canonical()
    assert found.family.stem_filters == 64


def test_images_are_of_the_side_that_the_network_takes():
    sides = [around.image_size(f"around:efficientnet_lite2{words}") for words in ("", WHOLE)]
    assert sides == [260, 260] and around.image_size("paper") == around.image_size("around:runs/arch.txt") == 224


def test_every_place_may_take_light_nl_and_nothing_else_is_chosen():
    found, spec = space.load("around:efficientnet_lite0"), presets.load("efficientnet_lite0")
    assert blockstring.write_header(found.largest()) == "network activation=relu6 mean=127 stddev=128"
    chosen = {choice for block in found.blocks for choice, of in block.options.items() if len(of) > 1}
    assert chosen == {"nl", "nl_ratio", "nl_stride"}
    assert all(block.nonlocal_ is not None for block in found.largest().blocks)
    assert found.smallest().canonical() == spec.canonical()
    assert found.count() == 5**16


def test_what_is_named_may_shrink_and_the_first_line_stays():
    found = space.load(f"around:efficientnet_lite0{WHOLE}")
    of = {choice: [block.options[choice] for block in found.blocks] for choice in ("kernel", "expand")}
    assert of["kernel"][:4] == [(3,), (3,), (3,), (3, 5)]
    assert of["expand"][:3] == [(1,), (3, 6), (0, 3, 6)]
    assert [block.droppable for block in found.blocks].count(True) == 9
    assert not space.load("around:efficientnet_lite0,kernels").blocks[2].droppable


def test_a_blocks_own_light_nl_is_a_candidate_there():
    found = space.load("around:autonl_s,nonlocal0.5-4,nonlocal0.5-1")
    own = presets.load("autonl_s").canonical().blocks[1].nonlocal_
    assert (own.ratio, own.stride) == (0.25, 1)
    assert found.blocks[1].options["nl_ratio"] == (0.25, 0.5)
    assert found.blocks[1].options["nl_stride"] == (4, 1)
    assert found.blocks[2].options["nl_ratio"] == (0.5,)
    none = space.load("around:autonl_s,no_nonlocal")
    assert none.blocks[1].options["nl"] == (False, True) and none.blocks[2].options["nl"] == (False,)


def test_ratios_that_leave_no_other_channels_are_left_out(tmp_path):
    path = tmp_path / "arch.txt"
    path.write_text("network stem=6\nr1_k3_s11_e2_i6_o6\nr1_k3_s11_e2_i6_o12\n")
    found = space.load(f"around:{path}")
    assert [block.options["nl_ratio"] for block in found.blocks] == [(0.25,), (0.125, 0.25)]
    assert "droppable" in json.loads(found.text())["blocks"][0]


@pytest.mark.parametrize("name", GROUPED)
def test_grouped_convolutions_are_refused_with_what_and_where(name):
    with pytest.raises(
        UserError, match=rf"^--search_space=around:{name}: a space cannot hold block \d+ \(r1_k.*in groups"
    ):
        space.load(f"around:{name}")


def test_a_conventional_non_local_block_is_refused(tmp_path):
    (tmp_path / "arch.txt").write_text("r1_k3_s11_e1_i32_o16_embedded0.5-2\n")
    with pytest.raises(UserError, match=r"block 0 \(.*\): a conventional non-local block; accepted"):
        space.load(f"around:{tmp_path}")


def test_names_that_are_around_nothing(tmp_path):
    assert around.architecture("paper") is None
    with pytest.raises(UserError, match=r"--search_space=around:/nosuch: No such file .*accepted: autonl_l, "):
        space.load("around:/nosuch,depth")
