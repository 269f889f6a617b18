"""A search's progress: what it fits, what it costs, and how every decision came about."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter

from autonl_tf.errors import UserError
from autonl_tf.pictures.canvas import axes_at, column, labels, new_figure, plain_axes, round_values, save, short, svg
from autonl_tf.pictures.palette import (
    BLUE,
    CLOSED,
    GREEN,
    INK,
    LINES,
    NOTE,
    OPEN,
    PHASES,
    QUIET,
    VERMILION,
    margin_color,
)
from autonl_tf.space.kinds import KINDS

_WIDTH, _LEFT, _RIGHT = 11.0, 1.75, 1.2  # inches
_TOP, _PANEL, _GAP, _BOTTOM = 0.85, 1.7, 0.58, 0.5
_SMALL = (4.2, 2.0)  # a panel of a page, in inches
_SMALL_ROW = 0.17  # of its heat map
FLIPPED = "\N{UPWARDS ARROW LEFTWARDS OF DOWNWARDS ARROW}"  # marks a gate that was flipped to meet the target
MEASURED = "\N{MULTIPLICATION SIGN}"  # marks a gate that was closed for what it gains
_DIGIT = 0.08  # inches, as wide as one of its labels' digits is in any sans serif
UNITS = {"macs": "MACs", "latency_ms": "ms"}  # of a cost
_VEIL = 0.65  # of what is faint, so much is hidden
_READABLE = 0.12  # rows lower than this, in inches, get no label of their own
_PREFIX = "gate/"
_MAP = ListedColormap([margin_color(share) for share in np.linspace(-1, 1, 256)])
# What gates decide, by the first part of their names, in the order of the picture; others come after them.
_KINDS = {"keep": "block kept"} | {k: v for kind in KINDS for k, v in zip(kind.choices, kind.titles, strict=True)}


def draw_search(
    records: Sequence[dict],
    path: str | pathlib.Path,
    *,
    warmup_end: int,
    settle_start: int,
    total_steps: int,
    largest_macs: float | None = None,
    smallest_macs: float | None = None,
    name: str = "",
    faint: Collection[str] = (),
    found: Sequence[int | None] = (),
) -> None:
    """Draws cross-entropy and top-1, the MACs of the gates, and the margin of every gate over the steps.

    Args:
      records: training records in the order of their `step`, each with some of cross_entropy, top1 (a share),
        macs, and `gate/<block>/<kind and option>`, the margin of that gate (open at 0 or more).
      warmup_end, settle_start: steps at which lambda begins to count, and at which the decisions are held.
      largest_macs, smallest_macs: of the space; drawn as lines when given.
      faint: gates (`<block>/<kind and option>`) that decide nothing, whose block is dropped, say.
      found: of each block of the space its number in the found network, None where it is dropped.

    Raises:
      UserError: no records.
    """
    if not records:
        raise UserError(f"{path}: no training records, so there is nothing to draw")
    gates = _ordered_gates(records)
    # Rows get thinner where there are many, so that the picture still fits a screen.
    row = float(np.clip(9.0 / len(gates), 0.07, 0.2))
    heat = row * len(gates)
    height = _TOP + 2 * (_PANEL + _GAP) + heat + _BOTTOM
    figure = new_figure(_WIDTH, height, f"Search: {name}" if name else "Search")
    steps = np.array(column(records, "step"))
    panels = []
    top = _TOP
    for panel_height in (_PANEL, _PANEL, heat):
        panels.append(axes_at(figure, _LEFT, top, _WIDTH - _LEFT - _RIGHT, panel_height))
        top += panel_height + _GAP
    _draw_fit(panels[0], steps, records)
    _draw_macs(panels[1], steps, records, largest_macs, smallest_macs)
    _draw_gates(figure, panels[2], steps, records, gates, row, faint, found)
    for panel in panels:
        panel.set_xlim(0, max(total_steps, steps[-1]))
        _mark_phases(panel, warmup_end, settle_start, total_steps, shade=panel is not panels[-1])
    _name_phases(panels[0], warmup_end, settle_start, total_steps)
    panels[-1].set_xlabel("step", size=9.5, color=INK)
    save(figure, path)


def panels(results: Sequence[Mapping[str, Any]], names: Sequence[str] = ("",)) -> dict[str, str]:
    """The cost of the open gates, cross-entropy and lambda over the steps, of one search or of several in one picture:
    titles and SVG elements, of a width that can be read on a phone.

    Args:
      results: the contents of search.json files that count one kind of cost.
    """
    cost = results[0]["budget"]["cost"]
    targets: dict[float, list[str]] = {}
    for result, name in zip(results, names, strict=True):
        if "target" in result["budget"]:
            targets.setdefault(result["budget"]["target"], []).append(name)
    titles = {cost: f"{UNITS[cost]} of the open gates", "cross_entropy": "cross-entropy", "cost_lambda": "lambda"}
    drawn = {}
    for key, title in titles.items():
        figure = new_figure(*_SMALL, "")
        axes = figure.add_axes((0, 0, 1, 1))
        points = [result["trajectory"] for result in results]
        curves = [(column(of, "step"), column(of, key), color) for of, color in zip(points, LINES, strict=False)]
        _draw_curves(axes, curves, targets if key == cost else (), "", logarithmic=key == cost)
        for number, (value, of) in enumerate(sorted(targets.items(), reverse=True) if key == cost else ()):
            text = "target" if len(of) == len(results) else f"target of {of[0]}"
            place = {"transform": axes.get_yaxis_transform(), "va": "top" if number else "bottom"}
            axes.text(0.01, value, text, size=8.5, color=NOTE, **place)
        left = (0.15 + _DIGIT * max(len(label.get_text()) for label in axes.get_yticklabels())) / _SMALL[0]
        axes.set_position((left, 0.2, 0.97 - left, 0.75))
        axes.set_xlim(0, max(result["phases"]["total_steps"] for result in results))
        axes.set_xlabel("step", size=8.5, color=INK)
        if len(results) == 1:
            _mark_phases(axes, **results[0]["phases"], shade=True)
        else:
            for number, (name, color) in enumerate(zip(names, LINES, strict=False)):
                axes.text(0.98, 0.9 - 0.1 * number, name, transform=axes.transAxes, ha="right", size=8.5, color=color)
        drawn[title] = svg(figure)
    return drawn


def margins(result: Mapping[str, Any], found: Sequence[int | None]) -> dict[str, str]:
    """Every gate's margin over the steps of one search, and the one that decided, by what gates decide:
    titles and SVG elements as those of `panels`; `found` as `draw_search` takes it."""
    steps = np.array(column(result["trajectory"], "step"))
    values = np.array([point["gates"] for point in result["trajectory"]], float).T
    kinds: dict[str, list[int]] = {}
    for index, gate in enumerate(result["gates"]):
        kinds.setdefault(_kind(gate["name"]), []).append(index)
    drawn = {}
    for kind, rows in kinds.items() if steps.size else ():
        gates, height = [result["gates"][row] for row in rows], _SMALL_ROW * len(rows) + 0.45
        figure = new_figure(_SMALL[0], height, "")
        axes = figure.add_axes((0.25, 0.43 / height, 0.59, 1 - 0.45 / height))
        _draw_map(axes, steps, values[rows], _limit(values), [not gate["counts"] for gate in gates])
        for index, gate in enumerate(gates):
            mark = f" {FLIPPED}" * gate["flipped"] + f" {MEASURED}" * bool(gate["closed"] and gate["measured"])
            name = _short_name(_PREFIX + gate["name"], found) + mark
            for x, text in ((-0.015, name), (1.24, f"{gate['margin']:+.3f}")):
                _beside(axes, index + 0.5, x, text, size=8.5, color=OPEN if gate["open"] else CLOSED)
        axes.set_xlim(0, result["phases"]["total_steps"])
        axes.set_xlabel("step", size=8.5, color=INK)
        _mark_phases(axes, **result["phases"], shade=False)
        drawn[_KINDS.get(kind, kind)] = svg(figure)
    return drawn


def _draw_fit(axes: Axes, steps: np.ndarray, records: Sequence[dict]) -> None:
    plain_axes(axes, "cross-entropy", VERMILION)
    marker = "o" if len(steps) < 3 else None
    axes.plot(steps, column(records, "cross_entropy"), color=VERMILION, linewidth=1.5, marker=marker)
    top1 = np.array(column(records, "top1"))
    if np.isfinite(top1).any():
        other = axes.twinx()
        plain_axes(other, "")
        other.grid(False)
        other.spines["left"].set_visible(False)
        other.plot(steps, 100 * top1, color=BLUE, linewidth=1.5, marker=marker)
        other.set_ylim(bottom=0)
        other.set_title("top-1 in training, %", loc="right", size=9.5, color=BLUE, pad=6)


def _draw_macs(
    axes: Axes, steps: np.ndarray, records: Sequence[dict], largest: float | None, smallest: float | None
) -> None:
    macs = np.array(column(records, "macs"))
    levels = {name: of for of, name in ((largest, "largest"), (smallest, "smallest")) if of}
    _draw_curves(axes, [(steps, macs, GREEN)], levels.values(), "MACs of the open gates", logarithmic=True)
    for name, of in levels.items():
        _at_the_right(axes, of, f"{name}\n{short(of)}", QUIET)
    ends = [macs[-1], *levels.values()]
    near_end = min((abs(np.log(macs[-1] / of)) for of in levels.values()), default=1.0)
    if np.isfinite(macs[-1]) and near_end > 0.2 * max(np.ptp(np.log(ends)), 1e-9):
        _at_the_right(axes, macs[-1], f"last\n{short(macs[-1])}", GREEN)


def _draw_curves(
    axes: Axes,
    curves: Sequence[tuple[Sequence[float], Sequence[float], str]],
    levels: Collection[float],
    title: str,
    logarithmic: bool,
) -> None:
    """Curves (steps, values, colour) and horizontal lines, all within the axes, whose labels are round numbers."""
    plain_axes(axes, title)
    for steps, values, color in curves:
        axes.plot(steps, values, color=color, linewidth=1.8, marker="o" if len(steps) < 3 else None)
    for level in levels:
        axes.axhline(level, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
    seen = np.concatenate([list(levels), *(values for _, values, _ in curves)])
    seen = seen[np.isfinite(seen)]
    if not seen.size:
        axes.set_yticks([0.5], ["no values"])
        return
    if logarithmic:
        axes.set_yscale("log")
        low, high = seen.min() / 1.15, seen.max() * 1.15
    else:
        pad = 0.06 * np.ptp(seen) or 0.5 * abs(seen[0]) or 1.0
        low, high = seen.min() - pad, seen.max() + pad
    axes.set_ylim(low, high)
    values = round_values(low, high, logarithmic=logarithmic)
    axes.set_yticks(values, labels(values))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_gates(
    figure: Figure,
    axes: Axes,
    steps: np.ndarray,
    records: Sequence[dict],
    gates: list[str],
    row: float,
    faint: Collection[str],
    found: Sequence[int | None],
) -> None:
    margins = np.array([column(records, name) for name in gates])
    image = _draw_map(axes, steps, margins, _limit(margins), [name.removeprefix(_PREFIX) in faint for name in gates])
    block = "block of the space" if _in_order(found) else "block of the space > of the found network"
    title = f"margin of every gate ({block}: what it opens{'; faint: decides nothing' if faint else ''})"
    axes.set_title(title, loc="left", size=9.5, color=INK, pad=6)
    kinds = [_kind(name) for name in gates]
    for start in (index for index in range(len(gates)) if index == 0 or kinds[index] != kinds[index - 1]):
        count = kinds.count(kinds[start])
        if start:
            axes.axhline(start, color="white", linewidth=2.5)
        label = _KINDS.get(kinds[start], kinds[start])
        if row < _READABLE and count > 1:
            label += f"\nblocks {_block(gates[start])} to {_block(gates[start + count - 1])}"
        _beside(axes, start + count / 2, -0.09, label, size=9 if count * row > 0.3 else 7)
    if row >= _READABLE:
        for index, name in enumerate(gates):
            _beside(axes, index + 0.5, -0.006, _short_name(name, found), size=6.5, color=QUIET)
    _draw_last_state(axes, margins[:, -1])
    _draw_key(figure, axes, image)


def _limit(margins: np.ndarray) -> float:
    """The magnitude at which a margin's colour is full."""
    finite = np.abs(margins[np.isfinite(margins)])
    return max(float(np.percentile(finite, 95)) if finite.size else 0.0, 1e-3)


