"""Which selections of a space make an architecture; where none do, what is in the way, block by block."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from autonl_tf.arch.spec import BlockSpec, NetworkSpec, plain
from autonl_tf.space.block import SpaceBlock

_LISTED = 8
_MISPLACED = 6  # weight of a block that is too much, or lacking, beside one for every field that does not fit


def fitted(
    blocks: Sequence[SpaceBlock], family: NetworkSpec, spec: NetworkSpec
) -> tuple[list[dict[str, int]], list[str]]:
    """(one selection a block of the space, what does not fit: empty where the selections make `spec`).

    The architecture's blocks are laid beside the space's in order, so that as little as can be is in the way.
    """
    found = spec.canonical()
    if misfits := _header(found, family):
        return [], misfits
    columns = [_Column(block) for block in blocks]
    # least[i] of the space's blocks so far: the weight of what is in the way where i blocks of `found` are placed.
    least = [_MISPLACED * i for i in range(len(found.blocks) + 1)]
    ways: list[list[str]] = []
    for column in columns:
        before, least, way = least, [], []
        for placed in range(len(found.blocks) + 1):
            steps = {"drop": before[placed] + (0 if column.block.droppable else _MISPLACED)}
            if placed:
                steps["more"] = least[placed - 1] + _MISPLACED
                steps["take"] = before[placed - 1] + len(column.misfits(found.blocks[placed - 1]))
            step = min(steps, key=steps.__getitem__)
            least.append(steps[step])
            way.append(step)
        ways.append(way)
    return _walked(columns, ways, found.blocks)


def listed(misfits: Sequence[str]) -> str:
    """With semicolons between, the first eight of many."""
    rest = len(misfits) - _LISTED
    return "; ".join(misfits[:_LISTED]) + (f"; and {rest} more" if rest > 0 else "")


class _Column:
    """A block of the space, and every block that it can be."""

    def __init__(self, block: SpaceBlock):
        self.block = block
        # The last of the selections that make the same block counts, in which what means nothing is at its largest.
        self.selections = {
            member.canonical(): selection
            for selection in block.selections()
            if (member := block.block(selection)) is not None
        }
        self._values: dict[str, set[Any]] = {
            field.name: {getattr(member, field.name) for member in self.selections}
            for field in dataclasses.fields(BlockSpec)
            if field.compare
        }
        self._known: dict[BlockSpec, list[str]] = {}

    def misfits(self, wanted: BlockSpec) -> list[str]:
        """The fields of a block that this one cannot have, such as `kernels 7, accepted 3 or 5`."""
        if wanted not in self._known:
            self._known[wanted] = [] if wanted in self.selections else self._compared(wanted)
        return self._known[wanted]

    def _compared(self, wanted: BlockSpec) -> list[str]:
        found = []
        for name, values in self._values.items():
            if (value := getattr(wanted, name)) not in values:
                accepted = " or ".join(sorted(map(plain, values), key=lambda text: (len(text), text)))
                found.append(f"{name.removesuffix('_')} {plain(value)}, accepted {accepted}")
        return found or ["options that do not go together here"]

    def dropped(self) -> dict[str, int]:
        """Without the block: what it would have of its own if it came back, less what adds something."""
        kept = {
            choice: 0 if kind.adds(choice, 0) else self.block.largest[choice]
            for kind in self.block.kinds
            for choice in kind.choices
        }
        return kept | {"expand": 0}


def _walked(columns, ways, wanted: tuple[BlockSpec, ...]) -> tuple[list[dict[str, int]], list[str]]:
    """The selections and misfits of the lightest way, from its end."""
    selections: list[dict[str, int]] = []
    misfits: list[str] = []
    placed = len(wanted)
    for index in reversed(range(len(columns))):
        column = columns[index]
        while ways[index][placed] == "more":
            placed -= 1
            misfits.append(f"block {placed}: no counterpart in the space")
        if ways[index][placed] == "drop":
            if not column.block.droppable:
                misfits.append(f"block {index} of the space has no counterpart and cannot be dropped")
            selections.append(column.dropped())
            continue
        placed -= 1
        if found := column.misfits(wanted[placed]):
            misfits.append(f"block {placed}: {', '.join(found)}")
        selections.append(column.selections.get(wanted[placed], {}))
    misfits += [f"block {index}: no counterpart in the space" for index in reversed(range(placed))]
    return selections[::-1], misfits[::-1]


def _header(found: NetworkSpec, family: NetworkSpec) -> list[str]:
    """What of a header is not the space's."""
    return [
        f"{field.name} {plain(mine)}, accepted {plain(other)}"
        for field in dataclasses.fields(NetworkSpec)
        if field.compare
        and field.name != "blocks"
        and (mine := getattr(found, field.name)) != (other := getattr(family, field.name))
    ]
