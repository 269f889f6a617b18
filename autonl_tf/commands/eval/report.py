"""`--output` of `--mode=eval`: what the network gets wrong, as tables and pictures."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from autonl_tf.arch.spec import Normalization
from autonl_tf.commands.eval.flags import HEADING
from autonl_tf.data.images import displayable
from autonl_tf.engine.class_report import ClassReport, class_report
from autonl_tf.files import in_place
from autonl_tf.pictures.mistakes import draw_confusion, draw_mistakes
from autonl_tf.plain_text import write_table


def write_report(
    directory: str, model, batches: Iterable, names: Sequence[str], normalization: Normalization
) -> ClassReport:
    """Evaluates once more, on one device, and writes classes.csv (a row a class, the worst first), confusion.csv and
    .png, and mistakes.png (where there is one)."""
    report = class_report(model, batches, len(names))
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    order = np.argsort(np.nan_to_num(report.accuracy, nan=2.0), kind="stable")
    _write(directory / "classes.csv", [HEADING, *(_row(report, int(label), names) for label in order)])
    counts = zip(names, report.confusion.tolist(), strict=True)
    _write(directory / "confusion.csv", [("label \\ prediction", *names), *((name, *row) for name, row in counts)])
    draw_confusion(report.confusion, names, directory / "confusion.png")
    shown = [
        (displayable(found.image, normalization), names[found.label], names[found.predicted], found.probability)
        for found in report.mistakes
    ]
    if shown:
        draw_mistakes(shown, directory / "mistakes.png", title="The surest mistakes")
    else:
        (directory / "mistakes.png").unlink(missing_ok=True)
    return report


def _row(report: ClassReport, label: int, names: Sequence[str]) -> tuple:
    taken = report.taken_for(label)
    return (
        names[label],
        int(report.counts[label]),
        _number(report.accuracy[label]),
        _number(report.precision[label]),
        names[taken[0]] if taken else "",
        taken[1] if taken else 0,
    )


def _number(share: float) -> str:
    return "" if np.isnan(share) else f"{share:.6f}"


def _write(path: pathlib.Path, rows: Iterable[Sequence]) -> None:
    with in_place(path) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        write_table(file, rows)
