"""Text that people read: no name of a file or class in it moves a terminal's cursor or runs in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

CLEAR_LINE = "\r\033[K"  # what the progress line itself begins with, in a write of its own

# Control characters but tab and line feed, line separators, and marks that turn the direction of text.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # the last four: full-width forms


def plain(text: str) -> str:
    """`text` with unseen characters written as escapes, \\x1b."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown(path: str) -> str:
    """A file's name as text that can be written: bytes in it that are not UTF-8 as \\udcXX."""
    return path.encode(errors="backslashreplace").decode()


def in_a_line(path: str | Path) -> str:
    """As `shown`, line feeds as \\n too, where a reader expects a line for each file."""
    return shown(str(path)).replace("\n", "\\n")


class PlainText(io.TextIOWrapper):
    """A stream for a terminal: what is written is `plain`."""

    def write(self, text: str) -> int:
        return super().write(text if text == CLEAR_LINE else plain(text))


def write_table(file: TextIO, rows: Iterable[Sequence]) -> None:
    """Writes rows as CSV; text that a spreadsheet would run as a formula follows an apostrophe."""
    csv.writer(file).writerows([_cell(cell) for cell in row] for row in rows)


def _cell(cell):
    if not isinstance(cell, str) or not cell.strip().startswith(_FORMULA):
        return cell
    try:
        float(cell)  # a number is not a formula
    except ValueError:
        return f"'{cell}"
    return cell
