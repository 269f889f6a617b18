"""A page that needs nothing but itself: HTML with its style and its pictures (SVG) inside, readable on a phone."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from autonl_tf.pictures import palette

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
.closed{color:var(--closed)}.open{color:var(--open)}
pre{background:var(--shade);border-radius:6px;padding:10px;font-size:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}
summary{cursor:pointer;color:var(--blue)}
"""


def escape(text: object) -> str:
    return html.escape(str(text))


def page(title: str, *sections: str) -> str:
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


def figures(drawn: Mapping[str, str]) -> str:
    """Pictures (SVG) with their titles, beside each other where the screen is wide enough."""
    shown = "".join(
        f'<figure role="img" aria-label="{escape(title)}"><figcaption>{escape(title)}</figcaption>{picture}</figure>'
        for title, picture in drawn.items()
    )
    return f'<div class="charts">{shown}</div>'
