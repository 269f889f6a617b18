"""The layers of a part of a network."""

from __future__ import annotations

import re

import tf_keras as keras

from autonl_tf.arch.parts import BATCH_NORM, NON_LOCAL, PREFIXES, blocks_of


def layers_of(model: keras.Model, part: str, where: str) -> list[keras.layers.Layer]:
    """The layers of one part (see `arch.parts`) of a network of `network.build_network`.

    Args:
      where: the flag, for the message.

    Raises:
      UserError: no such part, or no such block in the network.
    """
    block_of = {layer.name: int(m[1]) for layer in model.layers if (m := re.match(r"block(\d+)_", layer.name))}
    numbers = blocks_of(part, max(block_of.values()) + 1, where)
    non_local = [layer for layer in model.layers if any(piece in layer.name for piece in NON_LOCAL)]
    if part == "nonlocal":
        return non_local
    if part == "batch_norm":
        return [layer for layer in model.layers if layer.name.endswith(BATCH_NORM) and layer not in non_local]
    if numbers is None:
        return [layer for layer in model.layers if layer.name.startswith(PREFIXES[part])]
    return [layer for layer in model.layers if block_of.get(layer.name) in numbers]