def _draw_map(axes: Axes, steps: np.ndarray, margins: np.ndarray, limit: float, faint: Sequence[bool]):
    """Margins [gates, steps] as colours, a row a gate, the `faint` ones veiled."""
    rows = np.arange(len(margins) + 1)
    image = axes.pcolormesh(_edges(steps), rows, margins, cmap=_MAP, vmin=-limit, vmax=limit, rasterized=True)
    axes.set_ylim(len(margins), 0)
    for index in np.flatnonzero(faint):
        axes.axhspan(index, index + 1, color="white", alpha=_VEIL, linewidth=0)
    axes.tick_params(colors=INK, labelsize=8.5, length=3)
    axes.spines[:].set_visible(False)
    axes.set_yticks([])
    return image


def _draw_last_state(axes: Axes, margins: np.ndarray) -> None:
    """A strip at the right: which gates were open at the last record, however small their margin."""
    transform = axes.get_yaxis_transform()
    look = {"transform": transform, "linewidth": 0, "clip_on": False}
    for index, margin in enumerate(margins):
        if np.isfinite(margin):
            color = OPEN if margin >= 0 else CLOSED
            axes.add_patch(Rectangle((1.006, index + 0.08), 0.016, 0.84, color=color, **look))
    axes.text(1.014, -0.35, "last", transform=transform, ha="center", va="bottom", size=8, color=INK)


