"""Numbers that JSON has not: NaN and the infinities."""

from __future__ import annotations

import math
from collections.abc import Mapping


def finite(value):
    """The same with None for every float that is not finite, within mappings and sequences too."""
    if isinstance(value, Mapping):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
