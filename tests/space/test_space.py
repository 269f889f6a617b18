import copy
import dataclasses
import json

import numpy as np
import pytest
from damage import NO_JSON, check_documented, damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autonl_tf.arch import blockstring, cost, presets
from autonl_tf.errors import UserError
from autonl_tf.space import space
from autonl_tf.space.cost_model import macs_model
from autonl_tf.space.kinds import KINDS


@pytest.fixture(scope="module")
def paper():
    return space.load("paper")


def content(name="paper"):
    return json.loads((space._FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["autonl_s", "autonl_l"])
def test_published_networks_are_members_of_the_papers_space(paper, name):
    assert paper.contains(presets.load(name))


def test_a_network_outside_the_space_is_no_member(paper):
    text = blockstring.write(presets.load("autonl_s"))
    assert not paper.contains(blockstring.parse(text.replace("se0.25", "se0.125")))
    assert not paper.contains(blockstring.parse("\n".join(text.splitlines()[:-1])))
    assert not paper.contains(blockstring.parse("network head=640\n" + text))


def test_random_members_are_members(paper):
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert paper.contains(paper.random_member(rng))


def test_a_members_choices_are_found(paper):
    rng = np.random.default_rng(2)
    for _ in range(20):
        member = paper.random_member(rng)
        assert paper.member(paper.selections_of(member, "it")).canonical() == member.canonical()


RELU6 = {
    "network": "activation=relu6 stem=16 head=64 padding=symmetric mean=127 stddev=128",
    "candidates": {"kernels": [3, 5], "expansions": [3, 6], "nonlocal_ratios": [0.25], "nonlocal_strides": [2, 1]},
    "blocks": [
        {"block": "r1_k3_s11_e1_i16_o16_se0.25", "kernels": [3], "expansions": [1], "droppable": False},
        {"block": "r2_k5_s22_e6_i16_o24"},
    ],
}


def test_a_space_states_what_its_networks_have_in_common():
    found = space.parse(RELU6, "mine")
    lines = blockstring.write(found.smallest()).splitlines()
    assert lines[0] == f"network {RELU6['network']}"
    assert lines[1:] == ["r1_k3_s11_e1_i16_o16_se0.25", "r1_k3_s22_e3_i16_o24"]
    assert blockstring.write(found.largest()).splitlines()[1] == "r1_k3_s11_e1_i16_o16_nonlocal0.25-1_se0.25"
    assert space.parse(json.loads(found.text()), "again").blocks == found.blocks
    # 2 kernels, 2 widths and 3 options of LightNL a block, the second may be dropped; the first has LightNL alone
    assert found.count() == 3 * (2 * 2 * 3) * (2 * 2 * 3 + 1)
    model = macs_model(found, image_size=32, num_classes=10)
    for member, bound in zip((found.smallest(), found.largest()), model.reachable(), strict=True):
        assert bound == cost.network_cost(member, image_size=32, num_classes=10).total.macs


@pytest.mark.parametrize(
    ("header", "culprit"), [("activation=selu", "'activation=selu' is out of range"), (3, "what follows that word")]
)
def test_a_wrong_header_of_a_space_is_refused(header, culprit):
    with pytest.raises(UserError, match=f'mine: "network".*{culprit}'):
        space.parse(RELU6 | {"network": header}, "mine")


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (("activation=relu6 ", ""), "activation swish, accepted relu6$"),
        (("mean=127 stddev=128", ""), "normalization mean 123.675/116.28/103.53, .*, accepted mean 127, stddev 128$"),
        (("head=64", "head=128"), "head_filters 128, accepted 64$"),
        (("stem=16", "stem=24"), "stem_filters 24, accepted 16$"),
        (("_se0.25", "_se0.5"), "block 0: se_ratio 0.5, accepted 0.25$"),
        (("k5", "k7"), "block 1: kernels 7, accepted 3 or 5; block 2: kernels 7, accepted 3 or 5$"),
        (("e6", "e8"), "block 1: expansion 8, accepted 3 or 6; block 2: expansion 8, accepted 3 or 6$"),
        (("o24", "o32"), "block 1: out_filters 32, accepted 24; block 2: in_filters 32, .*, out_filters 32, "),
        (("nonlocal0.25-1", "nonlocal0.5-1"), "block 0: nonlocal 0.5-1, accepted none or 0.25-1 or 0.25-2; block 1"),
        (("r2_k5", "r3_k5"), "block 3: no counterpart in the space$"),
        (("_i16_o24", "_i16_o24_p1.1"), "block 1: project_kernels 1.1, accepted 1; block 2"),
        (("r2_k5_s22", "r2_k5_s11"), "block 1: stride 1, accepted 2$"),
    ],
)
def test_what_does_not_fit_a_space_is_told_block_by_block(edit, told):
    found = space.parse(RELU6, "mine")
    text = blockstring.write(dataclasses.replace(found.family, blocks=found.largest().blocks[:1])) + (
        "r2_k5_s22_e6_i16_o24_nonlocal0.25-1\n"
    )
    wanted = blockstring.parse(text, "it")
    assert found.member(found.selections_of(wanted, "it")).canonical() == wanted.canonical()
    changed = text.replace(*edit)
    if edit[0] == "stem=16":
        changed = changed.replace("_i16_o16", "_i24_o16")
    with pytest.raises(UserError, match=f"^FILE: does not fit the search space mine: {told}"):
        found.selections_of(blockstring.parse(changed, "it"), "FILE")