def _draw_key(figure: Figure, axes: Axes, image) -> None:
    """The colour scale, at the right of the heat map's top, with its two sides named."""
    box = axes.get_position()
    height = min(box.height, 1.6 / figure.get_figheight())
    bar = figure.add_axes((1 - 0.8 / _WIDTH, box.y1 - height, 0.13 / _WIDTH, height))
    figure.colorbar(image, cax=bar)
    bar.tick_params(labelsize=7.5, colors=INK, length=2)
    bar.set_title("open", size=8.5, color=OPEN, pad=5)
    bar.set_xlabel("closed", size=8.5, color=CLOSED, labelpad=5)


def _edges(steps: np.ndarray) -> np.ndarray:
    """Where each record's column begins and ends: it stands for the steps since the one before."""
    before = steps[0] - steps[1] if len(steps) > 1 else -1
    return np.concatenate([[max(0.0, steps[0] + before)], steps])


def _ordered_gates(records: Sequence[dict]) -> list[str]:
    """The gates' names, by kind, then by block, then as first met."""
    names = list(dict.fromkeys(name for record in records for name in record if name.startswith(_PREFIX)))
    kinds = list(_KINDS)
    rank = {kind: kinds.index(kind) if kind in _KINDS else len(kinds) for kind in map(_kind, names)}
    return sorted(names, key=lambda name: (rank[_kind(name)], _kind(name), _block(name)))


