"""Every gate of a space in one flat order, and a space's cost as a function of them.

Thresholds, margins and gates are vectors [G], so that a step does a handful of operations on them however many blocks
there are. Gate j of a choice takes its option from j to j + 1.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.layers.gates import option_weights
from autonl_tf.space.cost_model import CostModel
from autonl_tf.space.space import Space


@dataclasses.dataclass(frozen=True)
class Gate:
    """One gate.

    Attributes:
      name: for logs and reports, such as `block3/kernel5`, `block3/keep`, `block3/nl`, `block3/nl_stride1`.
      block: index of its block.
      choice: what it decides (`SpaceBlock.options`).
      order: among the gates of its choice, from 0.
      adds: whether it opens what a block can do without, as LightNL or squeeze-excite (not their sizes, nor blocks).
    """

    name: str
    block: int
    choice: str
    order: int
    adds: bool


class GateTable:
    """The gates of a space and where each block finds its own.

    Attributes:
      gates: every `Gate`, in order.
      slices: slices[block][choice] is that choice's part of a [G] vector.
    """

    def __init__(self, space: Space):
        self.space = space
        self.gates: list[Gate] = []
        self.slices: list[dict[str, slice]] = []
        for index, block in enumerate(space.blocks):
            slices: dict[str, slice] = {}
            for kind in block.kinds:
                for choice in kind.choices:
                    start, options = len(self.gates), block.options[choice]
                    for order in range(len(options) - 1):
                        name = f"block{index}/{kind.gate_name(choice, options, order)}"
                        self.gates.append(Gate(name, index, choice, order, kind.adds(choice, order)))
                    slices[choice] = slice(start, len(self.gates))
            self.slices.append(slices)

    @property
    def names(self) -> list[str]:
        return [gate.name for gate in self.gates]

    def __len__(self) -> int:
        return len(self.gates)

    def by_choice(self, vector: tf.Tensor) -> list[dict[str, list[tf.Tensor]]]:
        """A [G] vector as scalars: one list a block and choice."""
        scalars = tf.unstack(vector, len(self))
        return [{choice: scalars[own] for choice, own in slices.items()} for slices in self.slices]

    def selections(self, gates: np.ndarray) -> list[dict[str, int]]:
        """The option of each choice at 0/1 gates: how many of its gates are on before the first that is off."""
        return [
            {choice: int(np.cumprod(gates[own] > 0.5).sum()) for choice, own in slices.items()}
            for slices in self.slices
        ]

    def opened(self, selections: list[dict[str, int]]) -> np.ndarray:
        """The 0/1 gates [G] that make one selection a block."""
        gates = np.zeros(len(self), np.float32)
        for selection, slices in zip(selections, self.slices, strict=True):
            for choice, own in slices.items():
                gates[own.start : own.start + selection[choice]] = 1
        return gates

    def decode(self, gates: np.ndarray) -> NetworkSpec:
        """The network that 0/1 gates [G] stand for."""
        return self.space.member(self.selections(gates))


def decided_gates(margins: np.ndarray) -> np.ndarray:
    """Gates [G], 0 or 1, of margins [G]."""
    return (margins >= 0).astype(np.float32)


class GateCost:
    """A cost as a function of gates: products and sums of gates times constants.

    Each choice's gates give one weight an option, and a block's cost is its table of every selection contracted with
    those weights. It is multilinear, so that gradients reach every gate, and equal to the decoded network's cost where
    every gate is 0 or 1: MACs exactly in float64, to 1e-6 in float32.

    Args:
      table: the gates.
      model: what every selection costs.
      dtype: of the sums.
    """

    def __init__(self, table: GateTable, model: CostModel, dtype: tf.DType = tf.float32):
        space = table.space
        self.name = model.name
        self._constant = tf.constant(model.constant, dtype)
        tables = model.tables
        most = {choice: max(len(block.options[choice]) - 1 for block in space.blocks) for choice in space.choices}
        padded = np.zeros([len(tables), *(count + 1 for count in most.values())])
        for index, block in enumerate(tables):
            padded[(index, *map(slice, block.shape))] = block
        self._tables = tf.constant(padded, dtype)
        # Gates that a block does not have read the zero appended to the vector: never open.
        every, absent = range(len(table)), len(table)
        self._indices = {
            choice: np.array([[*every[slices[choice]], *[absent] * count][:count] for slices in table.slices])
            for choice, count in most.items()
        }

    def per_block(self, gates: tf.Tensor) -> tf.Tensor:
        """Cost of each block, [blocks], from gates [G]."""
        gates = tf.concat([tf.cast(gates, self._tables.dtype), tf.zeros([1], self._tables.dtype)], 0)
        cost = self._tables
        for indices in reversed(self._indices.values()):
            own = [tf.gather(gates, indices[:, order]) for order in range(indices.shape[1])]
            if not own:
                cost = cost[..., 0]
                continue
            weights = tf.stack([tf.broadcast_to(w, [cost.shape[0]]) for w in option_weights(own)], -1)
            cost = tf.einsum("b...k,bk->b...", cost, weights)
        return cost

    def __call__(self, gates: tf.Tensor) -> tf.Tensor:
        """Cost of the whole network, stem and head included, a scalar, from gates [G]."""
        return tf.reduce_sum(self.per_block(gates)) + self._constant
