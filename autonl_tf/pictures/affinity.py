"""Affinity maps over an image: a row a block, a column a query point."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from autonl_tf.pictures.canvas import INK, QUIET, VERMILION, new_figure, save

_CELL, _LEFT, _TOP, _GAP = 1.9, 1.5, 0.95, 0.08  # inches


def draw_affinities(
    image: np.ndarray,
    points: Sequence[tuple[float, float]],
    blocks: Sequence[tuple[str, np.ndarray]],
    path: str | pathlib.Path,
    *,
    title: str,
) -> None:
    """Draws a PNG: the image in grey, over it each block's affinity with the point marked by a cross.

    Red is positive, blue negative, white none; each map on its own scale, whose end is written beneath it.

    Args:
      image: [H, W, 3] of 0 to 1.
      points: Q queries as (x, y), shares of width and height.
      blocks: name and maps [Q, H', W'] of each block.
      path: the file to write.
      title: above it.

    Raises:
      ValueError: no block, or maps that are not of Q points.
    """
    if not blocks or any(len(maps) != len(points) for _, maps in blocks):
        raise ValueError(f"{len(blocks)} blocks, maps of {[len(maps) for _, maps in blocks]} for {len(points)} points")
    width = _LEFT + len(points) * (_CELL + _GAP) + 0.1
    height = _TOP + len(blocks) * (_CELL + 0.3) + 0.1
    figure = new_figure(width, height, title)
    grey = image.mean(axis=-1)
    for row, (name, maps) in enumerate(blocks):
        top = _TOP + row * (_CELL + 0.3)
        shape = "x".join(map(str, maps.shape[1:]))
        figure.text(0.15 / width, 1 - (top + _CELL / 2) / height, f"{name}\n{shape}", size=9, color=INK, va="center")
        for column, ((x, y), values) in enumerate(zip(points, maps, strict=True)):
            left = _LEFT + column * (_CELL + _GAP)
            axes = figure.add_axes((left / width, 1 - (top + _CELL) / height, _CELL / width, _CELL / height))
            extent = (0, 1, 1, 0)
            axes.imshow(grey, cmap="gray", extent=extent, vmin=0, vmax=1, aspect="auto")
            most = float(np.abs(values).max()) or 1.0
            axes.imshow(values, cmap="RdBu_r", extent=extent, vmin=-most, vmax=most, alpha=0.6, aspect="auto")
            axes.plot([x], [y], marker="+", color="black", markersize=11, markeredgewidth=3)
            axes.plot([x], [y], marker="+", color=VERMILION, markersize=9, markeredgewidth=1.5)
            axes.set_axis_off()
            axes.set_xlim(0, 1)
            axes.set_ylim(1, 0)
            axes.text(0.5, 1.03, f"+-{most:.3g}", size=7, color=QUIET, ha="center", va="top")
    save(figure, path)
