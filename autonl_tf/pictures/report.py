"""A search's report: one page that says what was found, how sure each decision is, how it came about, and what next."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import BlockSpec
from autonl_tf.pictures import page, search
from autonl_tf.pictures.block import chips, kernel_color, kernels, mark
from autonl_tf.pictures.canvas import short

_ON_TARGET = 0.01  # off by at most this share, a network is on its target


def report_page(result: dict[str, Any], name: str) -> str:
    return page.page(
        f"Search: {name}",
        page.facts(headline(result)),
        met_target(result["budget"]),
        doubts(result),
        page.section("The network", network(result)),
        page.section("Cost, fit and lambda over the search", charts([result])),
        page.section(
            "Close calls",
            '<p class="quiet">A gate is open where its margin is 0 or more; margins start at about 1, those of '
            "what a block can do without near 0. Flipping a decision alone would change the cost by:</p>",
            close_calls(result),
        ),
        measured_gains(result),
        page.section("How each decision came about", decisions(result)),
        page.section("Next", page.commands(result["next"])),
        page.section("Settings", settings(result)),
    )


def headline(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of the figures that matter most."""
    budget, unit = result["budget"], search.UNITS[result["budget"]["cost"]]
    items = [("MACs", short(result["macs"])), ("parameters", short(result["params"]))]
    if budget["cost"] != "macs":
        items.append((f"{unit}, predicted", f"{budget['found']:.3f}"))
    items.append((f"{unit} of the space", f"{short(budget['cheapest'])} to {short(budget['dearest'])}"))
    if "target" in budget:
        items.append(("target", short(budget["target"])))
        items.append(("off target", f"{budget['error']:+.2%}"))
    blocks = result["decided_blocks"]
    items.append(("blocks kept", f"{sum(block is not None for block in blocks)} of {len(blocks)}"))
    items.append(("with LightNL", str(sum("nonlocal" in (block or "") for block in blocks))))
    ends = [point["cross_entropy"] for point in result["trajectory"][-1:]]
    if ends and ends[0] is not None:
        items.append((f"cross-entropy; chance {math.log(result['num_label_classes']):.3g}", f"{ends[0]:.3g}"))
    return items


def met_target(budget: dict[str, Any]) -> str:
    """How the target was met, in words; nothing without one."""
    if "target" not in budget:
        return ""
    off, kind = "", "good"
    if abs(budget["error"]) > _ON_TARGET:
        off, kind = f"The network is {budget['error']:+.1%} off the target. ", "warn"
    stand = ""
    if not budget["converged"]:
        stand, kind = "<b>Not converged.</b> ", "warn"
    if not budget["flips"]:
        ended = off + "It is where the search itself ended" if off else "The search itself ended on its target"
        return f'<p class="{kind}">{stand}{ended}: no decision was flipped.</p>'
    flips = (
        f"{len(budget['flips'])} flipped to meet the target: {', '.join(budget['flips'])}. They decided "
        f"{budget['flips_share']:.1%} of the cost, which was {short(budget['before_flips'])} before."
    )
    return f'<p class="{kind}">{stand or "Close calls only. "}{off}{page.escape(flips)}</p>'


def doubts(result: dict[str, Any]) -> str:
    """How many decisions stand out of the noise, and the search's own warnings."""
    decided = result["decisions"]
    counted = (
        f"{decided['counting']} gates count; the margins of {decided['within_noise']} are within the noise, which "
        f"after {decided['steps']} steps of decisions is {decided['noise']:.2f}."
    )
    said = "".join(f'<p class="warn">{page.escape(line)}</p>' for line in result["warnings"])
    return f'{said}<p class="quiet">{counted}</p>'


