"""How a flag is defined: as a field of a frozen dataclass, with its help, bounds and the modes that read it."""

from __future__ import annotations

import dataclasses


def flag(define, default, text, *, modes, **bounds):
    """A dataclass field that is a flag: how absl defines it, its help, and the modes that read it."""
    return dataclasses.field(
        default=default, metadata={"define": define, "help": text, "modes": frozenset(modes), "bounds": bounds}
    )
