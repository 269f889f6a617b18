"""Non-local blocks of a network that its checkpoint lacks: they start as the identity, with gamma zero."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from autonl_tf.arch.spec import NetworkSpec, difference, first_difference
from autonl_tf.errors import UserError

_OF_BLOCK = re.compile(r"block(\d+)_(nl|embedded)_")
_TITLES = {"nl": "LightNL", "embedded": "conventional non-local"}
_FIELDS = {"nl": "nonlocal_", "embedded": "embedded"}

Block = tuple[int, str]  # the number of the block it is in, and `nl` or `embedded`


def block_of(name: str) -> Block | None:
    """The non-local block that a layer or a variable of a network belongs to, by its name."""
    found = _OF_BLOCK.match(name)
    return (int(found[1]), found[2]) if found else None


def blocks_in(spec: NetworkSpec) -> set[Block]:
    """Every non-local block of an architecture."""
    return {
        (index, kind)
        for index, block in enumerate(spec.singles())
        for kind, field in _FIELDS.items()
        if getattr(block, field) is not None
    }


def without(spec: NetworkSpec, absent: Iterable[Block]) -> NetworkSpec:
    blocks = list(spec.singles())
    for index, kind in absent:
        blocks[index] = dataclasses.replace(blocks[index], **{_FIELDS[kind]: None})
    return dataclasses.replace(spec, blocks=tuple(blocks))


def is_part(found: NetworkSpec, wanted: NetworkSpec) -> bool:
    """Whether `found` is `wanted`, or `wanted` less some of its non-local blocks."""
    return difference(found, _common(found, wanted)) is None


def check_part(found: NetworkSpec, wanted: NetworkSpec, where: str) -> None:
    """Raises UserError, which says what differs, unless `is_part`."""
    common = _common(found, wanted)
    if words := difference(found, common):
        raise UserError(f"{where}: holds {words} than {wanted.source}: {first_difference(found, common)}")


def _common(found: NetworkSpec, wanted: NetworkSpec) -> NetworkSpec:
    """`wanted` without the non-local blocks that `found` lacks."""
    if len(found.singles()) != len(wanted.singles()):
        return wanted
    return without(wanted, blocks_in(wanted) - blocks_in(found))


def told(blocks: Iterable[Block]) -> str:
    """`LightNL in 2 blocks (3, 7)`."""
    by_kind: dict[str, list[int]] = {}
    for index, kind in sorted(blocks):
        by_kind.setdefault(kind, []).append(index)
    return " and ".join(
        f"{_TITLES[kind]} in {len(found)} block{'s' * (len(found) > 1)} ({', '.join(map(str, found))})"
        for kind, found in by_kind.items()
    )
