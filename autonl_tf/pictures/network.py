"""A network at a glance: one row a block, from the image down to the logits."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle

from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import LayerCost, NetworkCost, block_cost
from autonl_tf.arch.spec import BlockSpec
from autonl_tf.pictures.block import Chip, chips, kernel_color, kernels, mark
from autonl_tf.pictures.canvas import new_sheet, save
from autonl_tf.pictures.palette import BLUE, EMBEDDED, GREEN, INK, LIGHT_NL, QUIET, SHADE

_ROW, _WIDTH, _TOP, _BOTTOM = 0.34, 11.0, 0.85, 0.12  # inches
# Left edges of the columns, and the width of the two that hold bars, in inches.
_MAP, _NAME, _BLOCK, _SE, _NL, _FILTERS, _MACS = 0.15, 1.05, 1.95, 4.75, 5.45, 6.85, 7.5
_BLOCK_WIDTH, _MACS_WIDTH = 2.35, 2.35
_LABEL = 0.08  # of a box's label, a letter


def draw_network(cost: NetworkCost, path: str | pathlib.Path, name: str = "", numbers: Sequence[int] = ()) -> None:
    """Draws each block's map size, kernel, expansion, squeeze-excite, non-local block, filters and MACs as a PNG.

    Bands of one shade share a map size. A block's box widens with its expansion ratio, and its colour is
    its kernel's. LightNL is red, a conventional non-local block dark; in the MACs bars their own parts are set apart.

    Args:
      name: where it comes from, for the title, which says size, MACs and parameters.
      numbers: of each block its number in the space it was found in, shown in brackets where it is another.
    """
    blocks = [blockstring.parse_block(row.block) for row in cost.rows[1:-1]]
    total = cost.total
    counted = f"{_millions(total.macs)} MACs, {_millions(total.params)} parameters"
    title = f"{name}: " * bool(name) + f"{len(blocks)} blocks at {cost.rows[0].in_size} px: {counted}"
    rows = len(cost.rows)
    figure, axes = new_sheet(_WIDTH, _TOP + rows * _ROW + _BOTTOM, title)
    _headings(axes, any(block.embedded is not None for block in blocks))
    _bands(axes, cost.rows)
    widest = max(block.expansion for block in blocks)
    most = max(row.cost.macs for row in cost.rows)
    for index, row in enumerate(cost.rows):
        middle = _TOP + (index + 0.5) * _ROW
        block = blocks[index - 1] if 0 < index < rows - 1 else None
        if block is None:
            _text(axes, _BLOCK, middle, row.block, color=INK)
        else:
            _draw_block(axes, middle, block, widest)
        label = row.name if block is None else f"block {index - 1}"
        if block is not None and index <= len(numbers) and numbers[index - 1] != index - 1:
            label += f" ({numbers[index - 1]})"
        _text(axes, _NAME, middle, label, color=QUIET)
        if index < rows - 1:
            _text(axes, _FILTERS + 0.35, middle, str(row.out_filters), ha="right")
        _draw_macs(axes, middle, row, block, most, total.macs)
    save(figure, path)


def _draw_block(axes: Axes, middle: float, block: BlockSpec, widest: int) -> None:
    color = kernel_color(block)
    width = _BLOCK_WIDTH * block.expansion / widest
    _box(axes, _BLOCK, middle, width, color)
    label, end = f"{kernels(block)}  e{block.expansion}", _BLOCK + width + 0.08
    if width >= _LABEL * len(label):
        _text(axes, _BLOCK + width / 2, middle, label, ha="center", color="white" if color in (BLUE, GREEN) else INK)
    else:
        _text(axes, end, middle, label)
        end += _LABEL * len(label)
    _text(axes, end, middle, mark(block), color=QUIET, weight="bold" if block.has_shortcut else "normal")
    squeeze, placed = [[chip for chip in chips(block) if (chip.name == "SE") == own] for own in (True, False)]
    for chip in squeeze:
        _chip(axes, _SE, middle, 0.55, chip)
    for number, chip in enumerate(placed):
        told = chip._replace(text=chip.text.replace("/", ", stride ")) if len(placed) == 1 else chip
        _chip(axes, _NL + number * 1.25 / len(placed), middle, 1.25 / len(placed), told)


def _draw_macs(axes: Axes, middle: float, row: LayerCost, block: BlockSpec | None, most: float, total: float) -> None:
    scale = _MACS_WIDTH / most
    parts = []
    for field, fill in (("nonlocal_", LIGHT_NL), ("embedded", EMBEDDED)):
        if block is not None and getattr(block, field) is not None:
            without = block_cost(dataclasses.replace(block, **{field: None}), row.in_size)
            parts.append((row.cost.macs - without.macs, fill))
    length = row.cost.macs * scale
    left = _MACS
    for macs, fill in [(row.cost.macs - sum(macs for macs, _ in parts), QUIET), *parts]:
        axes.add_patch(Rectangle((left, middle - 0.1), macs * scale, 0.2, color=fill, linewidth=0))
        left += macs * scale
    text = f"{_millions(row.cost.macs)}  {row.cost.macs / total:.0%}"
    _text(axes, _MACS + length + 0.08, middle, text, size=8)


def _headings(axes: Axes, embedded: bool) -> None:
    headings = (
        (_MAP, "map"),
        (_NAME, "layer"),
        (_BLOCK, "kernel, expansion (width), /stride, + shortcut"),
        (_SE, "SE"),
        (_NL, "LightNL, dark: full" if embedded else "LightNL"),
        (_FILTERS, "filters"),
        (_MACS, "MACs, non-local part set apart" if embedded else "MACs, LightNL's part set apart"),
    )
    for x, text in headings:
        _text(axes, x, _TOP - 0.18, text, size=8.5, color=QUIET)


def _bands(axes: Axes, rows: tuple[LayerCost, ...]) -> None:
    """Shades the rows of every second map size, and writes the size once."""
    sides = [row.out_size for row in rows[:-1]] + [rows[-1].in_size]
    start = 0
    for number, (side, same) in enumerate(itertools.groupby(sides)):
        count, top = len(list(same)), _TOP + start * _ROW
        if number % 2 == 0:
            axes.add_patch(Rectangle((0.05, top), _WIDTH - 0.1, count * _ROW, color=SHADE, linewidth=0, zorder=0))
        _text(axes, _MAP, top + _ROW / 2, f"{side} x {side}", weight="bold")
        start += count


def _box(axes: Axes, left: float, middle: float, width: float, color: str) -> None:
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch((left, middle - 0.12), width, 0.24, boxstyle=style, color=color, linewidth=0))


def _chip(axes: Axes, left: float, middle: float, width: float, chip: Chip) -> None:
    _box(axes, left, middle, width, chip.fill)
    _text(axes, left + width / 2, middle, chip.text, ha="center", size=8.5, color=chip.ink)


def _text(axes: Axes, x: float, y: float, text: str, size: float = 9, color: str = INK, **more) -> None:
    axes.text(x, y, text, size=size, color=color, va="center", **more)


def _millions(value: float) -> str:
    return f"{value / 1e6:.1f}M" if value >= 99_500 else f"{value / 1e3:.0f}k"
