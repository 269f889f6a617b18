"""Architectures by name or by file, and what was published of those with a name."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from typing import Any

from autonl_tf.arch import blockstring
from autonl_tf.arch.placement import place_nonlocal
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.errors import UserError
from autonl_tf.reading import Unreadable, read_text

_FOLDER = pathlib.Path(__file__).parent / "presets"
LATENCIES = pathlib.Path(__file__).parent / "zoo_latency.json"

ZOO = "all"
DEFAULT_CLASSES = 1000
DEFAULT_IMAGE_SIZE = 224


@functools.cache
def published() -> dict[str, dict[str, Any]]:
    """What was published of each shipped network, by name, in the order in which the zoo lists them.

    `image_size` in pixels, at which the others are given; `macs` and `params` in millions and `top1`, `top5` in percent
    (null where not published) by `source`;
    `reference_params`, the exact trainable parameters of the `reference` implementation.
    """
    return json.loads((pathlib.Path(__file__).parent / "zoo.json").read_text(encoding="utf-8"))


@functools.cache
def latencies() -> dict[str, Any]:
    """`how`, in words, and `milliseconds` by name: the medians of the last run of `benchmarks/zoo_latency.py`."""
    return json.loads(LATENCIES.read_text(encoding="utf-8"))


def image_size(name_or_path: str | None) -> int:
    """Side in pixels of the images that a network takes where nothing else says it: of a shipped network the published
    one, else 224."""
    return published().get(name_or_path, {}).get("image_size", DEFAULT_IMAGE_SIZE)


def names() -> tuple[str, ...]:
    return tuple(sorted(path.name.removesuffix(".arch.txt") for path in _FOLDER.glob("*.arch.txt")))


def load(name_or_path: str, nonlocal_: str | None = None, *, flag: str = "--arch=") -> NetworkSpec:
    """A shipped network by name, or an architecture file by path.

    Args:
      name_or_path: `names()`, a file, or a directory with an `arch.txt`.
      nonlocal_: where to place non-local blocks, see `placement.place_nonlocal`; None leaves those it has.

    Raises:
      UserError: neither a name nor a readable file, the file is wrong, or the placement is.
    """
    path, source = _FOLDER / f"{name_or_path}.arch.txt", name_or_path
    if name_or_path not in names():
        path = pathlib.Path(name_or_path)
    try:
        if os.path.isdir(path):
            path = path / "arch.txt"
            source = str(path)
        text = read_text(path)
    except Unreadable as error:
        shown = source if source.isprintable() else repr(source[:60]) + "..."
        raise UserError(
            f"{flag}{shown}: {error.reason}; accepted: {', '.join(names())}, or the path of an architecture file"
        ) from None
    spec = blockstring.parse(text, source)
    return place_nonlocal(spec, nonlocal_) if nonlocal_ else spec
