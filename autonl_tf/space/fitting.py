"""Which selections of a space make an architecture; where none do, what is in the way, block by block."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from autonl_tf.arch.spec import BlockSpec, NetworkSpec, differing, plain
from autonl_tf.errors import listed
from autonl_tf.space.block import SpaceBlock

_MISPLACED = 6  # weight of a block that is too much, or lacking, beside one for every field that does not fit


def fitted(
    blocks: Sequence[SpaceBlock], family: NetworkSpec, spec: NetworkSpec
) -> tuple[list[dict[str, int]], list[str]]:
    """(one selection a block of the space, what does not fit: empty where the selections make `spec`).

    The architecture's blocks are aligned in order with the space's, with the least weight of misfits.
    """
    found = spec.canonical()
    if misfits := [f"{name} {mine}, accepted {other}" for name, mine, other in differing(found, family)]:
        return [], misfits
    extra = [f"block {number}: no counterpart in the space" for number in range(len(found.blocks))]
    ways = [_Way()]  # ways[i]: the best alignment of the space's blocks so far with the first i of `found`
    for misfit in extra:
        ways.append(_Way(ways[-1].weight + _MISPLACED, ways[-1], misfit))
    for index, block in enumerate(blocks):
        before, ways, column = ways, [], _Column(block)
        weight, misfit = _MISPLACED, f"block {index} of the space has no counterpart and cannot be dropped"
        if block.droppable:
            weight, misfit = 0, ""
        for placed, way in enumerate(before):
            choices = [_Way(way.weight + weight, way, misfit, column.dropped)]
            if placed:
                wanted, last = found.blocks[placed - 1], before[placed - 1]
                misfits = column.misfits(wanted)
                words = f"block {placed - 1}: {', '.join(misfits)}" if misfits else ""
                choices.append(_Way(ways[-1].weight + _MISPLACED, ways[-1], extra[placed - 1]))
                choices.append(_Way(last.weight + len(misfits), last, words, column.selections.get(wanted, {})))
            ways.append(min(choices, key=lambda way: way.weight))
    steps = [ways[-1]]
    while steps[-1].before:
        steps.append(steps[-1].before)
    selections = [step.selection for step in reversed(steps) if step.selection is not None]
    return selections, [step.misfit for step in reversed(steps) if step.misfit]


def told(misfits: Sequence[str]) -> str:
    """With semicolons between, the first eight of many."""
    return listed(misfits, 8, "; ")


class _Way(NamedTuple):
    """A partial alignment with the space's blocks: its total weight of misfits, the alignment that it extends, the
    misfit of its last step (empty: none), and the selection of the space's block (None: the step used none)."""

    weight: int = 0
    before: _Way | None = None
    misfit: str = ""
    selection: dict[str, int] | None = None


class _Column:
    """A block of the space, and every block that it can be."""

    def __init__(self, block: SpaceBlock):
        # The selection of a dropped block: its largest options, without what adds something.
        kept = {
            choice: 0 if kind.adds(choice, 0) else block.largest[choice]
            for kind in block.kinds
            for choice in kind.choices
        }
        self.dropped = kept | {"expand": 0}
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

    def misfits(self, wanted: BlockSpec) -> list[str]:
        """The fields of a block that this one cannot have, such as `kernels 7, accepted 3 or 5`."""
        if wanted in self.selections:
            return []
        found = []
        for name, values in self._values.items():
            if (value := getattr(wanted, name)) not in values:
                accepted = " or ".join(sorted(map(plain, values), key=lambda text: (len(text), text)))
                found.append(f"{name.removesuffix('_')} {plain(value)}, accepted {accepted}")
        return found or ["options that do not go together here"]
