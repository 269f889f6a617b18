"""How a flag is defined: as a field of a frozen dataclass, with its help, bounds and the modes that read it."""

from __future__ import annotations

import dataclasses
import re

from absl import flags


def flag(define, default, text, *, modes, **bounds):
    """A dataclass field that is a flag: how absl defines it, its help, and the modes that read it."""
    return dataclasses.field(
        default=default, metadata={"define": define, "help": text, "modes": frozenset(modes), "bounds": bounds}
    )


class _AmountParser(flags.ArgumentParser):
    """A positive number, as 350e6, 350M, 0.35G or 350000k."""

    syntactic_help = "a number such as 350e6 or 350M"

    def parse(self, argument) -> float:
        found = re.fullmatch(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)([kMG]?)", str(argument).strip())
        try:
            value = float(found[1]) * {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]] if found else 0.0
        except ValueError:
            value = 0.0
        if not value > 0:
            raise ValueError("accepted: a positive number such as 350e6 or 350M")
        return value


class _AmountSerializer(flags.ArgumentSerializer):
    def serialize(self, value) -> str:
        return f"{value:.12g}"


def define_amount(name, default, *, help, flag_values):
    """An absl flag that takes 350M as well as 350e6; None or a float."""
    flags.DEFINE(_AmountParser(), name, default, help=help, flag_values=flag_values, serializer=_AmountSerializer())
