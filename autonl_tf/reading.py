"""Files that others may have written, read whole: regular files, up to a stated size, JSON by a declared type."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from pathlib import Path
from typing import TypeVar

import msgspec

from autonl_tf.errors import UserError

T = TypeVar("T")

# Bytes of a text. A block, an option or a flag a line; a class, a piece or a step a line or an entry.
MOST_SHORT, MOST_LONG = 1 << 20, 1 << 28


class Unreadable(UserError):
    """A file that cannot be read as what it should be: `reason` is the message without the file's name."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def read_text(path: str | Path, most: int = MOST_SHORT) -> str:
    """A regular file as UTF-8 text, line ends as \\n.

    Raises:
      Unreadable: it is not there, is no regular file (a pipe or a device never ends), has more than `most` bytes, or
        is not UTF-8 text.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable(path, "Is a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file")
        if status.st_size > most:
            raise Unreadable(path, f"has {status.st_size} bytes; accepted: at most {most}")
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Unreadable(path, error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise Unreadable(path, "not a text file (not UTF-8)") from None
    except ValueError:  # a zero byte in the name
        raise Unreadable(repr(str(path)), "not the name of a file") from None


def read_ends(path: str | Path, first: int, last: int = 0) -> tuple[bytes, bytes]:
    """The first and the last so many bytes of a regular file, as many as there are.

    Raises:
      FileNotFoundError: it is not there.
      Unreadable: it is no regular file, or cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unreadable(path, "not a regular file")
        with open(path, "rb") as file:
            start = file.read(first)
            file.seek(max(0, file.seek(0, os.SEEK_END) - last))
            return start, file.read(last)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(path, error.strerror or str(error)) from None


def _check_keys(path: str | Path, text: str) -> None:
    """Raises Unreadable for a key that an object has twice, of which readers take one without a word; ValueError for
    what is not JSON."""

    def unique(pairs: list[tuple[str, object]]) -> None:
        key, count = next(iter(Counter(key for key, _ in pairs).most_common(1)), ("", 0))
        if count > 1:
            raise Unreadable(path, f"an object has the key {key!r} twice")

    json.loads(text, object_pairs_hook=unique)


def read_json(path: str | Path, kind: type[T], most: int = MOST_LONG, *, what: str = "what it should be") -> T:
    """A JSON file as `kind`, every value checked by its declared type; entries that are not declared are left out. With
    `object` all is left as it is, to be checked by the caller.

    Raises:
      Unreadable: as `read_text`; not JSON; with `object`, a key that is there twice; or a value that is missing, of
        another type or out of its bounds, which the message names.
    """
    text = read_text(path, most)
    try:
        if kind is object:  # written by hand
            _check_keys(path, text)
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise Unreadable(path, f"not {what}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise Unreadable(path, f"not JSON: {error}") from None
