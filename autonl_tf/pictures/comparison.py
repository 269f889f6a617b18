"""Networks side by side: a column each, its blocks as boxes as wide as their MACs, by map size."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import LayerCost, NetworkCost
from autonl_tf.pictures.block import chips, kernel_color
from autonl_tf.pictures.canvas import new_sheet, save, shortened
from autonl_tf.pictures.palette import (
    EMBEDDED,
    INK,
    KERNELS,
    LIGHT_NL,
    OTHER_KERNEL,
    QUIET,
    SEVERAL_KERNELS,
    SHADE,
    SQUEEZE_EXCITE,
)

_ROW, _LEFT, _COLUMN, _TOP, _BOTTOM = 0.24, 0.85, 2.9, 1.3, 0.15  # inches
_BAR = 1.45


def draw_comparison(names: Sequence[str], costs: Sequence[NetworkCost], path: str | pathlib.Path) -> None:
    """Draws a PNG: rows are blocks, gathered by the side of the map that comes out of them.

    A box's length is the block's MACs, on one scale for all; its colour the kernel (several kernels: purple). A yellow
    end is a squeeze-excite, a red one a LightNL, a dark one a conventional non-local block. A legend says so.
    """
    stages = [_stages(cost) for cost in costs]
    sides = sorted({side for staged in stages for side in staged}, reverse=True)
    heights = [max(len(staged.get(side, ())) for staged in stages) for side in sides]
    width, height = _LEFT + _COLUMN * len(names), _TOP + _ROW * sum(heights) + _BOTTOM
    figure, axes = new_sheet(width, height, "MACs, block by block")
    for column, (name, cost) in enumerate(zip(names, costs, strict=True)):
        left = _LEFT + column * _COLUMN
        axes.text(left, 0.93, shortened(name, 30), size=10, weight="bold", color=INK, va="center")
        total = cost.total
        axes.text(
            left, 1.16, f"{total.macs / 1e6:.1f}M MACs, {total.params / 1e6:.2f}M parameters", size=8, color=QUIET
        )
    _legend(axes)
    scale = _BAR / max(row.cost.macs for cost in costs for row in cost.rows)
    top = _TOP
    for number, (side, rows) in enumerate(zip(sides, heights, strict=True)):
        if number % 2 == 0:
            axes.add_patch(Rectangle((0.05, top), width - 0.1, rows * _ROW, color=SHADE, linewidth=0, zorder=0))
        axes.text(0.12, top + _ROW / 2, f"{side} x {side}", size=8.5, weight="bold", color=INK, va="center")
        for (column, staged), index in itertools.product(enumerate(stages), range(rows)):
            blocks = staged.get(side, [])
            if index < len(blocks):
                _draw(axes, _LEFT + column * _COLUMN, top + (index + 0.5) * _ROW, blocks[index], scale)
        top += rows * _ROW
    save(figure, path)


def _legend(axes: Axes) -> None:
    """Under the title: what colours mean, and what is written behind a box."""
    kernels = {f"kernel {size}": color for size, color in KERNELS.items()}
    kernels |= {"other": OTHER_KERNEL, "several": SEVERAL_KERNELS}
    left = 0.15
    for text, color in (kernels | {"squeeze-excite": SQUEEZE_EXCITE, "LightNL": LIGHT_NL, "full NL": EMBEDDED}).items():
        axes.add_patch(Rectangle((left, 0.46), 0.12, 0.12, color=color, linewidth=0))
        axes.text(left + 0.16, 0.52, text, size=7, color=INK, va="center")
        left += 0.3 + 0.062 * len(text)
    axes.text(0.15, 0.7, "behind a box: kernel, expansion, channels, MACs", size=7, color=QUIET, va="center")


def _stages(cost: NetworkCost) -> dict[int, list[LayerCost]]:
    stages: dict[int, list[LayerCost]] = {}
    for row in cost.rows:
        stages.setdefault(row.in_size if row.name == "head" else row.out_size, []).append(row)
    return stages


def _draw(axes: Axes, left: float, middle: float, row: LayerCost, scale: float) -> None:
    length = max(row.cost.macs * scale, 0.02)
    if row.name in ("stem", "head"):
        color, text, ends = QUIET, row.name, []
    else:
        block = blockstring.parse_block(row.block)
        color, ends = kernel_color(block), chips(block)
        text = f"k{'.'.join(map(str, block.kernels))} e{block.expansion} {block.out_filters}"
    axes.add_patch(Rectangle((left, middle - 0.08), length, 0.16, color=color, linewidth=0))
    end = left + length
    for chip in ends:
        axes.add_patch(Rectangle((end, middle - 0.08), 0.06, 0.16, color=chip.fill, linewidth=0))
        end += 0.06
    axes.text(end + 0.06, middle, f"{text}  {row.cost.macs / 1e6:.1f}M", size=7, color=INK, va="center")
