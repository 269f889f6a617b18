"""Non-local blocks placed by hand: `--nonlocal=all:0.25-1`."""

from __future__ import annotations

import dataclasses
import re

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import BlockSpec, NetworkSpec
from autonl_tf.errors import UserError

ACCEPTED = "none, all:C-S or 3,7,12:C-S (block numbers of --mode=describe), C-S such as 0.25-1 or embedded0.5-2"


def place_nonlocal(spec: NetworkSpec, text: str) -> NetworkSpec:
    """The network with LightNL, or the conventional block, after the projection of the blocks that `text` names.

    Blocks already there go: `none` leaves a network without any.

    Args:
      text: `none`, `all:C-S` or `3,7,12:C-S`; C the channel ratio, S the spatial stride, and `embedded` before them
        for the conventional non-local block.

    Raises:
      UserError: anything else, or no such block in the network.
    """
    blocks = [dataclasses.replace(block, nonlocal_=None, embedded=None) for block in spec.singles()]
    if text != "none":
        where, colon, what = text.partition(":")
        placed = _read(text, what) if colon else None
        if placed is None:
            raise UserError(f"--nonlocal={text}: accepted: {ACCEPTED}")
        for index in _indices(text, where, len(blocks)):
            blocks[index] = dataclasses.replace(blocks[index], nonlocal_=placed.nonlocal_, embedded=placed.embedded)
    return dataclasses.replace(spec, blocks=tuple(blocks), source=f"{spec.source} with --nonlocal={text}")


def _read(text: str, what: str) -> BlockSpec | None:
    if not re.fullmatch(r"(embedded)?\d[\d.]*(-\d+)?", what):
        return None
    token = what if what.startswith("embedded") else f"nonlocal{what}"
    return blockstring.parse_block(f"r1_k3_s11_e1_i8_o8_{token}", f"--nonlocal={text}")


def _indices(text: str, where: str, count: int) -> list[int]:
    if where == "all":
        return list(range(count))
    if not re.fullmatch(r"\d{1,4}(,\d{1,4})*", where):
        raise UserError(f"--nonlocal={text}: accepted: {ACCEPTED}")
    indices = [int(number) for number in where.split(",")]
    for index in indices:
        if index >= count:
            raise UserError(f"--nonlocal={text}: no block {index}; accepted: 0 to {count - 1}")
    return indices
