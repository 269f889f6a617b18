"""Parts of a network by name: stem, blockN, blockN-M, blocks, head, logits, backbone."""

from __future__ import annotations

import re

import tf_keras as keras

from autonl_tf.errors import UserError

ACCEPTED = "stem, blockN, blockN-M, blocks, head, logits, backbone (all but logits)"
_PREFIXES = {"stem": ("stem_",), "blocks": ("block",), "head": ("head_",), "backbone": ("stem_", "block", "head_")}


def layers_of(model: keras.Model, part: str, where: str) -> list[keras.layers.Layer]:
    """The layers of one part of a network of `network.build_network`.

    Args:
      where: the flag, for the message.

    Raises:
      UserError: no such part, or a block the network has not.
    """
    if part == "logits":
        return [model.get_layer("logits")]
    if part in _PREFIXES:
        return [layer for layer in model.layers if layer.name.startswith(_PREFIXES[part])]
    found = re.fullmatch(r"block(\d{1,4})(?:-(\d{1,4}))?", part)
    if not found:
        raise UserError(f"{where}: no part {part!r}; accepted: {ACCEPTED}")
    first, last = int(found[1]), int(found[2] or found[1])
    numbers = {int(m[1]) for layer in model.layers if (m := re.match(r"block(\d+)_", layer.name))}
    if not (first <= last <= max(numbers)):
        raise UserError(f"{where}: {part!r}: accepted: block numbers from 0 to {max(numbers)}, ascending")
    return [
        layer for layer in model.layers if (m := re.match(r"block(\d+)_", layer.name)) and first <= int(m[1]) <= last
    ]
