"""What a search's page says of its target, and where it draws it."""

import math
import re

import pytest

from autonl_tf.arch.blockstring import write_block
from autonl_tf.arch.spec import BlockSpec, EmbeddedNLSpec, LightNLSpec
from autonl_tf.pictures import canvas, report, search


def budget(**changed):
    return {
        **{"cost": "macs", "found": 1e6, "cheapest": 5e5, "dearest": 2e6, "target": 1e6, "error": 0.004},
        **{"flips": [], "before_flips": 1e6, "flips_share": 0.01, "flips_not_close": [], "converged": True},
    } | changed


def test_a_search_that_ended_on_its_target_is_said_to_have():
    said = report.met_target(budget())
    assert "The search itself ended on its target" in said and "good" in said


@pytest.mark.parametrize("flips", [[], ["block1/nl"]])
@pytest.mark.parametrize("converged", [True, False])
def test_a_search_that_ended_off_its_target_is_not_said_to_be_on_it(flips, converged):
    said = report.met_target(budget(error=-0.034, flips=flips, converged=converged or not flips))
    assert "The network is -3.4% off the target." in said
    assert "ended on its target" not in said and '<p class="warn">' in said
    assert ("block1/nl" in said) == bool(flips)


def result(target=None, **changed):
    aim = budget(target=target) if target else {k: v for k, v in budget().items() if k != "target"}
    points = [{"step": step, "macs": 3e6 / step, "cross_entropy": 1.0, "cost_lambda": 0.1} for step in (1, 2, 3)]
    phases = {"warmup_end": 1, "settle_start": 2, "total_steps": 3}
    return {"budget": aim, "phases": phases, "trajectory": points} | changed


@pytest.mark.parametrize(
    ("targets", "labels"),
    [
        ((1e6, 1.02e6), ["target of b", "target of a"]),
        ((1e6, 1e6), ["target"]),
        ((None, 2e6), ["target of b"]),
        ((None, None), []),
    ],
)
def test_a_comparison_draws_every_searchs_target_apart(targets, labels):
    page = report.charts([result(target) for target in targets], ["a", "b"])
    drawn = re.findall(r'<text [^>]*y="([\d.]+)"[^>]*>(target[^<]*)</text>', page)
    assert [label for _, label in drawn] == labels
    assert page.count("stroke-dasharray") == len(labels)
    if len(drawn) == 2:  # two percent apart, and still to be read
        assert float(drawn[1][0]) - float(drawn[0][0]) > 8


def test_a_block_of_the_page_shows_either_kind_of_non_local_block():
    block = BlockSpec((3,), 1, 2, 16, 16, nonlocal_=LightNLSpec(0.25, 2), embedded=EmbeddedNLSpec(0.5, 1))
    line = write_block(block)
    rows = [{"macs": 1.0}] * 3
    shown = report.network({"blocks": rows, "arch": [f"{line}".replace("i16", "i32")], "decided_blocks": [line]})
    assert ">NL 0.25/2<" in shown and ">full NL 0.5/1<" in shown


def gates(*names):
    return [
        {"name": name, "margin": 0.1, "open": True, "counts": True, "flipped": False, "closed": False} for name in names
    ]


def test_a_gate_is_shown_with_its_blocks_number_in_the_found_network_where_it_is_another():
    of = {"decided_blocks": ["a", None, "b"], "gates": gates("block0/nl", "block1/keep", "block2/kernel5")}
    assert report.found_numbers(of) == [0, None, 1]
    assert list(report.gate_names(of).values()) == ["block0/nl", "block1/keep", "block2/kernel5 (found: block1)"]


def test_every_gates_margin_is_drawn_with_those_of_its_kind():
    names = ("block0/keep", "block1/keep", "block1/kernel5", "block1/kernel7", "block2/nl_ratio0.25", "block2/other7")
    every = gates(*names)
    every[1] |= {"flipped": True}
    every[2] |= {"closed": True, "measured": {"gain": 0.0, "error": 0.0, "price": 0.0}}
    every[4] |= {"closed": True, "measured": None}  # in a block that is dropped
    every[3] |= {"open": False, "margin": -0.25, "counts": False}
    points = [{"step": step, "gates": [0.5, None, -1.0, 2.0, 0.1, 0.2]} for step in (1, 2, 3)]
    of = result(gates=every, trajectory=points, decided_blocks=["a", None, "b"])
    shown = report.decisions(of)
    figures = re.findall(r'aria-label="([^"]*)"><figcaption>.*?</figure>', shown, re.DOTALL)
    assert figures == ["block kept", "kernel", "LightNL ratio", "other"]
    rows = re.findall(r'style="[^"]*fill: (#[0-9a-f]+)"[^>]*>([^<]*)</text>', shown)
    rows = [(color, text) for color, text in rows if color in ("#542788", "#b35806")]
    assert [text for _, text in rows] == [
        *("0 &gt; 0", "+0.100", "1 \u21c5", "+0.100", "1: 5 \u00d7", "+0.100", "1: 7", "-0.250"),
        *("2 &gt; 1: 0.25", "+0.100", "2 &gt; 1: 7", "+0.100"),
    ]
    assert {text for color, text in rows if color == "#b35806"} == {"1: 7", "-0.250"}
    assert shown.count("<image") == 4
    assert report.decisions(of | {"trajectory": []}).count("<figure") == 0


