"""Values for strict JSON, which has no NaN and no infinities, and no bytes of a file's name that are not text."""

from __future__ import annotations

import math
from collections.abc import Mapping

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
