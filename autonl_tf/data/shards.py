"""The record files of ImageNet in the layout of the TPU codebases, by their names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from autonl_tf.errors import UserError

_SHARD = re.compile(r"(train|validation)-(\d{5})-of-(\d{5})/?")


def by_split(directory: str, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The files train-00000-of-01024 ... and validation-00000-of-00128 ... (of any number), by split.

    Args:
      names: what the directory holds.

    Raises:
      UserError: there are no such files, or shards are missing.
    """
    source = f"imagenet_tfrecord:{directory}"
    totals: dict[str, set[int]] = {}
    found = set()
    for match in filter(None, map(_SHARD.fullmatch, names)):
        totals.setdefault(match[1], set()).add(int(match[3]))
        found.add(match[0])
    if not totals:
        raise UserError(f"{source}: no files named like train-00000-of-01024 or validation-00000-of-00128")
    shards = {}
    for split, counts in totals.items():
        if len(counts) > 1:
            raise UserError(f"{source}: {split} files of several sets, of {sorted(counts)} shards")
        total = counts.pop()
        expected = [f"{split}-{i:05d}-of-{total:05d}" for i in range(total)]
        missing = [name for name in expected if name not in found]
        if missing:
            raise UserError(f"{source}: {len(missing)} of {total} {split} shards missing, first {missing[0]}")
        shards[split] = tuple(os.path.join(directory, name) for name in expected)
    return shards
