"""TensorFlow 1's name-based checkpoints into a model, every stored variable accounted for.

Such a checkpoint maps names to values: each variable's own, its moving average's (`AVERAGE_SUFFIX` behind the name),
its RMSProp slots' (`SLOT_SUFFIXES`), and `global_step`. Source: what `tf.train.Saver`, `ExponentialMovingAverage` and
`RMSPropOptimizer` of TensorFlow 1.14 write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from autonl_tf.engine.names import by_name
from autonl_tf.engine.weights import Loaded
from autonl_tf.errors import UserError

AVERAGE_SUFFIX = "/ExponentialMovingAverage"
SLOT_SUFFIXES = ("/RMSProp", "/RMSProp_1")
STEP = "global_step"
_LISTED = 20


class Inventory(NamedTuple):
    """How many variables of each kind a checkpoint holds."""

    plain: int
    averages: int
    slots: int

    def unused(self, use_averages: bool) -> str:
        """The stored variables that the chosen set leaves aside, for people."""
        others = f"{self.plain} plain variables" if use_averages else f"{self.averages} moving averages"
        return f"{others}, {self.slots} optimizer slots"


def shapes_of(prefix: str) -> dict[str, list[int]]:
    """Name -> shape of everything stored at `prefix`."""
    return tf.train.load_checkpoint(prefix).get_variable_to_shape_map()


def load_named(prefix: str, model, names: Mapping[str, str], use_averages: bool = True) -> tuple[Loaded, Inventory]:
    """Loads every variable of `model` from the averages, or from the plain variables, of a name-based checkpoint.

    All or nothing: the model is unchanged if anything does not fit. Every variable of the model must be in the chosen
    set with its shape, float32 and finite; of the rest, only the other set, the trainable variables' slots (in part or
    whole, with their variables' shapes) and the step are accepted.

    Args:
      prefix: of a readable checkpoint (`weights.find_checkpoint`).
      names: our variables' names -> the checkpoint's.

    Returns:
      The checkpoint's step is None where it stores none.

    Raises:
      UserError: lists what is missing, unexpected and mismatched, or not finite.
      ValueError: `names` is not of this model.
    """
    wanted = by_name(model.variables)
    if set(names) != set(wanted) or len(set(names.values())) != len(names):
        raise ValueError("names must give every variable of the model one name of its own")
    reader = tf.train.load_checkpoint(prefix)
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    suffix = AVERAGE_SUFFIX if use_averages else ""
    stock = _stock(shapes, names)
    if not (stock.averages if use_averages else stock.plain):
        held, other = ("moving averages", "false") if use_averages else ("plain variables", "true")
        if stock.plain or stock.averages:
            raise UserError(f"{prefix}: holds no {held} of this network; try --use_averages={other}")
    problems = _problems(shapes, dtypes, {official: wanted[ours] for ours, official in names.items()}, suffix)
    if problems:
        raise UserError(f"{prefix}: does not fit the network: {'; '.join(problems)}")
    values = {ours: reader.get_tensor(official + suffix) for ours, official in names.items()}
    bad = [names[ours] + suffix for ours, value in values.items() if not np.isfinite(value).all()]
    if bad:
        raise UserError(f"{prefix}: holds values that are not finite in {_listing(bad)}")
    step = int(reader.get_tensor(STEP)) if STEP in shapes else None
    if step is not None and step < 0:
        raise UserError(f"{prefix}: its {STEP} is {step}")
    for ours, value in values.items():
        wanted[ours].assign(value)
    return Loaded(prefix, step, use_averages), stock


def _base(key: str) -> tuple[str, str]:
    """(variable, suffix) of a stored name; the suffix of a plain variable is empty."""
    for suffix in (AVERAGE_SUFFIX, *SLOT_SUFFIXES):
        if key.endswith(suffix):
            return key[: -len(suffix)], suffix
    return key, ""


def _stock(shapes, names: Mapping[str, str]) -> Inventory:
    known = set(names.values())
    kinds = [suffix for base, suffix in map(_base, shapes) if base in known]
    slots = sum(kind in SLOT_SUFFIXES for kind in kinds)
    return Inventory(kinds.count(""), kinds.count(AVERAGE_SUFFIX), slots)


def _problems(shapes, dtypes, expected: Mapping[str, tf.Variable], suffix: str) -> list[str]:
    missing = [name + suffix for name in expected if name + suffix not in shapes]
    unexpected, mismatched = [], []
    for key, shape in shapes.items():
        base, kind = _base(key)
        if key == STEP:
            if shape or not dtypes[key].is_integer:
                mismatched.append(f"{key} (checkpoint {dtypes[key].name} {tuple(shape)}, expected one integer)")
        elif base not in expected or (kind in SLOT_SUFFIXES and not expected[base].trainable):
            unexpected.append(key)
        elif tuple(shape) != tuple(expected[base].shape):
            mismatched.append(f"{key} (checkpoint {tuple(shape)}, network {tuple(expected[base].shape)})")
        elif dtypes[key] != tf.float32:
            mismatched.append(f"{key} (checkpoint {dtypes[key].name}, network float32)")
    kinds = {"missing": missing, "unexpected": unexpected, "mismatched": mismatched}
    return [f"{len(found)} {kind}: {_listing(sorted(found))}" for kind, found in kinds.items() if found]


def _listing(names: list[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
