"""Latency tables: what they must hold, how they predict, and what is refused."""

import json

import numpy as np
import pytest

from autonl_tf.errors import UserError
from autonl_tf.records import LATENCY_FORMAT
from autonl_tf.space import latency
from autonl_tf.space import space as space_lib
from autonl_tf.space.latency import fit, network_keys, pieces, read_table

SIZE, CLASSES = 64, 8
DEMO = space_lib.load("demo")


def content(space=DEMO, **changed):
    """A table in which every piece takes a time that follows from its key."""
    keys = pieces(space, image_size=SIZE, num_classes=CLASSES)
    times = {key: {"median_ms": 0.1 + (sum(map(ord, key)) % 97) / 100} for key in keys}
    return {
        "format": LATENCY_FORMAT,
        "device": "a phone",
        "runtime": {},
        "space": space.name,
        "input_image_size": SIZE,
        "num_label_classes": CLASSES,
        "pieces": times,
        "calibration": {"offset_ms": 0.25, "scale": 0.9},
    } | changed


def written(tmp_path, data):
    path = tmp_path / "table.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_a_table_needs_every_configuration_of_every_block_once_the_stem_and_the_head():
    keys = pieces(DEMO, image_size=SIZE, num_classes=CLASSES)
    assert {"stem@64", "head_i64_c8@8", "r1_k3_s22_e1_i32_o16_noskip@32"} < set(keys)
    # Five distinct searchable blocks of 2 kernels, 2 expansions and 5 choices of LightNL.
    assert len(keys) == 3 + 5 * 2 * 2 * 5


def test_a_networks_prediction_is_its_choices_cost_whatever_the_network(tmp_path):
    table = read_table(written(tmp_path, content()))
    model = table.cost_model(DEMO, image_size=SIZE, num_classes=CLASSES)
    rng = np.random.default_rng(0)
    for _ in range(20):
        selections = [
            {choice: int(rng.integers(len(of))) for choice, of in block.options.items()} for block in DEMO.blocks
        ]
        spec = DEMO.member(selections)
        keys = network_keys(spec, image_size=SIZE, num_classes=CLASSES)
        by_hand = 0.25 + 0.9 * sum(content()["pieces"][key]["median_ms"] for key in keys)
        assert table.predicted(spec) == pytest.approx(by_hand)
        assert model.of(selections) == pytest.approx(by_hand)
        low, high = model.reachable()
        assert low <= by_hand <= high


def test_without_a_calibration_the_sum_itself_is_predicted_and_no_search_takes_it(tmp_path):
    data = content()
    del data["calibration"]
    table = read_table(written(tmp_path, data))
    assert table.predicted(DEMO.largest()) == table.predicted(DEMO.largest(), calibrated=False)
    with pytest.raises(UserError, match="not calibrated by whole networks yet; run the same --mode=profile"):
        table.cost_model(DEMO, image_size=SIZE, num_classes=CLASSES)


def test_a_calibration_by_which_a_network_takes_no_time_is_refused(tmp_path):
    table = read_table(written(tmp_path, content(calibration={"offset_ms": -50, "scale": 0.9})))
    with pytest.raises(UserError, match=r"offset_ms -50 makes the cheapest network of 'demo' take -4.* above 0"):
        table.cost_model(DEMO, image_size=SIZE, num_classes=CLASSES)