@pytest.mark.parametrize(
    ("values", "logarithmic", "expected"),
    [
        ((0, 0.15), False, ["0", "0.05", "0.1", "0.15"]),
        ((1e6, 1e8), True, ["1M", "3M", "10M", "30M", "100M"]),
        ((12.5e6, 12.6e6), False, ["12.5M", "12.55M", "12.6M"]),
        ((999.5, 1000.5), False, ["999.5", "1k", "1.0005k"]),
        ((-3.24e-5, -3.22e-5), False, ["-3.24e-05", "-3.23e-05", "-3.22e-05"]),
    ],
)
def test_an_axis_label_stands_at_the_value_that_it_names_and_is_not_cut_off(values, logarithmic, expected):
    key = "macs" if logarithmic else "cross_entropy"
    points = [
        {"step": step, "macs": 1e6, "cross_entropy": 1.0, "cost_lambda": 0.0, key: value}
        for step, value in enumerate(values)
    ]
    drawn = list(search.panels([result(trajectory=points)]).values())[0 if logarithmic else 1]
    found = re.findall(r'text-anchor: end[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)<', drawn)
    texts = [text.replace("\u2212", "-") for _, _, text in found]
    assert texts == expected
    assert all(5.5 * len(text) <= float(end) for end, _, text in found)  # a digit is 5.5 wide at most
    line = next(path for path in re.findall(r'<path d="([^"]*)"[^>]*stroke-width: 1.8', drawn))
    first, last = (float(height) for height in re.findall(r"[ML] [\d.]+ ([\d.]+)", line))
    heights = {text: float(y) for text, (_, y, _) in zip(texts, found, strict=True)}
    for text, value in ((text, canvas._read(text)) for text in texts):
        scale = math.log if logarithmic else float
        share = (scale(value) - scale(values[0])) / (scale(values[1]) - scale(values[0]))
        assert heights[text] - 3.2 == pytest.approx(first + share * (last - first), abs=0.4)


def test_a_value_that_was_not_finite_is_left_out_of_a_pages_curves():
    points = [
        {"step": step, "macs": None, "cross_entropy": value, "cost_lambda": 0.0}
        for step, value in ((1, 1.0), (2, None))
    ]
    drawn = report.charts([result(trajectory=points)])
    assert drawn.count("<svg") == 3 and "nan" not in drawn.lower()
    assert drawn.count(">no values<") == 1


def test_a_name_is_drawn_as_it_is(tmp_path):
    name = r"runs/$\frac$ & <b>"
    assert r"runs/$\frac$ &amp; &lt;b&gt;</text>" in report.charts([result(), result()], [name, "b"])
    figure = canvas.new_figure(4, 2, r"$\frac$")
    figure.add_axes((0, 0, 1, 1)).set_yticks([0], [r"$\frac$"])  # as classes are, beside the matrix of mistakes
    canvas.save(figure, tmp_path / "a.png")


def test_what_a_gate_gained_is_shown_with_its_price_and_what_was_decided():
    every = [gate | {"measured": None} for gate in gates("block0/nl", "block1/keep", "block2/nl")]
    every[0]["measured"] = {"gain": -0.0065, "error": 0.0011, "price": 0.0006}
    every[0] |= {"closed": True, "open": False, "margin": 0.6}
    every[2]["measured"] = {"gain": None, "error": None, "price": 0.0024}
    every.append(every[2] | {"name": "block2/se0.25", "margin": 0.7, "open": False, "flipped": True})
    of = {"decided_blocks": ["a", None, "b"], "decisions": {"measured_images": 1536}, "settings": {"search_split": 0.0}}
    shown = report.measured_gains(of | {"gates": every})
    assert "1,536 training images" in shown
    assert "1,536 held-out images" in report.measured_gains(of | {"gates": every, "settings": {"search_split": 0.5}})
    cells = re.findall(r"<td>([^<]*)</td>", shown)
    assert cells[:5] == ["block2/nl (found: block1)", "+0.100", "not finite \u00b1 not finite", "2.4", "kept"]
    assert cells[5:10] == ["block0/nl", "+0.600", "-6.5 \u00b1 1.1", "0.6", "closed"]
    assert cells[14] == "kept, then left out by flips"
    assert report.measured_gains(of | {"gates": every[1:2]}) == ""


def test_boxes_and_bars_of_the_page_are_to_scale_on_any_screen():
    of = {
        "arch": ["r1_k3_s11_e1_i32_o16", "r1_k5_s11_e6_i16_o24"],
        "decided_blocks": ["r1_k3_s11_e1_i32_o16", None, "r1_k5_s11_e6_i16_o24"],
        "blocks": [{"macs": macs} for macs in (1e6, 2e6, 4e6, 5e5)],
    }
    found = report.network(of)
    boxes = re.findall(r'<i style="background:#[0-9A-F]+;width:(\d+)%">', found)
    assert boxes == ["17", "100"]
    assert re.findall(r'<i style="width:([\d.]+)%">', found) == ["25.0", "50.0", "100.0", "12.5"]
    assert "1 (2)" in found and "In brackets" in found and ">(1)<" in found
