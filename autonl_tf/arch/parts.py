"""Parts of a network by name: stem, blockN, blockN-M, blocks, nonlocal, head, logits, backbone, batch_norm."""

from __future__ import annotations

import re

from autonl_tf.errors import UserError

ACCEPTED = (
    "stem, blockN, blockN-M, blocks, nonlocal (the blocks' LightNL), head, logits, backbone (all but logits), "
    "batch_norm (outside LightNL)"
)
# The suffix of the layers in the part `batch_norm`, and infixes of non-local blocks, whose batch norms are not in it: a
# new one's scale is zero and could not be trained if frozen.
BATCH_NORM, NON_LOCAL = "_bn", ("_nl_", "_embedded_")
# How the names of a part's layers begin.
PREFIXES = {
    "stem": ("stem_",),
    "blocks": ("block",),
    "head": ("head_",),
    "backbone": ("stem_", "block", "head_"),
    "logits": ("logits",),
    "batch_norm": (),
    "nonlocal": (),
}


def named(text: str | None) -> list[str]:
    """The parts that a list separated by commas names; "none" and None name none."""
    return text.split(",") if text and text != "none" else []


def blocks_of(part: str, count: int, where: str) -> range | None:
    """The numbers of the blocks that blockN or blockN-M names; None for a part of `PREFIXES`.

    Raises:
      UserError: no such part, or no such block in the network.
    """
    if part in PREFIXES:
        return None
    found = re.fullmatch(r"block(\d{1,4})(?:-(\d{1,4}))?", part)
    if not found:
        raise UserError(f"{where}: no part {part!r}; accepted: {ACCEPTED}")
    first, last = int(found[1]), int(found[2] or found[1])
    if not first <= last < count:
        raise UserError(f"{where}: {part!r}: accepted: block numbers from 0 to {count - 1}, ascending")
    return range(first, last + 1)


def check_trained(freeze: list[str], multiplied: list[str], count: int, flags: tuple[str, str]) -> None:
    """Whether something is left to train, of each part whose rate is multiplied too.

    Raises:
      UserError: nothing is left, or no such part.
    """
    frozen = {piece for part in freeze for piece in _pieces(part, count, flags[0])}
    if frozen >= {"stem_", "head_", "logits", *range(count)}:
        raise UserError(f"{flags[0]}: leaves nothing to train")
    for part in multiplied:
        if frozen >= _pieces(part, count, flags[1]):
            raise UserError(f"{flags[1]}: {part!r} is frozen by --freeze")


def frozen_from_the_front(freeze: str | None, count: int) -> int:
    """How many of stem, blocks and head, one after the other, are frozen before the first that is trained.

    Raises:
      UserError: no such part.
    """
    frozen = {piece for part in named(freeze) for piece in _pieces(part, count, f"--freeze={freeze}")}
    in_order = ("stem_", *range(count), "head_")
    return next((number for number, piece in enumerate(in_order) if piece not in frozen), len(in_order))


def _pieces(part: str, count: int, where: str) -> set[str | int]:
    """What a part is made of: numbers of blocks, and the other beginnings of layers' names."""
    numbers = blocks_of(part, count, where)
    if numbers is not None:
        return set(numbers)
    if not PREFIXES[part]:
        return {part}
    return {piece for start in PREFIXES[part] for piece in (range(count) if start == "block" else [start])}
