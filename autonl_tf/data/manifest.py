"""What a run began with, file by file: that no image has changed, moved or gone since, and which need no second check.

A manifest is text: a line of JSON that says how images were checked and holds a digest of the rest, then a line a
file, [split, name, bytes, time of change in nanoseconds, class, fault]. The fault is "" for an image that was found
good, null for one that was not looked at. Names are relative to the data's directory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from autonl_tf.errors import UserError, listed

NAME = "manifest.jsonl"
_FORMAT = 1
_NAMED = 3  # at most so many files that differ are listed


class Entry(NamedTuple):
    """A file of the data; `time` is 0 and `label` "" where the file is of records."""

    split: str
    name: str
    size: int
    time: int
    label: str
    fault: str | None = None


class Manifest(NamedTuple):
    """The files, and `checked`: what the finding of faults depends on."""

    entries: tuple[Entry, ...]
    checked: dict[str, Any]

    def text(self) -> str:
        body = "".join(json.dumps(entry) + "\n" for entry in self.entries)
        head = {"format": _FORMAT, "digest": _sha256(body), "checked": self.checked}
        return json.dumps(head) + "\n" + body

    def faults(self, checked: dict[str, Any]) -> dict[tuple[str, int, int], str]:
        """(name, size, time) -> fault of the images that were looked at, if that was done as it would be done now."""
        if checked != self.checked:
            return {}
        return {(e.name, e.size, e.time): e.fault for e in self.entries if e.fault is not None}


def parse(text: str) -> Manifest:
    """Reads what `Manifest.text` wrote.

    Raises:
      ValueError: one byte of it is another.
    """
    head, _, body = text.partition("\n")
    try:
        said = json.loads(head)
        if said["format"] != _FORMAT or said["digest"] != _sha256(body):
            raise ValueError("its digest is not that of its lines")
        rows = json.loads(f"[{','.join(body.splitlines())}]")
        return Manifest(tuple(Entry(*row) for row in rows), said["checked"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("not a manifest") from error


def read(directory: str | None) -> Manifest | None:
    """The manifest of a run directory; None where there is none.

    Raises:
      OSError, ValueError: it cannot be read, or is damaged.
    """
    path = Path(directory or "", NAME)
    return parse(path.read_text(encoding="utf-8")) if directory and path.is_file() else None


def check_same(where: str, before: Sequence[Entry], now: Sequence[Entry]) -> None:
    """Raises UserError where a run that goes on in the directory `where` began with other files."""
    if told := changes(before, now):
        raise UserError(
            f"{where}: its images are not those it began with: {told}; put them back, or choose another --model_dir"
        )


def digest(entries: Iterable[Entry]) -> str:
    """SHA-256 over names, sizes and classes."""
    return _sha256("".join(sorted(json.dumps((e.split, e.name, e.size, e.label)) + "\n" for e in entries)))


def changes(before: Sequence[Entry], now: Sequence[Entry]) -> str | None:
    """What names, sizes and classes say has changed, in a line, or None."""
    old, new = ({(e.split, e.name): e for e in entries} for entries in (before, now))
    gone = [old[key] for key in old if key not in new]
    come = {key: new[key] for key in new if key not in old}
    alike = {(e.name.rpartition("/")[2], e.size): e for e in come.values()}
    moved = {}
    for entry in gone:
        if to := alike.pop((entry.name.rpartition("/")[2], entry.size), None):
            moved[entry] = f"{_shown(entry)} to {_shown(to)}"
            del come[to.split, to.name]
    both = [(old[key], new[key]) for key in old if key in new]
    found = {
        "moved": list(moved.values()),
        "removed": [_shown(entry) for entry in gone if entry not in moved],
        "added": [_shown(entry) for entry in come.values()],
        "of another size": [_shown(e) for o, e in both if o.size != e.size],
        "of another class": [f"{_shown(o)} ({e.label}, was {o.label})" for o, e in both if o.label != e.label],
    }
    told = [f"{len(names)} {what} ({listed(names, _NAMED)})" for what, names in found.items() if names]
    return "; ".join(told) or None


def _shown(entry: Entry) -> str:
    return f"{entry.name} of {entry.split}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
