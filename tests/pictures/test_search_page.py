"""What a search's page says of its target, and where it draws it."""

import re

import pytest

from autonl_tf.arch.blockstring import write_block
from autonl_tf.arch.spec import BlockSpec, EmbeddedNLSpec, LightNLSpec
from autonl_tf.pictures import report


def budget(**changed):
    return {
        **{"cost": "macs", "found": 1e6, "cheapest": 5e5, "dearest": 2e6, "target": 1e6, "error": 0.004},
        **{"flips": [], "before_flips": 1e6, "flips_share": 0.01, "flips_not_close": [], "converged": True},
    } | changed


def test_a_search_that_ended_on_its_target_is_said_to_have():
    said = report.verdict(budget())
    assert "The search itself ended on its target" in said and "good" in said


@pytest.mark.parametrize("flips", [[], ["block1/nl"]])
@pytest.mark.parametrize("converged", [True, False])
def test_a_search_that_ended_off_its_target_is_not_said_to_be_on_it(flips, converged):
    said = report.verdict(budget(error=-0.034, flips=flips, converged=converged or not flips))
    assert "The nearest network of this space is -3.4% off the target." in said
    assert "ended on its target" not in said and '<p class="warn">' in said
    assert ("block1/nl" in said) == bool(flips)


def account(target=None, **changed):
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
    page = report.charts([account(target) for target in targets], ["a", "b"])
    drawn = re.findall(r'<text x="44" y="([\d.]+)" fill="#6a6a6a">(target[^<]*)</text>', page)
    assert [label for _, label in drawn] == labels
    assert page.count("stroke-dasharray") == len(labels)
    if len(drawn) == 2:  # two percent apart, and still to be read
        assert float(drawn[1][0]) - float(drawn[0][0]) > 10


def test_a_block_of_the_page_shows_either_kind_of_non_local_block():
    block = BlockSpec((3,), 1, 2, 16, 16, nonlocal_=LightNLSpec(0.25, 2), embedded=EmbeddedNLSpec(0.5, 1))
    line = write_block(block)
    rows = [{"macs": 1.0}] * 3
    shown = report.network({"blocks": rows, "arch": [f"{line}".replace("i16", "i32")], "decided_blocks": [line]})
    assert ">NL 0.25/2<" in shown and ">full NL 0.5/1<" in shown