def test_fit_finds_the_line_and_does_not_trust_what_cannot_tell():
    sums = [1.0, 2.0, 3.0, 4.0]
    assert fit(sums, [0.5 + 0.8 * x for x in sums]) == pytest.approx((0.5, 0.8))
    assert fit([], []) == (0.0, 1.0)
    assert fit([2.0], [3.0]) == (0.0, 1.5)
    assert fit([2.0, 2.01, 1.99], [3.0, 1.0, 3.0])[0] == 0.0
    assert fit(sums, [4.0, 3.0, 2.0, 1.0])[1] > 0
    steep = [2.0 + number / 15 for number in range(30)]  # a line through these alone is at -2 where the sum is 1
    assert fit([1.0, *steep], [5.0, *(4 * (x - 1.5) for x in steep)]) == (0.0, pytest.approx(2.0))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "another"}, "not a latency table"),
        ({"pieces": {}}, r"length >= 1 - at `\$\.pieces`"),
        (
            {"pieces": {"stem@64": {"median_ms": 0}}},
            r"not a latency table: Expected `float` > 0.0 - at `\$\.pieces\[...\]\.median_ms`",
        ),
        ({"pieces": {"stem@64": 3.0}}, r"Expected `object`, got `float` - at `\$\.pieces"),
        ({"calibration": {"offset_ms": 0, "scale": -1}}, r"`float` > 0.0 - at `\$\.calibration\.scale"),
        ({"calibration": {"offset_ms": 0, "scale": 10**400}}, r"out of range - at `\$\.calibration\.scale"),
        ({"calibration": {"offset_ms": float("nan"), "scale": 1}}, "not JSON"),
        ({"calibration": {"scale": 1}}, "missing required field `offset_ms`"),
        ({"calibration": [0.25, 0.9]}, "Expected `object`, got `.*` - at `.*calibration"),
        ({"calibration": "none"}, "Expected `object`, got `.*` - at `.*calibration"),
        ({"calibration": None}, "Expected `object`, got `.*` - at `.*calibration"),
        ({"input_image_size": "64"}, "Expected `int`, got `str` - at `.*input_image_size"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        read_table(written(tmp_path, content(**changed)))


def test_text_that_is_no_json_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(UserError, match="not JSON"):
        read_table(written(tmp_path, "{"))
    with pytest.raises(UserError, match="got `array`"):
        read_table(written(tmp_path, "[" * 100_000))
    with pytest.raises(UserError, match="No such file"):
        read_table(tmp_path / "none.json")
    data = content()
    del data["device"]
    with pytest.raises(UserError, match="missing required field `device`"):
        read_table(written(tmp_path, data))


def test_a_table_of_another_size_classes_or_space_or_with_holes_is_refused(tmp_path):
    table = read_table(written(tmp_path, content()))
    with pytest.raises(UserError, match="measured with --input_image_size=64, the search has 32"):
        table.cost_model(DEMO, image_size=32, num_classes=CLASSES)
    with pytest.raises(UserError, match="--num_label_classes=8, the search has 10"):
        table.cost_model(DEMO, image_size=SIZE, num_classes=10)
    with pytest.raises(UserError, match=r"of the space 'demo' lacks .* of 'cifar10', the first"):
        table.cost_model(space_lib.load("cifar10"), image_size=SIZE, num_classes=CLASSES)
    data = content()
    hole = latency.block_key(DEMO.blocks[2].base, 32 // 2)
    assert data["pieces"].pop(hole)
    with pytest.raises(UserError, match=f"lacks 1 of the 103 .* first {hole}"):
        read_table(written(tmp_path, data)).cost_model(DEMO, image_size=SIZE, num_classes=CLASSES)


def test_a_block_that_shuffles_its_channels_is_not_taken_for_one_that_does_not():
    entries = [{"block": "r1_k5_s22_e1_i32_o16"}, {"block": "r1_k3_s11_e6_i16_o16_p1.1", "searchable": False}]
    plain = {"candidates": {"kernels": [3, 5], "expansions": [1]}, "blocks": entries}
    keys = [
        set(pieces(space_lib.parse(content, "space"), image_size=32, num_classes=8))
        for content in (plain, plain | {"network": "shuffle=on"})
    ]
    assert [sorted(mine - other) for mine, other in (keys, keys[::-1])] == [
        ["r1_k3_s11_p1.1_e6_i16_o16@8"],
        ["shuffle_r1_k3_s11_p1.1_e6_i16_o16@8"],
    ]


def test_pieces_of_another_family_are_not_taken_for_those_of_autonls():
    shape = {"image_size": 64, "num_classes": 8}
    other = space_lib.parse({**DEMO.content, "network": "activation=relu6 head=640"}, "other")
    found = pieces(other, **shape)
    assert not found.keys() & pieces(DEMO, **shape).keys()
    assert "relu6_stem@64" in found and any(key.startswith("relu6_640_head_i") for key in found)
    assert set(network_keys(other.largest(), **shape)) <= found.keys()
