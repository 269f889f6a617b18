"""A page that needs nothing but itself: HTML with its style and its charts (SVG) inside, readable on a phone."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Sequence

from autonl_tf.pictures import palette
from autonl_tf.pictures.canvas import round_values
from autonl_tf.pictures.palette import GRID, INK, LINES, NOTE, PHASES, QUIET, margin_color

# What the style calls them: --ink and so on.
_COLORS = ("INK", "NOTE", "QUIET", "SHADE", "RULE", "VERMILION", "GREEN", "BLUE", "OPEN", "CLOSED", "WARNING", "GOOD")
_VARIABLES = "".join(f"--{name.lower()}:{getattr(palette, name)};" for name in _COLORS)
_STYLE = """
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:16px;font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:#fff}
h1{font-size:1.35rem;margin:.2rem 0 .6rem;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:1.8rem 0 .5rem}
.facts{display:flex;flex-wrap:wrap;gap:8px}
.fact{background:var(--shade);border-radius:6px;padding:6px 12px;min-width:104px}
.fact b{display:block;font-size:1.12rem}.fact span,.quiet{color:var(--note);font-size:.84rem}
.warn{background:var(--warning);border-left:4px solid var(--vermilion);padding:8px 12px;margin:10px 0}
.good{background:var(--good);border-left:4px solid var(--green);padding:8px 12px;margin:10px 0}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr));gap:12px 20px}
figure{margin:0}figcaption{font-size:.88rem;font-weight:600;margin-bottom:2px}svg{display:block;width:100%;height:auto}
.net{display:grid;grid-template-columns:auto 1.4fr auto;gap:3px 10px;align-items:center}
.net .box{display:flex;gap:3px 6px;align-items:center;font-size:.82rem;flex-wrap:wrap}
.track{flex:none;width:160px;height:11px}.track i{display:block;height:100%;border-radius:2px;background:var(--quiet)}
.box .track{height:15px}.box .track i{border-radius:4px}.calls td+td,.calls th+th{white-space:nowrap}
.chip{border-radius:4px;padding:0 5px;white-space:nowrap;font-size:.8rem}
.macs{display:flex;align-items:center;gap:6px;font-size:.8rem;white-space:nowrap}
@media(max-width:700px){.track{width:56px}.box .track{width:64px}}
.dropped{color:var(--quiet);font-style:italic;font-size:.84rem}.num{text-align:right;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;font-size:.88rem;width:100%}
td,th{padding:3px 8px 3px 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{color:var(--note);font-weight:600;border-bottom:1px solid var(--rule)}
td{border-bottom:1px solid var(--shade)}td:first-child,th:first-child{overflow-wrap:break-word}
.calls td:first-child{overflow-wrap:anywhere}
.gates{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(330px,100%),1fr));gap:2px 26px}
.gate{display:grid;grid-template-columns:minmax(0,170px) minmax(60px,1fr) 52px;gap:6px;align-items:center}
.gate{font-size:.8rem}.gate span{overflow-wrap:anywhere}
.gate svg{height:15px}.closed{color:var(--closed)}.open{color:var(--open)}.faint{opacity:.45}
pre{background:var(--shade);border-radius:6px;padding:10px;font-size:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}
summary{cursor:pointer;color:var(--blue)}
"""


def escape(text: object) -> str:
    return html.escape(str(text))


def page(title: str, *sections: str) -> str:
    """A whole document."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{escape(title)}</title>'
        f"<style>:root{{color-scheme:light;{_VARIABLES}}}{_STYLE}</style></head><body><h1>{escape(title)}</h1>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def facts(items: Sequence[tuple[str, str]]) -> str:
    """Boxes of (name, value)."""
    boxes = "".join(
        f'<div class="fact"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in items
    )
    return f'<div class="facts">{boxes}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of escaped cells."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>"


def commands(lines: Sequence[str]) -> str:
    return "".join(f"<pre>{escape(line)}</pre>" for line in lines)


_WIDTH, _HEIGHT, _RIGHT, _TOP, _BOTTOM = 360, 170, 10, 8, 22
_UNITS = {"G": 1e9, "M": 1e6, "k": 1e3}
_DIGIT = 7  # as wide as one is in any sans serif