def network(result: dict[str, Any]) -> str:
    """The found network, a row a block of the space; dropped ones are named."""
    costs = [row["macs"] for row in result["blocks"]]
    most, total = max(costs), sum(costs)
    blocks = blockstring.parse("\n".join(result["arch"])).blocks
    widest = max(block.expansion for block in blocks)
    cells = [_row("stem", "", costs[0], most, total)]
    kept, found = zip(blocks, costs[1:-1], strict=True), found_numbers(result)
    for number, decided in enumerate(result["decided_blocks"]):
        if decided is None:
            cells.append(f'<span class="quiet">({number})</span><span class="dropped">dropped</span><span></span>')
        else:
            name = f"{number}" if found[number] == number else f"{found[number]} ({number})"
            cells.append(_block_row(name, *next(kept), widest, most, total))
    cells.append(_row("head", "", costs[-1], most, total))
    note = "Box: as wide as its expansion; then kernel and expansion, /2: stride, +: shortcut, channels. Bars: MACs."
    if any(own != number for number, own in enumerate(found)):
        note += " In brackets: the block's number in the space, by which gates are named."
    return f'<div class="net">{"".join(cells)}</div><p class="quiet">{note}</p>'


def found_numbers(result: dict[str, Any]) -> list[int | None]:
    """The number in the found network of each block of the space; None where it is dropped."""
    kept = itertools.count()
    return [None if block is None else next(kept) for block in result["decided_blocks"]]


def gate_names(result: dict[str, Any]) -> dict[str, str]:
    """How each gate is shown: with its block's number in the found network, where that is another."""
    found, names = found_numbers(result), {}
    for gate in result["gates"]:
        block, _, _ = gate["name"].partition("/")
        number = int(block.removeprefix("block"))
        moved = found[number] is not None and found[number] != number
        names[gate["name"]] = gate["name"] + f" (found: block{found[number]})" * moved
    return names


def _block_row(name: str, block: BlockSpec, macs: float, widest: int, most: float, total: float) -> str:
    told = f'{kernels(block)} e{block.expansion} <span class="quiet">{mark(block)} &rarr;{block.out_filters}</span>'
    style = f"background:{kernel_color(block)};width:{100 * block.expansion / widest:.0f}%"
    box = f'<span class="track"><i style="{style}"></i></span><span>{told}</span>'
    for chip in chips(block):
        box += f'<span class="chip" style="background:{chip.fill};color:{chip.ink}">{chip.name} {chip.text}</span>'
    return _row(name, box, macs, most, total)


def _row(name: str, box: str, macs: float, most: float, total: float) -> str:
    bar = f'<span class="track"><i style="width:{100 * macs / most:.1f}%"></i></span>'
    cells = f'<span class="box">{box}</span><span class="macs">{bar}{short(macs)} {macs / total:.0%}</span>'
    return f'<span class="quiet">{name}</span>{cells}'


def charts(results: Sequence[dict[str, Any]], names: Sequence[str] = ("",)) -> str:
    """Cost against the target, cross-entropy and lambda over the steps, of one search or of several."""
    phases = '<p class="quiet">Shaded: warm-up, then (white) decisions, then settling.</p>' * (len(results) == 1)
    return page.figures(search.panels(results, names)) + phases


def close_calls(result: dict[str, Any]) -> str:
    unit, names = search.UNITS[result["budget"]["cost"]], gate_names(result)
    rows = [
        (
            names[call["name"]] + (" (flipped)" if call["flipped"] else ""),
            "open" if call["open"] else "closed",
            f"{call['margin']:+.3f}",
            f"{'+' if call['cost_change'] > 0 else '-'}{short(abs(call['cost_change']))}",
        )
        for call in result["close_calls"]
    ]
    return f'<div class="calls">{page.table(("gate", "decided", "margin", unit), rows)}</div>'


