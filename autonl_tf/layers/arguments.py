"""Checks of arguments of layers and of the Keras API: each raises ValueError with the argument and what is accepted, or
returns the argument."""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence

NO_CHANNELS_FIRST = "TensorFlow on processors and TFLite have no convolutions of channels that come first"


def text(name: str, value: str | os.PathLike, accepted: str) -> str:
    """A text, or a path, that is not blank."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}={value!r}: accepted: {accepted}")
    return value


def feature_map(what: str, shape: Sequence[int | None]) -> tuple[int, int, int]:
    """Height, width and channels of [B, H, W, C], all known."""
    if len(shape) != 4 or None in (sides := tuple(shape[1:])):
        raise ValueError(f"{what} needs a static height, width and channels, [B, H, W, C]; got {tuple(shape)}")
    return sides


def whole(what: str, name: str, value: int, least: int = 1) -> int:
    if not _is_whole(value, least):
        raise ValueError(f"{what}: {name}={value!r}: accepted: a whole number from {least} on")
    return int(value)


def ascending(what: str, name: str, values: Sequence[int]) -> tuple[int, ...]:
    if not _is_ascending(values):
        raise ValueError(f"{what}: {name}={values!r}: accepted: whole numbers from 1 on, ascending")
    return tuple(map(int, values))


def descending_to_one(what: str, name: str, values: Sequence[int]) -> tuple[int, ...]:
    if not _is_ascending(values[::-1] if isinstance(values, Sequence) else values) or values[-1] != 1:
        raise ValueError(f"{what}: {name}={values!r}: accepted: whole numbers, descending to 1")
    return tuple(map(int, values))


def share(what: str, name: str, value: float) -> float:
    """A number above 0, at most 1."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 < value <= 1:
        raise ValueError(f"{what}: {name}={value!r}: accepted: a number above 0, at most 1")
    return float(value)


def below_one(what: str, name: str, value: float) -> float:
    """A number from 0 to below 1."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 <= value < 1:
        raise ValueError(f"{what}: {name}={value!r}: accepted: a number from 0 to below 1")
    return value


def one_of(what: str, name: str, value: str, accepted: Sequence[str]) -> str:
    if value not in accepted:
        raise ValueError(f"{what}: {name}={value!r}: accepted: {', '.join(map(repr, accepted))}")
    return value


def _is_ascending(values: object) -> bool:
    """At least one whole number, from 1 on, each larger than the one before."""
    if not isinstance(values, Sequence) or not values or not all(_is_whole(value, 1) for value in values):
        return False
    return list(values) == sorted(set(values))


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= least