def chart(
    title: str,
    series: Sequence[tuple[Sequence[float], Sequence[float]]],
    *,
    last_step: float,
    bounds: Sequence[float] = (),
    levels: Sequence[tuple[float, str]] = (),
    logarithmic: bool = False,
    names: Sequence[str] = (),
) -> str:
    """A line chart over steps, as wide as its column, with text that stays readable on a phone.

    Args:
      series: pairs (steps, values); values that are not finite leave gaps.
      last_step: right end of the axis.
      bounds: steps at which phases begin, shaded: the end of the warm-up, the start of settling.
      levels: horizontal lines (value, text), the highest first; the others' texts are below their lines.
      logarithmic: the axis of the values; values are above 0.
      names: of the series, where there are several.
    """
    scale = math.log if logarithmic else float
    finite = [v for _, values in series for v in values if v is not None and math.isfinite(v)]
    finite += [value for value, _ in levels]
    if not finite:
        return f"<figure><figcaption>{escape(title)}</figcaption><p class=quiet>no values</p></figure>"
    low, high = scale(min(finite)), scale(max(finite))
    pad = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    low, high = low - pad, high + pad

    ends = [math.exp(end) if logarithmic else end for end in (low, high)]
    labels = _labels(round_values(*ends, logarithmic=logarithmic))
    left = 12 + _DIGIT * max(4, *map(len, labels.values()))

    def x(step: float) -> float:
        return left + (_WIDTH - left - _RIGHT) * step / max(last_step, 1)

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - (scale(value) - low) / (high - low))

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}" font-size="10.5">']
    edges = [0, *bounds, last_step] if bounds else []
    for (start, stop), (_, _, color, opacity) in zip(itertools.pairwise(edges), PHASES, strict=False):
        parts.append(
            f'<rect x="{x(start):.1f}" y="{_TOP}" width="{max(x(stop) - x(start), 0):.1f}" '
            f'height="{_HEIGHT - _TOP - _BOTTOM}" fill="{color}" fill-opacity="{opacity}"/>'
        )
    for value, label in labels.items():
        parts.append(
            f'<line x1="{left}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="{GRID}"/>'
            f'<text x="{left - 4}" y="{y(value) + 3.5:.1f}" text-anchor="end" fill="{INK}">{label}</text>'
        )
    for number, (value, text) in enumerate(levels):
        at = y(value) + (11 if number else -3)
        parts.append(
            f'<line x1="{left}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="{QUIET}" '
            f'stroke-dasharray="4 3"/><text x="{left + 4}" y="{at:.1f}" fill="{NOTE}">{escape(text)}</text>'
        )
    for number, (steps, values) in enumerate(series):
        color = LINES[number % len(LINES)]
        for run in _runs(steps, values):
            points = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in run)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.8"/>')
        if names:
            parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_TOP + 12 + 13 * number}" text-anchor="end" fill="{color}">')
            parts.append(f"{escape(names[number])}</text>")
    for step in (0, last_step):
        anchor = "start" if step == 0 else "end"
        parts.append(f'<text x="{x(step):.1f}" y="{_HEIGHT - 7}" text-anchor="{anchor}" fill="{NOTE}">{step:g}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 7}" text-anchor="middle" fill="{NOTE}">step</text></svg>')
    return f"<figure><figcaption>{escape(title)}</figcaption>{''.join(parts)}</figure>"


def _runs(steps: Sequence[float], values: Sequence[float]) -> list[list[tuple[float, float]]]:
    """The stretches of finite values; a lone point is drawn as a short dash."""
    runs: list[list[tuple[float, float]]] = [[]]
    for step, value in zip(steps, values, strict=True):
        if value is None or not math.isfinite(value):
            runs.append([])
        else:
            runs[-1].append((step, value))
    return [run if len(run) > 1 else [run[0], (run[0][0] + 1e-3, run[0][1])] for run in runs if run]


def strip(values: Sequence[float], limit: float) -> str:
    """How a margin went over time, left to right: purple open, orange closed, pale near 0."""
    width = 100 / max(len(values), 1)
    cells = "".join(
        f'<rect x="{number * width:.2f}" width="{width + 0.15:.2f}" height="10" fill="{margin_color(value / limit)}"/>'
        for number, value in enumerate(values)
        if value is not None and math.isfinite(value)
    )
    return f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" shape-rendering="crispEdges" role="img">{cells}</svg>'


def _labels(values: Sequence[float]) -> dict[float, str]:
    """The text at each value of an axis, with the digits that all of them need to be where their text says."""
    for digits in range(3, 16):
        texts = {value: short(value, digits) for value in values}
        if all(math.isclose(_read(text), value, rel_tol=1e-9, abs_tol=1e-15) for value, text in texts.items()):
            break
    return texts


def _read(text: str) -> float:
    return float(text.rstrip("GMk")) * _UNITS.get(text[-1], 1.0)


def short(value: float, digits: int = 3) -> str:
    """Some digits and a unit: 12.3M, 350k, 0.41."""
    for unit, size in _UNITS.items():
        if abs(value) >= (1 - 0.5 * 10**-digits) * size:
            return f"{value / size:.{digits}g}{unit}"
    return f"{value:.{digits}g}" if abs(value) >= 1e-3 or not value else f"{value:.{digits - 1}g}"