def _kind(name: str) -> str:
    """`gate/block3/kernel5` decides `kernel`: the known kind its last part begins with, else that without digits."""
    last = name.rsplit("/", 1)[-1]
    known = [kind for kind in _KINDS if last.startswith(kind)]
    return max(known, key=len) if known else re.sub(r"[\d.]+$", "", last)


def _block(name: str) -> int:
    found = re.search(r"/\D*(\d+)/", name)
    return int(found.group(1)) if found else -1


def _short_name(name: str, found: Sequence[int | None]) -> str:
    option, number = re.search(r"[\d.]+$", name.rsplit("/", 1)[-1]), _block(name)
    other = found[number] if not _in_order(found) and 0 <= number < len(found) else None
    shown = f"{number}" if other is None else f"{number} > {other}"
    return shown + (f": {option.group(0)}" if option else "")


def _in_order(found: Sequence[int | None]) -> bool:
    """Whether the blocks of the space have the same numbers in the found network, but for those dropped."""
    return all(number in (None, index) for index, number in enumerate(found))


def _mark_phases(axes: Axes, warmup_end: int, settle_start: int, total_steps: int, *, shade: bool) -> None:
    if shade:
        for start, stop, (_, _, color, opacity) in _phases(warmup_end, settle_start, total_steps):
            axes.axvspan(start, stop, color=color, alpha=opacity, linewidth=0, zorder=0)
    for step in (warmup_end, settle_start):
        if 0 < step < total_steps:
            axes.axvline(step, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))


def _name_phases(axes: Axes, warmup_end: int, settle_start: int, total_steps: int) -> None:
    for start, stop, (name, color, _, _) in _phases(warmup_end, settle_start, total_steps):
        if stop > start:
            transform = axes.get_xaxis_transform()
            axes.text((start + stop) / 2, 1.2, name, ha="center", size=9, color=color, transform=transform)


def _phases(warmup_end: int, settle_start: int, total_steps: int):
    """(first step, last step, the phase of `PHASES`) of each."""
    return zip((0, warmup_end, settle_start), (warmup_end, settle_start, total_steps), PHASES, strict=True)


def _at_the_right(axes: Axes, y: float, text: str, color: str) -> None:
    axes.text(1.01, y, text, transform=axes.get_yaxis_transform(), va="center", size=8, color=color, linespacing=1)


def _beside(axes: Axes, y: float, x: float, text: str, *, size: float, color: str = INK) -> None:
    """Text left of the axes at a row, `x` in widths of the axes."""
    axes.text(x, y, text, transform=axes.get_yaxis_transform(), ha="right", va="center", size=size, color=color)
