"""Meeting a target: which decisions to flip, the closest calls first, so that the cost is the one asked for.

Decisions are discrete: where the controller ends, the cost lies between two networks. The flips chosen have the least
sum of margins of all that bring the cost within a tolerance of the target, found by dynamic programming over blocks.
"""

from __future__ import annotations

import numpy as np

from autonl_tf.networks.gate_table import GateTable
from autonl_tf.space.cost_model import CostModel

TOLERANCE = 0.01
_BINS = 4000  # of the cost, up to the target and a tenth more


def flips_to_target(table: GateTable, model: CostModel, margins: np.ndarray, target: float) -> np.ndarray:
    """Which gates to flip, bool [G]; none where the network the margins decide is within 1% of the target already.

    The networks considered are all members of the space (costs kept exactly; of several that come to the same bin of
    the cost, a 4000th part, the one with the smaller sum stays). Where none is within 1%, the nearest is taken.
    """
    margins = np.asarray(margins, np.float64)
    now = model.of(table.selections(margins >= 0))
    if abs(now / target - 1) <= TOLERANCE:
        return np.zeros(len(table), bool)
    width = 1.1 * target / _BINS
    states = [(np.array([model.constant]), np.array([0.0]), None, None)]  # costs, sums of margins, parents, options
    options = [_block_options(table, model, margins, index) for index in range(len(model.tables))]
    for block in options:
        states.append(_extended(states[-1], block, width, target))
    costs, sums, _, _ = states[-1]
    error = np.abs(costs / target - 1)
    near = error <= max(TOLERANCE, float(error.min()) + 1e-12)
    position = int(np.flatnonzero(near)[np.argmin(sums[near])])
    flips = np.zeros(len(table), bool)
    for block, (_, _, parents, taken) in zip(reversed(options), reversed(states[1:]), strict=True):
        flips[block[2][taken[position]]] = True
        position = int(parents[position])
    return flips


def _block_options(table: GateTable, model: CostModel, margins: np.ndarray, index: int):
    """Costs, sums of |margin| and lists of gates to flip for every selection of a block, dominated ones left out."""
    block, slices = table.space.blocks[index], table.slices[index]
    best: dict[float, tuple[float, list[int]]] = {}
    for selection in block.selections():
        flips = [
            gate
            for choice in block.counting(selection)
            for gate in _choice_flips(margins, slices[choice], selection[choice])
        ]
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
