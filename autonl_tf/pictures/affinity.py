"""Affinity maps over an image: a row a block, a column a query point."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from autonl_tf.pictures.canvas import axes_at, new_figure, save
from autonl_tf.pictures.palette import INK, QUIET, VERMILION

_CELL, _LEFT, _TOP, _GAP, _BELOW = 1.9, 1.5, 1.05, 0.12, 0.28  # inches
_MAP = "RdBu_r"
_CAPTION = {"size": 7.5, "color": INK, "ha": "center", "va": "top"}  # beneath the axes, on the white of the page
_VEILED = 0.75  # the most that a map hides of the image, where it is strongest


def draw_affinities(
    image: np.ndarray,
    points: Sequence[tuple[float, float]],
    blocks: Sequence[tuple[str, np.ndarray]],
    path: str | pathlib.Path,
    *,
    title: str,
) -> None:
    """Draws a PNG: the image as it is, with its points, then in grey under each block's affinity with each point.

    Red is positive, blue negative, and what is near 0 lets the image through; each map is on its own scale, whose end
    is written beneath it. A legend says so.

    Args:
      image: [H, W, 3] of 0 to 1.
      points: Q queries as (x, y), shares of width and height.
      blocks: name and maps [Q, H', W'] of each block.
    """
    columns = 1 + len(points)
    width = max(_LEFT + columns * (_CELL + _GAP), _LEFT + 2 * _CELL + 2.6)
    height = _TOP + len(blocks) * (_CELL + _BELOW) + 0.1
    figure = new_figure(width, height, title)
    _legend(figure, width, height)
    grey = image.mean(axis=-1)
    for row, (name, maps) in enumerate(blocks):
        top = _TOP + row * (_CELL + _BELOW)
        shape = "x".join(map(str, maps.shape[1:]))
        figure.text(0.15 / width, 1 - (top + _CELL / 2) / height, f"{name}\n{shape}", size=9, color=INK, va="center")
        for column, ((x, y), values) in enumerate(zip(points, maps, strict=True), start=1):
            axes = _cell(figure, column, top)
            axes.imshow(grey, cmap="gray", extent=(0, 1, 1, 0), vmin=0, vmax=1, aspect="auto")
            most = float(np.abs(values).max()) or 1.0
            veil = _VEILED * np.abs(values) / most
            axes.imshow(values, cmap=_MAP, extent=(0, 1, 1, 0), vmin=-most, vmax=most, alpha=veil, aspect="auto")
            _point(axes, x, y, str(column))
            axes.text(0.5, 1.03, f"point {column}: -{most:.3g} to +{most:.3g}", **_CAPTION)
    axes = _cell(figure, 0, _TOP)
    axes.imshow(image, extent=(0, 1, 1, 0), aspect="auto")
    for number, (x, y) in enumerate(points, start=1):
        _point(axes, x, y, str(number))
    axes.text(0.5, 1.03, "the image, its points", **_CAPTION)
    save(figure, path)


def _cell(figure: Figure, column: int, top: float) -> Axes:
    axes = axes_at(figure, _LEFT + column * (_CELL + _GAP), top, _CELL, _CELL)
    axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0))
    axes.spines[:].set(color=QUIET, linewidth=0.6)
    return axes


def _point(axes: Axes, x: float, y: float, number: str) -> None:
    """A cross and its number, on a light ground: to be seen on any picture."""
    axes.plot([x], [y], marker="+", color="white", markersize=13, markeredgewidth=4, clip_on=False)
    axes.plot([x], [y], marker="+", color=VERMILION, markersize=10, markeredgewidth=1.8, clip_on=False)
    ground = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.85, "linewidth": 0}
    across, down = (0.06 if x < 0.9 else -0.06), (0.07 if y < 0.9 else -0.07)
    axes.text(x + across, y + down, number, size=7, color=INK, ha="center", va="center", bbox=ground)


def _legend(figure: Figure, width: float, height: float) -> None:
    bar = axes_at(figure, _LEFT, 0.5, _CELL, 0.12)
    scale = ScalarMappable(Normalize(-1, 1), matplotlib.colormaps[_MAP])
    figure.colorbar(scale, cax=bar, orientation="horizontal", ticks=[-1, 0, 1])
    bar.set_xticklabels(["against", "0", "with"])
    bar.tick_params(labelsize=7.5, colors=INK, length=2)
    text = "affinity of each position with point +; a map's own scale beneath it"
    figure.text((_LEFT + _CELL + 0.2) / width, 1 - 0.56 / height, text, size=7.5, color=QUIET, va="center")
