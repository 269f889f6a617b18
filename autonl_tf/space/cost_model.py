"""What every selection of a space costs, in MACs or in milliseconds: one table a block, and the stem and the head."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from autonl_tf.arch import cost
from autonl_tf.arch.spec import BlockSpec
from autonl_tf.errors import UserError
from autonl_tf.space.space import Space


@dataclasses.dataclass(frozen=True)
class CostModel:
    """The cost of a network as a sum over its blocks.

    Attributes:
      name: `macs` or `latency_ms`: how logs and reports call it.
      tables: for each block the cost of every selection, float64, one axis a choice.
      constant: of the stem and the head.
    """

    name: str
    choices: tuple[str, ...]
    tables: tuple[np.ndarray, ...]
    constant: float

    def per_block(self, selections: list[dict[str, int]]) -> list[float]:
        """Cost of each block at one selection a block: the option index by choice."""
        return [
            float(table[tuple(selection[choice] for choice in self.choices)])
            for table, selection in zip(self.tables, selections, strict=True)
        ]

    def of(self, selections: list[dict[str, int]]) -> float:
        return sum(self.per_block(selections)) + self.constant

    def reachable(self) -> tuple[float, float]:
        """The smallest and the largest cost of a member."""
        return tuple(self.constant + sum(float(end(table)) for table in self.tables) for end in (np.min, np.max))

    def check_target(self, target: float, flag: str) -> None:
        """Raises UserError for a target that no member can have."""
        low, high = self.reachable()
        if not low <= target <= high:
            scale, unit = self._unit()
            raise UserError(
                f"--{flag}={target / scale:.12g}{unit}: out of this space's reach at this size; "
                f"accepted: {self.text(low, up=True)} to {self.text(high, up=False)}"
            )

    def text(self, value: float, up: bool | None = None) -> str:
        """A value as flags take it: 350M, 12.5 (milliseconds); rounded up or down where that is asked for."""
        (scale, unit), digits = self._unit(), 3 if self.name == "macs" else 4
        scaled = value / scale * 10**digits
        whole = round(scaled) if up is None else np.ceil(scaled - 1e-9) if up else np.floor(scaled + 1e-9)
        return f"{whole / 10**digits:.{digits}f}".rstrip("0").rstrip(".") + unit

    def _unit(self) -> tuple[float, str]:
        return (1e6, "M") if self.name == "macs" else (1.0, "")


def tabulate(space: Space, image_size: int, cost_of: Callable[[BlockSpec, int], float]) -> tuple[np.ndarray, ...]:
    """`cost_of(block, side of the map it receives)` of every selection of every block; 0 where a block is dropped."""
    tables = []
    for block, size in zip(space.blocks, space.map_sizes(image_size), strict=False):
        table = np.zeros([len(options) for options in block.options.values()])
        for selection in block.selections():
            member = block.block(selection)
            table[tuple(selection.values())] = 0.0 if member is None else cost_of(member, size)
        tables.append(table)
    return tuple(tables)


def macs_model(space: Space, *, image_size: int, num_classes: int) -> CostModel:
    """MACs by the paper's accounting (`arch/cost.py`)."""
    last, size, family = space.blocks[-1].base.out_filters, space.map_sizes(image_size)[-1], space.family
    head = cost.head_cost(last, size, num_classes, family.head_filters)
    stem = cost.stem_cost(image_size, family.stem_filters)
    tables = tabulate(space, image_size, lambda block, size: cost.block_cost(block, size).macs)
    return CostModel("macs", space.choices, tables, stem.macs + head.macs)
