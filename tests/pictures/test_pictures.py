"""Pictures are written whole, at the size they should have, from few and from many records."""

from __future__ import annotations

import pathlib
import re

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

from autonl_tf.arch import presets
from autonl_tf.arch.blockstring import parse
from autonl_tf.arch.cost import network_cost
from autonl_tf.errors import UserError
from autonl_tf.pictures import canvas, palette
from autonl_tf.pictures.affinity import draw_affinities
from autonl_tf.pictures.comparison import draw_comparison
from autonl_tf.pictures.network import draw_network
from autonl_tf.pictures.search import draw_search
from autonl_tf.pictures.training import draw_training

TINY = "r1_k3_s11_e1_i32_o16\nr2_k3.5_s22_e6_i16_o24_se0.5\nr1_k7_s11_e3_i24_o24_nonlocal0.25-2_noskip\n"
PHASES = {"warmup_end": 60, "settle_start": 90, "total_steps": 100}


def pixels(path):
    """The picture, [H, W, 3]; that there is something on it, and nothing half-written beside it."""
    image = matplotlib.image.imread(path)[:, :, :3]
    assert image.std() > 0.02
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return image


def has_color(image, color):
    return (np.abs(image - np.array(matplotlib.colors.to_rgb(color))).max(axis=-1) < 0.02).any()


def gate_records(count, blocks, margin=0.3):
    return [
        {
            "step": 100 * (i + 1) // count,
            "epoch": float(i),
            "cross_entropy": 2.0 - i / count,
            "macs": 2e7 / (i + 1),
        }
        | {f"gate/block{b}/{kind}": margin for b in range(1, blocks) for kind in ("keep", "kernel5", "nl_ratio0.25")}
        for i in range(count)
    ]


@pytest.mark.parametrize(
    "spec",
    [parse(TINY), presets.load("autonl_s"), presets.load("autonl_l")],
    ids=["tiny", "autonl_s", "autonl_l"],
)
def test_a_networks_picture_has_a_row_for_every_block(tmp_path, spec):
    cost = network_cost(spec, image_size=64, num_classes=10)
    draw_network(cost, tmp_path / "network.png")
    height, width, _ = pixels(tmp_path / "network.png").shape
    assert width == 1320
    assert abs(height - 120 * (0.97 + 0.34 * (len(spec.singles()) + 2))) < 3


def test_light_nl_is_seen_only_where_there_is_one(tmp_path):
    for name, text in (("with", TINY), ("without", TINY.replace("_nonlocal0.25-2", ""))):
        spec = parse(text)
        (tmp_path / name).mkdir()
        path = tmp_path / name / "network.png"
        draw_network(network_cost(spec, image_size=32, num_classes=10), path)
        assert has_color(pixels(path), "#D55E00") == (name == "with")


def test_a_conventional_non_local_block_is_seen_in_its_row_and_in_the_macs(tmp_path):
    found = {}
    for name, end in (("without", ""), ("with", "_embedded0.5-2"), ("both", "_embedded0.5-2_nonlocal0.25-2")):
        spec = parse(f"r1_k3_s11_e1_i32_o16{end}")
        (tmp_path / name).mkdir()
        path = tmp_path / name / "network.png"
        draw_network(network_cost(spec, image_size=32, num_classes=10), path)
        row = pixels(path)[int(120 * (0.85 + 0.34)) : int(120 * (0.85 + 2 * 0.34))]
        found[name] = [(np.abs(row - 0.2).max(axis=-1) < 0.02)[:, int(120 * at) :][:, :168].sum() for at in (5.4, 7.5)]
        assert has_color(row, "#D55E00") == (name == "both")
    chip, bar = np.array(found["with"]) - found["without"]
    assert chip > 2000 and bar > 300  # dark pixels, letters apart
    assert 500 < found["both"][0] - found["without"][0] < chip


def test_a_picture_that_cannot_be_put_in_its_place_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "network.png").mkdir()
    spec = parse(TINY)
    with pytest.raises(UserError, match=r"network\.png: cannot be written: Is a directory"):
        draw_network(network_cost(spec, image_size=32, num_classes=10), tmp_path / "network.png")
    assert [path.name for path in tmp_path.iterdir()] == ["network.png"]


def test_a_name_too_long_for_its_place_is_shortened_in_the_middle():
    assert canvas.shortened("network", 30) == "network"
    assert canvas.shortened("a" * 20 + "b" * 20, 15) == "aaaaaa...bbbbbb"
    title = "Search: a name that is long " * 4 + "1.5M MACs, 3.1M parameters"
    drawn = canvas.new_figure(5, 2, title).texts[0].get_text()
    assert len(drawn) < 44 and drawn.startswith("Search: ") and drawn.endswith("M parameters")


def test_signs_that_the_font_lacks_are_told_in_a_line(tmp_path, caplog, recwarn):
    figure = canvas.new_figure(3, 2, "\u72ac")
    canvas.save(figure, tmp_path / "dog.png")
    canvas.svg(figure)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/dog.png: the font lacks signs of some names, which are boxes there"
    ]
    assert not recwarn.list


@pytest.mark.parametrize(("count", "blocks"), [(1, 2), (2, 7), (40, 25)])
def test_a_searchs_picture_fits_any_number_of_gates(tmp_path, count, blocks):
    draw_search(
        gate_records(count, blocks),
        tmp_path / "search.png",
        **PHASES,
        largest_macs=2.5e7,
        smallest_macs=4e6,
    )
    height, width, _ = pixels(tmp_path / "search.png").shape
    assert width == 1320
    assert 600 < height < 2300


