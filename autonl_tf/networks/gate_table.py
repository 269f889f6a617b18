"""Every gate of a space in one flat order, and a space's cost as a function of them.

Thresholds, margins and gates are vectors [G], so that a step does a handful of operations on them however many blocks
there are. Gate j of a ladder takes its option from j to j + 1.
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
      ladder: what it decides (`SpaceBlock.options`).
      rung: on the ladder, from 0.
      adds: whether it opens what a block can do without, as LightNL or squeeze-excite (not their sizes, nor blocks).
    """

    name: str
    block: int
    ladder: str
    rung: int
    adds: bool


class GateTable:
    """The gates of a space and where each block finds its own.

    Attributes:
      gates: every `Gate`, in order.
      slices: slices[block][ladder] is that ladder's place in a [G] vector.
    """

    def __init__(self, space: Space):
        self.space = space
        self.gates: list[Gate] = []
        self.slices: list[dict[str, slice]] = []
        for index, block in enumerate(space.blocks):
            places = {}
            for kind in block.kinds:
                for ladder in kind.ladders:
                    start, options = len(self.gates), block.options[ladder]
                    for rung in range(len(options) - 1):
                        name = f"block{index}/{kind.gate_name(ladder, options, rung)}"
                        self.gates.append(Gate(name, index, ladder, rung, kind.adds(ladder, rung)))
                    places[ladder] = slice(start, len(self.gates))
            self.slices.append(places)

    @property
    def names(self) -> list[str]:
        return [gate.name for gate in self.gates]

    def __len__(self) -> int:
        return len(self.gates)

    def ladders(self, vector: tf.Tensor) -> list[dict[str, list[tf.Tensor]]]:
        """A [G] vector as scalars: one list a block and ladder."""
        scalars = tf.unstack(vector, len(self))
        return [{ladder: scalars[place] for ladder, place in places.items()} for places in self.slices]

    def choices(self, gates: np.ndarray) -> list[dict[str, int]]:
        """The option each ladder of 0/1 gates has climbed to: how many of them are on before the first that is off."""
        return [
            {ladder: int(np.cumprod(gates[place] > 0.5).sum()) for ladder, place in places.items()}
            for places in self.slices
        ]

    def opened(self, choices: list[dict[str, int]]) -> np.ndarray:
        """The 0/1 gates [G] that make one choice a block."""
        gates = np.zeros(len(self), np.float32)
        for choice, places in zip(choices, self.slices, strict=True):
            for ladder, place in places.items():
                gates[place.start : place.start + choice[ladder]] = 1
        return gates

    def decode(self, gates: np.ndarray) -> NetworkSpec:
        """The network that 0/1 gates [G] stand for."""
        return self.space.member(self.choices(gates))


class GateCost:
    """A cost as a function of gates: products and sums of gates times constants.

    Each ladder's gates give one weight an option, and a block's cost is its table of every choice contracted with those
    weights. It is multilinear, so that gradients reach every gate, and equal to the decoded network's cost where every
    gate is 0 or 1: MACs exactly in float64, to 1e-6 in float32.

    Args:
      table: the gates.
      model: what every choice costs.
      dtype: of the sums.
    """

    def __init__(self, table: GateTable, model: CostModel, dtype: tf.DType = tf.float32):
        space = table.space
        self.name = model.name
        self._constant = tf.constant(model.constant, dtype)
        tables = model.tables
        rungs = {ladder: max(len(block.options[ladder]) - 1 for block in space.blocks) for ladder in space.ladders}
        padded = np.zeros([len(tables), *(rung + 1 for rung in rungs.values())])
        for index, block in enumerate(tables):
            padded[(index, *map(slice, block.shape))] = block
        self._tables = tf.constant(padded, dtype)
        # Rungs a block does not have read the zero appended to the gates: never climbed.
        self._places = {
            ladder: np.array(
                [
                    [
                        places[ladder].start + rung if rung < places[ladder].stop - places[ladder].start else len(table)
                        for rung in range(rungs[ladder])
                    ]
                    for places in table.slices
                ]
            )
            for ladder in space.ladders
        }

    def per_block(self, gates: tf.Tensor) -> tf.Tensor:
        """Cost of each block, [blocks], from gates [G]."""
        gates = tf.concat([tf.cast(gates, self._tables.dtype), tf.zeros([1], self._tables.dtype)], 0)
        cost = self._tables
        for ladder in reversed(self._places):
            places = self._places[ladder]
            rungs = [tf.gather(gates, places[:, rung]) for rung in range(places.shape[1])]
            if not rungs:
                cost = cost[..., 0]
                continue
            weights = tf.stack([tf.broadcast_to(w, [cost.shape[0]]) for w in option_weights(rungs)], -1)
            cost = tf.einsum("b...k,bk->b...", cost, weights)
        return cost

    def __call__(self, gates: tf.Tensor) -> tf.Tensor:
        """Cost of the whole network, stem and head included, a scalar, from gates [G]."""
        return tf.reduce_sum(self.per_block(gates)) + self._constant
