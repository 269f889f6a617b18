"""A file's arrays into a model's variables: all of them or none, what does not fit listed by name and shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from autonl_tf.errors import UserError, listed

_LISTED = 20


@dataclasses.dataclass(frozen=True)
class Stored:
    """One set of weights of a file, under our variables' names. Nothing is read before the shapes are known to fit.

    Attributes:
      shapes: our variable's name -> the shape of its array.
      read: gives the array of one of those names.
      unexpected: what else the file holds, by its names there -> shapes.
      mismatched: what else is at odds, in words.
      label: our variable's name -> its name in the file, for messages.
    """

    where: str
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]
    unexpected: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    mismatched: Sequence[str] = ()
    label: Callable[[str], str] = str


def of_arrays(where: str, arrays: Mapping[str, np.ndarray], **more) -> Stored:
    """Arrays by our variables' names; `more` are other fields."""
    return Stored(where, {name: np.shape(array) for name, array in arrays.items()}, arrays.__getitem__, **more)


def of_reader(where: str, reader, keys: Mapping[str, str], **more) -> Stored:
    """What a reader of `tf.train.load_checkpoint` has, by `keys` of our names and its own; `more` are other fields."""
    shapes = reader.get_variable_to_shape_map()
    found = {name: tuple(shapes[key]) for name, key in keys.items()}
    return Stored(where, found, lambda name: reader.get_tensor(keys[name]), **more)


def assign(variables: Mapping[str, tf.Variable], stored: Stored) -> None:
    """Gives every variable the array of its name. The variables are unchanged if anything does not fit.

    Raises:
      UserError: lists what is missing, unexpected and mismatched; or names arrays of another type or not finite.
    """
    missing = {stored.label(name): shape_of(v) for name, v in variables.items() if name not in stored.shapes}
    unexpected = {stored.label(name): shape for name, shape in stored.shapes.items() if name not in variables}
    mismatched = [
        f"{stored.label(name)} (checkpoint {shape}, network {shape_of(variables[name])})"
        for name, shape in stored.shapes.items()
        if name in variables and shape != shape_of(variables[name])
    ]
    kinds = {
        "missing": _shown(missing),
        "unexpected": _shown(unexpected | dict(stored.unexpected)),
        "mismatched": sorted([*mismatched, *stored.mismatched]),
    }
    problems = [f"{len(lines)} {kind}: {listing(lines)}" for kind, lines in kinds.items() if lines]
    if problems:
        raise UserError(f"{stored.where}: does not fit the network: {'; '.join(problems)}")
    values = {name: np.asarray(stored.read(name)) for name in variables}
    others = [stored.label(name) for name, v in variables.items() if _kind(values[name].dtype) != _kind(v.dtype)]
    if others:
        raise UserError(f"{stored.where}: holds values of another type in {listing(others)}")
    bad = [stored.label(name) for name, value in values.items() if not np.isfinite(value).all()]
    if bad:
        raise UserError(f"{stored.where}: holds values that are not finite in {listing(bad)}")
    for name, variable in variables.items():
        variable.assign(tf.cast(values[name], variable.dtype))


def shape_of(variable: tf.Variable) -> tuple[int, ...]:
    return tuple(variable.shape)


def listing(names: Sequence[str]) -> str:
    """Names with commas between, the first twenty of many; what cannot be printed is escaped."""
    return listed(list(map(_printable, names)), _LISTED)


def _shown(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    return [f"{_printable(name)} {shape}" for name, shape in sorted(shapes.items())]


def _printable(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _kind(dtype) -> str:
    return tf.as_dtype(dtype).as_numpy_dtype(0).dtype.kind