@pytest.mark.parametrize(("margin", "color", "other"), [(0.3, "#542788", "#B35806"), (-0.3, "#B35806", "#542788")])
def test_the_sign_of_the_last_margins_is_shown(tmp_path, margin, color, other):
    draw_search(gate_records(5, 4, margin), tmp_path / "search.png", **PHASES)
    strip = pixels(tmp_path / "search.png")[:, 1176:1200]  # right of the heat map, left of the colour scale
    assert has_color(strip, color)
    assert not has_color(strip, other)


def test_gates_that_decide_nothing_are_faint(tmp_path):
    dark = {}
    for name, faint in (("strong", ()), ("faint", ("block2/keep", "block2/kernel5", "block2/nl_ratio0.25"))):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "search.png"
        draw_search(gate_records(5, 4), path, **PHASES, name="runs/search", faint=faint, found=[0, 1, None, 2])
        dark[name] = (pixels(path)[650:, 300:1150].max(axis=-1) < 0.6).sum()
    assert 0 < dark["faint"] < 0.75 * dark["strong"]


def test_affinities_show_the_image_as_it_is_and_what_the_colours_mean(tmp_path):
    image = np.zeros([8, 8, 3])
    image[..., 1] = 1  # green all over, which no map is
    maps = np.random.default_rng(0).normal(size=[2, 4, 4])
    draw_affinities(image, [(0.25, 0.25), (1, 1)], [("block1", maps)], tmp_path / "a.png", title="a.jpg")
    drawn = pixels(tmp_path / "a.png")
    green = (drawn == (0, 1, 0)).all(axis=-1)
    assert green[:, :425].sum() > 0.9 * 228**2 and not green[:, 425:].any()
    legend = drawn[55:80, 180:410]
    assert (legend[..., 0] > legend[..., 2] + 0.4).any() and (legend[..., 2] > legend[..., 0] + 0.4).any()


def test_a_comparison_says_what_its_colours_mean(tmp_path):
    costs = [network_cost(parse(TINY), image_size=32, num_classes=10)] * 2
    draw_comparison(["a", "b"], costs, tmp_path / "c.png")
    legend = pixels(tmp_path / "c.png")[50:75]
    for color in ("#56B4E9", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#F0E442", "#D55E00", "#333333"):
        assert has_color(legend, color), color


def test_a_search_with_missing_values_is_drawn(tmp_path):
    records = gate_records(3, 3)
    del records[1]["gate/block1/keep"], records[2]["macs"]
    draw_search(records, tmp_path / "search.png", **PHASES)
    pixels(tmp_path / "search.png")


@pytest.mark.parametrize("count", [1, 100])
def test_a_trainings_picture_shows_validation_only_where_there_is_some(tmp_path, count):
    records = [{"epoch": i + 1, "loss": 2 / (i + 1), "top1": 0.5, "learning_rate": 0.1} for i in range(count)]
    validation = [{"epoch": 1, "loss": 1.5, "top1": 0.4}]
    for rows in ((), validation):
        draw_training(records, tmp_path / "training.png", validation=rows)
        image = pixels(tmp_path / "training.png")
        assert image.shape == (792, 1320, 3)
        assert has_color(image, "#0072B2") == bool(rows)


def test_a_value_that_was_not_finite_leaves_a_gap(tmp_path):
    rows = [{"step": i, "epoch": i, "loss": value, "top1": value} for i, value in enumerate([0.9, None, 0.5])]
    draw_training(rows, tmp_path / "training.png", validation=rows)
    assert (tmp_path / "training.png").stat().st_size > 1000


def test_a_validation_loss_far_off_is_named_within_the_picture(tmp_path):
    records = [{"epoch": i + 1, "loss": 8e6 if i == 0 else 1.0, "top1": 0.5, "learning_rate": 0.1} for i in range(9)]
    validation = [{"epoch": i + 1, "loss": 8e29, "top1": 0.4} for i in range(9)]
    draw_training(records, tmp_path / "training.png", validation=validation)
    image = pixels(tmp_path / "training.png")
    height, width, _ = image.shape
    margin = image[: int(0.4 * height), int(0.88 * width) :]
    assert has_color(margin, "#0072B2") and has_color(margin, "#D55E00")


@pytest.mark.parametrize("draw", [draw_training, lambda rows, path: draw_search(rows, path, **PHASES)])
def test_no_records_is_an_error_that_names_the_picture(tmp_path, draw):
    with pytest.raises(UserError, match=r"some\.png: no training records"):
        draw([], tmp_path / "some.png")
    assert not list(tmp_path.iterdir())


def test_colours_are_those_of_the_palette():
    folder = pathlib.Path(palette.__file__).parent
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.py") if path.name != "palette.py"]
    found = {color for text in texts for color in re.findall(r"(?<!&)#[\da-fA-F]{3,6}\b", text)}
    assert found == {"#fff"}
    assert (palette.margin_color(1), palette.margin_color(-2)) == (palette.OPEN.lower(), palette.CLOSED.lower())
    assert palette.margin_color(0) != palette.margin_color(-1e-9)  # the sign is seen however near 0
