"""Architectures by name or by file."""

from __future__ import annotations

import pathlib

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.errors import UserError

_FOLDER = pathlib.Path(__file__).parent / "presets"

# Source: the paper's Table 1 and the release; ImageNet top-1 and top-5 in percent, as published.
PUBLISHED_ACCURACY = {"autonl_s": (76.5, 93.1), "autonl_l": (77.7, 93.7)}


def names() -> tuple[str, ...]:
    """The shipped networks."""
    return tuple(sorted(path.name.removesuffix(".arch.txt") for path in _FOLDER.glob("*.arch.txt")))


def load(name_or_path: str) -> NetworkSpec:
    """A shipped network by name, or an architecture file by path.

    Raises:
      UserError: neither a name nor a readable file, or the file is wrong.
    """
    path = _FOLDER / f"{name_or_path}.arch.txt"
    source = name_or_path
    if name_or_path not in names():
        path = pathlib.Path(name_or_path)
        if path.is_dir():
            path = path / "arch.txt"
            source = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(
            f"--arch={name_or_path}: {reason}; accepted: {', '.join(names())}, or the path of an architecture file"
        ) from None
    return blockstring.parse(text, source)
