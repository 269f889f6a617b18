"""Parts of a network by name: stem, blockN, blockN-M, blocks, head, logits, backbone."""

from __future__ import annotations

import re

from autonl_tf.errors import UserError

ACCEPTED = "stem, blockN, blockN-M, blocks, head, logits, backbone (all but logits)"
# How the names of a part's layers begin.
PREFIXES = {
    "stem": ("stem_",),
    "blocks": ("block",),
    "head": ("head_",),
    "backbone": ("stem_", "block", "head_"),
    "logits": ("logits",),
}


def blocks_of(part: str, count: int, where: str) -> range | None:
    """The numbers of the blocks that blockN or blockN-M names; None for a part of `PREFIXES`.

    Args:
      count: of the network's blocks.
      where: the flag, for the message.

    Raises:
      UserError: no such part, or a block the network has not.
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
