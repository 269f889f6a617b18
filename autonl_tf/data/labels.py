"""Class names and the label each stands for."""

from __future__ import annotations

import os
from collections.abc import Sequence

from autonl_tf.errors import UserError


def read_label_file(path: str) -> tuple[str, ...]:
    """Reads class names: the first word of each line, in label order (line 1 is label 0).

    Raises `UserError` for a file that is missing, not UTF-8 or empty, a blank line before the last name, or a
    name given twice.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().rstrip().splitlines()
    except OSError as error:
        raise UserError(f"label file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"label file {path}: not UTF-8 text") from error
    if not lines:
        raise UserError(f"label file {path}: empty; expected one class name a line")
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split(maxsplit=1)
        if not words:
            raise UserError(f"label file {path}, line {number}: blank; expected a class name")
        if words[0] in first_line:
            raise UserError(
                f"label file {path}, line {number}: {words[0]!r} was already on line {first_line[words[0]]}"
            )
        first_line[words[0]] = number
    return tuple(first_line)


def numbered(count: int) -> tuple[str, ...]:
    """Names of classes that have none: "0", "1", ..."""
    return tuple(str(label) for label in range(count))


def new_labels(own_names: Sequence[str], wanted: Sequence[str], source: str, label_file: str) -> list[int]:
    """For each class of a data set, its label in the order `wanted`.

    Raises `UserError` when the label file does not name one of them.
    """
    label_of = {name: label for label, name in enumerate(wanted)}
    for name in own_names:
        if name not in label_of:
            raise UserError(
                f"{source}: class {os.fspath(name)!r} is not in label file {label_file} ({len(wanted)} names)"
            )
    return [label_of[name] for name in own_names]