def test_a_network_that_lacks_a_block_which_stays_is_told_of_it(paper):
    lines = blockstring.write(presets.load("autonl_s")).splitlines()
    with pytest.raises(UserError, match=r"it: does not fit .* paper: block 16: out_filters 192, accepted 320$"):
        paper.selections_of(blockstring.parse("\n".join(lines[:-1])), "it")
    kept = space.parse(
        RELU6 | {"blocks": [*RELU6["blocks"], {"block": "r1_k5_s11_e6_i24_o24", "droppable": False}]}, "it"
    )
    with pytest.raises(UserError, match=r": block 3 of the space has no counterpart and cannot be dropped$"):
        kept.selections_of(
            dataclasses.replace(kept.family, blocks=kept.largest().blocks[:1] + kept.largest().blocks[1:2]), "it"
        )


def test_extremes_bound_every_member(paper):
    def macs(spec):
        return cost.network_cost(spec, image_size=224, num_classes=1000).total.macs

    rng = np.random.default_rng(1)
    low, high = macs(paper.smallest()), macs(paper.largest())
    assert all(low <= macs(paper.random_member(rng)) <= high for _ in range(50))


def test_only_blocks_with_a_shortcut_can_be_dropped(paper):
    droppable = [index for index, block in enumerate(paper.blocks) if block.droppable]
    assert len(paper.blocks) == 22
    assert droppable == [2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 20]


def test_cost_tables_hold_the_macs_of_every_choice(paper):
    table, size = macs_model(paper, image_size=224, num_classes=10).tables[5], paper.map_sizes(224)[5]
    selection = {"kernel": 1, "expand": 0, "se": 2, "nl": 1, "nl_ratio": 0, "nl_stride": 1}
    member = paper.blocks[5].block(selection)
    assert blockstring.write_block(member) == "r1_k5_s22_e3_i24_o40_nonlocal0.125-1_se0.5"
    assert table[tuple(selection[choice] for choice in paper.choices)] == cost.block_cost(member, size).macs


def test_candidates_are_data():
    data = content("demo")
    data["candidates"]["kernels"] = [3, 5, 7]
    data["candidates"]["nonlocal_ratios"] = []
    data["candidates"]["nonlocal_strides"] = []
    data["blocks"][1:] = [{"block": "r2_k7_s22_e6_i16_o24", "droppable": False}]
    found = space.parse(data, "mine")
    assert found.blocks[2].options["kernel"] == (3, 5, 7)
    assert found.blocks[2].options["nl"] == (False,)
    assert not found.blocks[2].droppable


