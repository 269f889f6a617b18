"""Variables by name: the keys of checkpoints."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf


def name_of(variable: tf.Variable) -> str:
    """`block0_depthwise/depthwise_kernel`: the variable's name without the output index."""
    return variable.name.split(":")[0]


def by_name(variables: Iterable[tf.Variable]) -> dict[str, tf.Variable]:
    """Name -> variable, in order.

    Raises:
      ValueError: two variables share a name, so that a checkpoint could not tell them apart.
    """
    named: dict[str, tf.Variable] = {}
    for variable in variables:
        if named.setdefault(name_of(variable), variable) is not variable:
            raise ValueError(f"two variables are named {name_of(variable)}: give their layers distinct names")
    return named
