"""Non-local blocks placed by hand: `--nonlocal=all:0.25-1`."""

from __future__ import annotations

import dataclasses
import re

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import NetworkSpec
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
        found = re.fullmatch(r"(all|\d{1,4}(?:,\d{1,4})*):((embedded)?\d[\d.]*(?:-\d+)?)", text)
        if not found:
            raise UserError(f"--nonlocal={text}: accepted: {ACCEPTED}")
        where, what, embedded = found.groups()
        line = f"r1_k3_s11_e1_i8_o8_{what if embedded else f'nonlocal{what}'}"
        placed = blockstring.parse_block(line, f"--nonlocal={text}")
        for index in range(len(blocks)) if where == "all" else map(int, where.split(",")):
            if index >= len(blocks):
                raise UserError(f"--nonlocal={text}: no block {index}; accepted: 0 to {len(blocks) - 1}")
            blocks[index] = dataclasses.replace(blocks[index], nonlocal_=placed.nonlocal_, embedded=placed.embedded)
    return dataclasses.replace(spec, blocks=tuple(blocks), source=f"{spec.source} with --nonlocal={text}")
