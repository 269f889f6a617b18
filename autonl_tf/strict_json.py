"""Values for strict JSON, which has no NaN and no infinities, and no bytes of a file's name that are not text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from autonl_tf.files import write_text
from autonl_tf.plain_text import shown


def plain(value):
    """The same with None for every float that is not finite, \\udcXX for a byte that is no text, lists for tuples."""
    if isinstance(value, Mapping):
        return {plain(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, str):
        return shown(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_line(value) -> str:
    """`value` as one line of JSON, `plain`."""
    return json.dumps(plain(value), allow_nan=False)


def write_json(path: str | Path, value) -> None:
    """Writes `value` as JSON, `plain`, to a file."""
    write_text(path, json.dumps(plain(value), indent=2, sort_keys=True, allow_nan=False) + "\n")