def change(path, value):
    def apply(data):
        target = data
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("edit", "culprit"),
    [
        (change(["blocks"], []), "at least one block"),
        (change(["extra"], 1), "unknown key 'extra'"),
        (change(["blocks", 1, "kernel"], [3]), "block entry 1: unknown key 'kernel'"),
        (change(["candidates", "kernels"], [5, 3]), "'kernels' of \"candidates\": accepted: odd whole numbers"),
        (change(["candidates", "kernels"], [4, 5]), "'kernels'"),
        (change(["candidates", "expansions"], [1, 6]), "'expansions'"),
        (change(["candidates", "expansions"], []), "'expansions'"),
        (
            change(["candidates", "nonlocal_strides"], [1, 2]),
            "'nonlocal_strides' of \"candidates\": accepted: whole numbers from 1 to 1024, descending",
        ),
        (change(["candidates", "kernels"], [3.0, 5.0]), "accepted: odd whole numbers"),
        (
            change(["blocks", 1, "nonlocal_ratios"], [1.5]),
            r"block entry 1: 'nonlocal_ratios': accepted: numbers above 0",
        ),
        (change(["candidates", "nonlocal_ratios"], [True]), "'nonlocal_ratios' of"),
        (change(["candidates", "nonlocal_strides"], [4, 2]), "'nonlocal_strides' must end in 1"),
        (change(["blocks", 0, "kernels"], [3]), "block entry 0: unknown key 'kernels'"),
        (change(["blocks", 6, "droppable"], True), "no block of it has a shortcut"),
        (change(["candidates", "nonlocal_strides"], []), "both empty or neither"),
        (change(["candidates", "se_ratios"], [0.01, 0.02]), "'se_ratios' give"),
        (change(["blocks", 1, "kernels"], [3, 7]), "largest candidate, k7"),
        (change(["blocks", 1, "kernels"], [1, 5]), "entry 1: 'kernels': 1 is no core of a larger one at stride 2"),
        (change(["blocks", 1, "droppable"], "no"), "'droppable' must be true or false"),
        (change(["blocks", 1, "block"], "r4_k5_s22_e6_i16_o24_se0.5"), "accepted: in one"),
        (change(["blocks", 1, "block"], "r4_k5_s22_e6_i16_o24_embedded0.5-2"), "block entry 1: .* only the tokens"),
        (change(["blocks", 1, "block"], ""), "block entry 1: unknown token ''"),
        (change(["blocks", 0, "block"], "network stem=16"), "block entry 0: unknown token 'network stem=16'"),
        (change(["blocks", 1, "block"], "r4_k5_s22_e6_i16_o24\nr1_k5_s11_e6_i24_o24"), "block entry 1: unknown token"),
        (change(["blocks", 2, "block"], "r4_k5_s22_e6_i16_o40"), "line 3: token 'i16'"),
        (lambda data: data["candidates"].pop("kernels"), "lacks 'kernels'"),
    ],
)
def test_a_wrong_space_file_is_refused(edit, culprit):
    data = copy.deepcopy(content())
    edit(data)
    with pytest.raises(UserError, match=culprit):
        space.parse(data, "mine.json")


def test_a_space_whose_every_block_may_be_dropped_is_refused():
    data = content()
    data["blocks"] = [{"block": "r2_k5_s11_e6_i32_o32"}]
    with pytest.raises(UserError, match="every block may be dropped"):
        space.parse(data, "mine.json")


def test_a_space_in_which_nothing_can_be_chosen_is_refused():
    data = content()
    data["candidates"] = {"kernels": [5], "expansions": [6]}
    data["blocks"] = [{"block": "r1_k5_s22_e6_i32_o40"}]
    with pytest.raises(UserError, match=r"mine\.json: nothing can be chosen"):
        space.parse(data, "mine.json")
    data["blocks"].append({"block": "r1_k5_s11_e6_i40_o40"})  # may be dropped
    assert len(space.parse(data, "mine.json").blocks) == 2


def test_the_example_of_the_docstring_is_a_space():
    example = space.__doc__.partition("JSON:\n")[2].partition("\n\nNetworks of another")[0]
    assert [block.searchable for block in space.parse(json.loads(example), "example").blocks] == [False] + [True] * 5


def test_a_light_nl_stride_that_never_fits_is_refused():
    with pytest.raises(UserError, match="stride 2 is larger than its 1x1"):
        space.load("paper").check(32)


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(damaged(content("demo")).map(lambda value: json.dumps(value).encode()) | st.sampled_from(NO_JSON))
def test_any_field_of_a_space_file_may_be_changed_to_anything(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "space.json"
    path.write_bytes(text)

    def use():
        found = space.load(str(path))
        found.check(32)
        assert macs_model(found, image_size=32, num_classes=3).reachable()[0] > 0

    check_documented(use)


def test_a_space_of_too_many_configurations_is_refused_before_they_are_made():
    wide = content("demo")
    wide["candidates"] |= {"kernels": [*range(3, 32, 2)], "expansions": [*range(2, 65)]}
    wide["candidates"]["se_ratios"] = [number / 64 for number in range(1, 17)]
    wide["blocks"] = [{"block": "r1_k3_s22_e1_i32_o64", "searchable": False}, {"block": "r1000_k31_s11_e64_i64_o64"}]
    with pytest.raises(UserError, match="makes 1001 blocks; accepted: at most 1000"):
        space.parse(wide, "wide")
    wide["blocks"][1]["block"] = "r100_k31_s11_e64_i64_o64"
    with pytest.raises(UserError, match=r"wide: [0-9]+ configurations of blocks; accepted: at most 100000"):
        space.parse(wide, "wide")


def test_a_key_that_is_there_twice_is_refused_by_name(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content()).replace('"kernels":', '"kernels": [3], "kernels":', 1))
    with pytest.raises(UserError, match=r"mine\.json: an object has the key 'kernels' twice"):
        space.load(str(path))


def test_options_that_are_nearly_equal_have_gates_of_different_names():
    names = [KINDS[2].gate_name("se", (None, 0.25, 0.9999999, 1.0), order) for order in range(3)]
    assert names == ["se0.25", "se0.9999999", "se1"]
