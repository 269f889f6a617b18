"""A training run's progress: loss, top-1 and learning rate over the epochs."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from autonl_tf.errors import UserError
from autonl_tf.pictures.canvas import column, new_figure, plain_axes, save
from autonl_tf.pictures.palette import BLUE, GREEN, INK, VERMILION

_WIDTH, _HEIGHT = 11.0, 6.6  # inches


def draw_training(records: Sequence[dict], path: str | pathlib.Path, *, validation: Sequence[dict] = ()) -> None:
    """Draws loss, top-1 in training and validation, and learning rate over the epochs into a PNG file.

    Args:
      records: training records in order, each with `epoch` and some of loss, top1 (a share), learning_rate: means since
        the one before, drawn between the two; those of short windows, as before an evaluation, are left out.
      validation: validation records in order, each with `epoch` and some of loss and top1.

    Raises:
      UserError: no training records.
    """
    if not records:
        raise UserError(f"{path}: no training records, so there is nothing to draw")
    scored = zip(validation, np.isfinite(column(validation, "top1")), strict=True)
    best = max((record for record, known in scored if known), key=lambda record: record["top1"], default=None)
    last = max(float(record["epoch"]) for record in (*records, *validation))
    records = _windows(records)
    title = "Training"
    if best is not None:
        title += f": best validation top-1 {100 * best['top1']:.2f}% at epoch {round(best['epoch'], 2):g}"
    figure = new_figure(_WIDTH, _HEIGHT, title)
    figure.subplots_adjust(left=0.07, right=0.87, top=0.88, bottom=0.085, hspace=0.42)
    axes = figure.subplots(3, sharex=True, height_ratios=(3, 3, 1.3))
    plain_axes(axes[0], "loss")
    plain_axes(axes[1], "top-1, %")
    plain_axes(axes[2], "learning rate")
    for axis, name, scale in ((axes[0], "loss", 1), (axes[1], "top1", 100)):
        lines = [_line(axis, records, name, scale, VERMILION, "training")]
        lines.append(_line(axis, validation, name, scale, BLUE, "validation"))
        if name == "loss":
            _bound(axis, column(records, name))
        _name_lines(axis, [line for line in lines if line])
    _line(axes[2], records, "learning_rate", 1, GREEN, "")
    axes[2].set_ylim(bottom=0)
    if best is not None:
        axes[1].plot(best["epoch"], 100 * best["top1"], marker="o", markersize=8, mfc="none", mec=BLUE, mew=1.5)
    axes[2].set_xlim(0, last or 1)
    axes[2].set_xlabel("epoch", size=9.5, color=INK)
    save(figure, path)


def _windows(records: Sequence[dict]) -> list[dict]:
    """The records with the middles of their windows as epochs, without the windows that are shorter than most."""
    ends = np.array([0.0, *column(records, "epoch")])
    widths = np.diff(ends)
    rows = zip(records, ends[:-1] + widths / 2, widths >= np.median(widths) / 2, strict=True)
    return [{**record, "epoch": middle} for record, middle, long in rows if long]


def _bound(axes: Axes, losses: list[float]) -> None:
    """Keeps the curves readable: a start gone wrong, or averages evaluated early, may lose many times the rest."""
    finite = np.array(losses)[np.isfinite(losses)]
    if not finite.size:
        return
    highest = min(finite.max(), 5 * np.median(finite))
    if highest > 0 and axes.get_ylim()[1] > 1.5 * highest:
        axes.set_ylim(0, 1.5 * highest)


def _line(
    axes: Axes, records: Sequence[dict], name: str, scale: float, color: str, label: str
) -> tuple[float, str, str] | None:
    """Draws one curve; returns its last value, colour and label, or None where there is nothing to draw."""
    values = scale * np.array(column(records, name))
    seen = np.isfinite(values)
    if not seen.any():
        return None
    epochs = np.array(column(records, "epoch"))[seen]
    values = values[seen]
    axes.plot(epochs, values, color=color, linewidth=1.6, marker="o" if len(values) < 30 else None, markersize=3)
    return float(values[-1]), color, f"{label} {values[-1]:.3g}"


def _name_lines(axes: Axes, lines: list[tuple[float, str, str]]) -> None:
    """Writes each curve's name and last value at its right end, apart where the ends are close."""
    low, high = axes.get_ylim()
    at = [min(max((value - low) / (high - low), 0.0), 1.0) for value, _, _ in lines]
    if len(at) == 2 and abs(at[0] - at[1]) < 0.13:
        middle, half = sum(at) / 2, 0.065 if at[0] >= at[1] else -0.065
        at = [middle + half, middle - half]
    for y, (_, color, label) in zip(at, lines, strict=True):
        axes.text(1.01, y, label, transform=axes.transAxes, va="center", size=8.5, color=color)
