"""Meeting a target: which decisions to flip, the closest calls first, so that the cost is about the one asked for.

Decisions are discrete: where the controller ends, the cost lies between two networks. The flips chosen have the least
sum of margins of all that bring the cost near the target, found by dynamic programming over blocks. How near, the
margins say: a firm decision is not turned for the last percent. The least sum within 1% of the target, whatever margins
it took, gave up to 2.8 points of top-1 away in a space whose members were all trained (docs/results.md).
"""

from __future__ import annotations

import numpy as np

from autonl_tf.networks.gate_table import GateTable
from autonl_tf.space.cost_model import CostModel

TOLERANCE = 0.01  # above the target, and about it where nothing has to be flipped
SHORTFALLS = (0.01, 0.02, 0.05, 0.1)  # below the target: the least that close calls reach, else the last
_FINITE = np.finfo(np.float64).max
_BINS = 4000  # of the cost, up to the target and a tenth more


def flips_to_target(
    table: GateTable, model: CostModel, margins: np.ndarray, target: float, close_call: float
) -> np.ndarray:
    """Which gates to flip, bool [G]; none where the network the margins decide is within 1% of the target already.

    They have the least sum of margins of all whose cost is at most 1% above the target and 1% below it, or 2, 5, 10%
    where only a flip that is no close call would come nearer. Where close calls do not come within 10%, any flips are
    taken that do; where none do, those that come nearest. A gate whose margin is infinite is not flipped.

    The networks considered are all members of the space (costs kept exactly; of several that come to the same bin of
    the cost, a 4000th part, the one with the smaller sum stays).

    Args:
      close_call: the largest margin of one (`SearchSchedule.close_call`).
    """
    margins = np.asarray(margins, np.float64)
    now = model.of(table.selections(margins >= 0))
    if abs(now / target - 1) <= TOLERANCE:
        return np.zeros(len(table), bool)
    for most, shortfalls in ((close_call, SHORTFALLS), (_FINITE, SHORTFALLS[-1:])):
        paths = _Paths(table, model, margins, target, most)
        error = paths.costs / target - 1
        for shortfall in shortfalls:
            allowed = (error >= -shortfall) & (error <= TOLERANCE)
            if allowed.any():
                return paths.flips(np.argmin(np.where(allowed, paths.sums, np.inf)))
    return paths.flips(np.argmin(np.abs(error)))


class _Paths:
    """Members of a space by bins of the cost, the one that takes the least sum of margins of each; no margin of a flip
    is above `most`.

    Attributes:
      costs, sums: of the members, [M].
    """

    def __init__(self, table: GateTable, model: CostModel, margins: np.ndarray, target: float, most: float):
        self._gates = len(table)
        self._blocks = [_block_options(table, model, margins, index, most) for index in range(len(model.tables))]
        self._states = [(np.array([model.constant]), np.array([0.0]), None, None)]  # costs, sums, parents, options
        for block in self._blocks:
            self._states.append(_extended(self._states[-1], block, 1.1 * target / _BINS, target))
        self.costs, self.sums, _, _ = self._states[-1]

    def flips(self, position: np.intp) -> np.ndarray:
        """The gates flipped for a member, bool [G]."""
        flips = np.zeros(self._gates, bool)
        for block, (_, _, parents, taken) in zip(reversed(self._blocks), reversed(self._states[1:]), strict=True):
            flips[block[2][taken[position]]] = True
            position = parents[position]
        return flips


def _block_options(table: GateTable, model: CostModel, margins: np.ndarray, index: int, most: float):
    """Costs, sums of |margin| and lists of gates to flip for every selection of a block, dominated ones left out."""
    block, slices = table.space.blocks[index], table.slices[index]
    best: dict[float, tuple[float, list[int]]] = {}
    for selection in block.selections():
        flips = [
            gate
            for choice in block.counting(selection)
            for gate in _choice_flips(margins, slices[choice], selection[choice])
        ]
        if np.any(np.abs(margins[flips]) > most):
            continue
        weight, cost = float(np.abs(margins[flips]).sum()), float(model.tables[index][tuple(selection.values())])
        if cost not in best or weight < best[cost][0]:
            best[cost] = (weight, flips)
    costs = np.array(list(best))
    return costs, np.array([weight for weight, _ in best.values()]), [flips for _, flips in best.values()]


def _choice_flips(margins: np.ndarray, own: slice, option: int) -> list[int]:
    """The gates of one choice to flip so that it takes `option`: those below it on, the next one off."""
    gates = range(own.start, own.stop)
    below = [gate for gate in gates[:option] if margins[gate] < 0]
    return below + [gate for gate in gates[option : option + 1] if margins[gate] >= 0]


def _extended(state, block, width: float, target: float):
    costs = np.add.outer(state[0], block[0])
    sums = np.add.outer(state[1], block[1])
    # Costs only add up, so that beyond the target there is no way back. The last bin holds the cheapest of those.
    bins = np.minimum(np.floor(costs / width), _BINS + (costs > 1.1 * target)).astype(np.int64).ravel()
    over = bins >= _BINS
    order = np.lexsort((np.where(over, costs.ravel(), sums.ravel()), bins))
    first = order[np.concatenate([[True], np.diff(bins[order]) > 0])]
    parents, taken = np.divmod(first, len(block[0]))
    return costs.ravel()[first], sums.ravel()[first], parents, taken