def measured_gains(result: dict[str, Any]) -> str:
    """What LightNL and squeeze-excite gained when decisions were taken; nothing where none was open."""

    def thousandths(value: float | None) -> str:
        return "not finite" if value is None else f"{1000 * value:.1f}"

    names = gate_names(result)
    measured = sorted((gate for gate in result["gates"] if gate["measured"]), key=lambda gate: gate["margin"])
    rows = [
        (
            names[gate["name"]],
            f"{gate['margin']:+.3f}",
            f"{thousandths(gate['measured']['gain'])} \N{PLUS-MINUS SIGN} {thousandths(gate['measured']['error'])}",
            thousandths(gate["measured"]["price"]),
            "closed"
            if gate["closed"]
            else "kept" + ", then left out by flips" * (not (gate["counts"] and gate["open"])),
        )
        for gate in measured
    ]
    if not rows:
        return ""
    kind = "held-out" if result["settings"]["search_split"] else "training"
    return page.section(
        "Measured gains",
        '<p class="quiet">When decisions were taken, each of these gates was closed by itself, the smallest margin '
        f"first. Its gain is how much the cross-entropy of {result['decisions']['measured_images']:,} {kind} images "
        "then rises, with its standard error. A gate stayed closed if its gain minus that error was below its price: "
        "lambda times what it adds to the logarithm of the cost. In thousandths of a nat:</p>",
        f'<div class="calls">{page.table(("gate", "margin", "gain", "price", "decided"), rows)}</div>',
    )


def decisions(result: dict[str, Any]) -> str:
    """Each gate's margin over time, with its last value; gates that decide nothing are pale."""
    note = (
        '<p class="quiet">A row a gate: the block of the space, &gt; its number in the found network where that is '
        'another, and what the gate opens; its margin over the steps, <span class="open">purple open</span>, '
        '<span class="closed">orange closed</span>, pale near 0; then the margin that decided. Faint: decides '
        f"nothing, since its block is dropped or a gate below it is closed. {search.FLIPPED}: flipped to meet the "
        f"target. {search.MEASURED}: closed for what it gains.</p>"
    )
    return note + page.figures(search.margins(result, found_numbers(result)))


def settings(result: dict[str, Any]) -> str:
    rows = sorted(result["settings"].items()) + sorted(result["versions"].items())
    rows.append(("commit", result["git_commit"] or "unknown"))
    shown = page.table(("flag or version", "value"), [(name, "" if value is None else value) for name, value in rows])
    return f"<details><summary>flags, versions, commit</summary>{shown}</details>"


def comparison_page(results: Sequence[dict[str, Any]], names: Sequence[str], other_files: Sequence[str] = ()) -> str:
    """Two searches beside each other: figures, curves, what differs in their flags, and block by block. `other_files`
    of their run directories are not the same."""
    figures = [dict(headline(result)) for result in results]
    keys = list(dict.fromkeys(key for of in figures for key in of))
    rows = [(key, *(of.get(key, "") for of in figures)) for key in keys]
    headers = [blockstring.write_header(blockstring.parse("\n".join(result["arch"]))) for result in results]
    if any(headers):
        rows.append(("header", *(header.removeprefix("network ") or "none" for header in headers)))
    flags = [result["settings"] for result in results]
    differing = sorted(k for k in {*flags[0], *flags[1]} if flags[0].get(k) != flags[1].get(k) and k != "model_dir")
    blocks = [result["decided_blocks"] for result in results]
    aligned = [[of[row] if row < len(of) else "" for of in blocks] for row in range(max(map(len, blocks)))]
    same = sum(a == b for a, b in aligned)
    return page.page(
        f"Searches: {names[0]} and {names[1]}",
        page.section("What they found", page.table(("", *names), rows)),
        *(
            f"<h3>{page.escape(name)}</h3>{met_target(a['budget'])}"
            for name, a in zip(names, results, strict=True)
            if met_target(a["budget"])
        ),
        page.section("Over the search", charts(results, names)),
        page.section(
            "Block by block",
            f'<p class="quiet">{same} of {len(aligned)} blocks are the same.</p>',
            page.table(
                ("block", *names),
                [
                    (f"{number}{'' if a == b else ' *'}", *("dropped" if cell is None else cell for cell in (a, b)))
                    for number, (a, b) in enumerate(aligned)
                ],
            ),
        ),
        page.section(
            "Flags that differ",
            page.table(("flag", *names), [(key, *(of.get(key, "") for of in flags)) for key in differing])
            if differing
            else '<p class="quiet">none</p>',
            f'<p class="warn">Not the same in both: {page.escape(", ".join(other_files))}.</p>' if other_files else "",
        ),
    )
