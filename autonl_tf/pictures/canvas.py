"""What every picture shares: a figure with a title, plain axes, numbers as text, and how it is written."""

from __future__ import annotations

import io
import logging
import math
import pathlib
import warnings
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from autonl_tf.files import in_place
from autonl_tf.pictures import SOFTWARE
from autonl_tf.pictures.palette import GRID, INK, QUIET

DPI = 120
_NO_SIGN = ".*missing from font"  # of a warning
_log = logging.getLogger(__name__)
_UNITS = {"G": 1e9, "M": 1e6, "k": 1e3}


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure, sides in inches, with its title at the top left, shortened to the width."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    said = shortened(title, width / 0.115)
    figure.text(0.15 / width, 1 - 0.12 / height, said, ha="left", va="top", size=13, weight="bold", color=INK)
    return figure


def shortened(text: str, most: float) -> str:
    """A text of at most so many characters: of a longer one the beginning and the end."""
    half = max(int(most - 3) // 2, 1)
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"


def new_sheet(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure, and axes without marks over all of it, in inches from its top left."""
    figure = new_figure(width, height, title)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes of a size and at a place in inches from the figure's top left."""
    across, down = figure.get_size_inches()
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def plain_axes(axes: Axes, ylabel: str, color: str = INK) -> None:
    """No box, a light grid, and the name of the value above the axis, where it is read upright."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=8.5, length=3)
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_title(ylabel, loc="left", size=9.5, color=color, pad=6)


def round_values(low: float, high: float, *, logarithmic: bool) -> list[float]:
    """About three to five round numbers between two limits, evenly spread on the scale."""
    if not logarithmic or high < 5 * low:
        return [
            float(value) for value in MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= value <= high
        ]
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for digits in ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), np.arange(1, 10, 0.2)):
        values = [float(digit) * 10.0**decade for decade in decades for digit in digits]
        values = [float(f"{value:.6g}") for value in values if low <= value <= high]
        if len(values) >= 3:
            return values[:: max(1, len(values) // 5)]
    return [float(f"{low:.3g}"), float(f"{high:.3g}")]


def short(value: float, digits: int = 3) -> str:
    """Some digits and a unit: 12.3M, 350k, 0.41."""
    for unit, size in _UNITS.items():
        if abs(value) >= (1 - 0.5 * 10**-digits) * size:
            return f"{value / size:.{digits}g}{unit}"
    return f"{value:.{digits}g}" if abs(value) >= 1e-3 or not value else f"{value:.{digits - 1}g}"


def labels(values: Sequence[float]) -> list[str]:
    """The text at each value of an axis, with the digits that all of them need to be where their text says."""
    for digits in range(3, 16):
        texts = [short(value, digits) for value in values]
        if all(
            math.isclose(_read(text), of, rel_tol=1e-9, abs_tol=1e-15) for text, of in zip(texts, values, strict=True)
        ):
            break
    return texts


def _read(text: str) -> float:
    return float(text.rstrip("GMk")) * _UNITS.get(text[-1], 1.0)


def column(records: Sequence[dict], name: str) -> list[float]:
    """One value of every record; not-a-number where a record has none."""
    values = [record.get(name) for record in records]
    return [math.nan if value is None else float(value) for value in values]


def svg(figure: Figure) -> str:
    """The figure as an SVG element for a page, its text as text."""
    _take_literally(figure)
    options = {"svg.fonttype": "none", "svg.hashsalt": "autonl"}
    with warnings.catch_warnings(), matplotlib.rc_context(options), io.StringIO() as file:
        warnings.filterwarnings("ignore", _NO_SIGN)  # a page takes the reader's fonts
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        drawn = file.getvalue()
    return drawn[drawn.index("<svg") :]


def save(figure: Figure, path: str | pathlib.Path) -> None:
    _take_literally(figure)
    with warnings.catch_warnings(record=True) as lacking, in_place(path) as aside:
        warnings.filterwarnings("always", _NO_SIGN)
        figure.savefig(aside, format="png", metadata={"Software": SOFTWARE})
    if lacking:
        _log.warning("%s: the font lacks signs of some names, which are boxes there", path)


def _take_literally(figure: Figure) -> None:
    """No text is read as a formula: names of classes, files and runs may have dollars in them."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
