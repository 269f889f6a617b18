"""One block of a search space: what may be chosen in it, and the block that a selection stands for."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from autonl_tf.arch.spec import BlockSpec
from autonl_tf.space.gate_kind import Kind


@dataclasses.dataclass(frozen=True)
class SpaceBlock:
    """One block of a space: `base` at its largest, and for each choice its options, cheapest first.

    `options["expand"]` starts with 0, "drop the block", where that is allowed. A selection is
    an option's index by choice.
    """

    base: BlockSpec
    options: dict[str, tuple[Any, ...]]
    kinds: tuple[Kind, ...]
    searchable: bool = True

    @property
    def droppable(self) -> bool:
        return self.options["expand"][0] == 0

    @property
    def largest(self) -> dict[str, int]:
        return {choice: len(options) - 1 for choice, options in self.options.items()}

    @property
    def smallest(self) -> dict[str, int]:
        return dict.fromkeys(self.options, 0)

    def selections(self) -> Iterator[dict[str, int]]:
        """Every selection; the values are the indices of a table that has an axis a choice."""
        for indices in itertools.product(*(range(len(options)) for options in self.options.values())):
            yield dict(zip(self.options, indices, strict=True))

    def block(self, selection: dict[str, int]) -> BlockSpec | None:
        """The block that a selection stands for; None where it drops the block."""
        if not self.searchable:
            return self.base
        chosen = self._chosen(selection)
        if chosen["expand"] == 0:
            return None
        fields: dict[str, Any] = {}
        for kind in self.kinds:
            fields |= kind.fields(chosen)
        return dataclasses.replace(self.base, **fields)

    def counting(self, selection: dict[str, int]) -> tuple[str, ...]:
        """The choices that mean anything at a selection: for a dropped block only the one that dropped it."""
        if not self.searchable:
            return ()
        chosen = self._chosen(selection)
        if chosen["expand"] == 0:
            return ("expand",)
        return tuple(choice for kind in self.kinds for choice in kind.counting(chosen))

    def _chosen(self, selection: dict[str, int]) -> dict[str, Any]:
        return {choice: options[selection[choice]] for choice, options in self.options.items()}
