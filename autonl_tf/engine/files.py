"""Small text files written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

from autonl_tf.errors import UserError
from autonl_tf.files import write_text
from autonl_tf.strict_json import plain


class KeptDirectory:
    """A directory that is written to for long: recognised by more than its name, which another may have by then."""

    def __init__(self, directory: str | Path):
        self.path = Path(directory)
        self._identity = self._now()

    def _now(self) -> tuple[int, int] | None:
        try:
            stat = os.stat(self.path)
        except FileNotFoundError:
            return None
        return stat.st_dev, stat.st_ino

    def check(self, lost: str) -> None:
        """Raises UserError, which says what is `lost`, where the directory is gone or another one is in its place."""
        if self._identity is not None and self._now() != self._identity:
            raise UserError(
                f"{self.path}: was moved away or replaced while this run wrote to it: {lost}; move it back, and "
                "the same command goes on from what is saved there"
            )


def write_json(path: str | Path, value) -> None:
    """Writes `value` as JSON, with `strict_json.plain` for what JSON lacks."""
    write_text(path, json.dumps(plain(value), indent=2, sort_keys=True, allow_nan=False) + "\n")


def json_line(value) -> str:
    """`value` as one line of JSON, with `strict_json.plain` for what JSON lacks."""
    return json.dumps(plain(value), allow_nan=False)
