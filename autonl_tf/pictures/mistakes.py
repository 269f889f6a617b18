"""An evaluation's confusion matrix and its worst mistakes, as pictures."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from autonl_tf.pictures.canvas import axes_at, new_figure, save
from autonl_tf.pictures.palette import INK, QUIET

_MOST_NAMES, _MOST_NUMBERS = 60, 20
_COLUMNS, _CELL = 4, 2.1


def draw_confusion(confusion: np.ndarray, names: Sequence[str], path: str | pathlib.Path) -> None:
    """Draws [K, K] counts, rows the labels and columns the predictions, each row by its share.

    Up to 60 classes are named, up to 20 have their counts written in.
    """
    count = len(names)
    side = min(max(3.5, 0.32 * count), 16.0)
    longest = max(map(len, names)) if count <= _MOST_NAMES else 0
    margin = 0.5 + min(0.075 * longest, 2.5)
    figure = new_figure(side + margin + 0.3, side + margin + 0.7, "Labels (rows), predictions (columns)")
    width, height = figure.get_size_inches()
    axes = figure.add_axes((margin / width, margin / height, side / width, side / height))
    totals = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(totals, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set(xticks=[], yticks=[])
    if count <= _MOST_NAMES:
        shown = [name if len(name) <= 32 else name[:31] + "…" for name in names]
        axes.set_xticks(range(count), shown, rotation=90, size=8)
        axes.set_yticks(range(count), shown, size=8)
    if count <= _MOST_NUMBERS:
        for row, column in np.argwhere(confusion > 0):
            color = "white" if shares[row, column] > 0.5 else INK
            text = str(confusion[row, column])
            axes.text(column, row, text, ha="center", va="center", size=7.5, color=color)
    save(figure, path)


def draw_mistakes(
    mistakes: Sequence[tuple[np.ndarray, str, str, float]], path: str | pathlib.Path, *, title: str
) -> None:
    """Draws images [H, W, 3] of 0 to 1 with their label, what they were taken for, and how surely; surest first."""
    rows = -(-len(mistakes) // _COLUMNS)
    width, height = _COLUMNS * (_CELL + 0.15) + 0.15, rows * (_CELL + 0.5) + 0.6
    figure = new_figure(width, height, title)
    for index, (image, label, predicted, probability) in enumerate(mistakes):
        row, column = divmod(index, _COLUMNS)
        left, top = 0.15 + column * (_CELL + 0.15), 0.5 + row * (_CELL + 0.5)
        axes = axes_at(figure, left, top, _CELL, _CELL)
        axes.imshow(image)
        axes.set_axis_off()
        below = 1 - (top + _CELL + 0.05) / height
        figure.text(left / width, below, f"is {label[:30]}", size=8, color=QUIET, va="top")
        taken = f"taken for {predicted[:24]} {probability:.0%}"
        figure.text(left / width, below - 0.16 / height, taken, size=8, color=INK, va="top")
    save(figure, path)
