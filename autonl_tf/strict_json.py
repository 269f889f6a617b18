"""What JSON has not: NaN and the infinities, and the bytes of a file's name that are no text."""

from __future__ import annotations

import math
from collections.abc import Mapping


def plain(value):
    """The same with None for every float that is not finite, \\udcXX for a byte that is no text, lists for tuples."""
    if isinstance(value, Mapping):
        return {plain(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value
