"""Class names and the label each stands for."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from autonl_tf.data import imagenet
from autonl_tf.errors import UserError
from autonl_tf.reading import MOST_LONG, Unreadable, read_text

LABELS = "labels.txt"  # of a run directory and of an export

# Joiners, which scripts and emoji need, and the letters of flags are seen by what is around them.
_SEEN = {0x200C, 0x200D, *range(0xE0020, 0xE0080)}


def class_name(text: str, where: str) -> str:
    """A class's name as it is compared and written: accents composed, blanks at the ends left out.

    Raises:
      UserError: nothing is left, or there is a character in it that is not seen and may do harm where it is written
        (line breaks, control characters, marks of direction).
    """
    name = _composed(text).strip(" ")
    if not name:
        raise UserError(f"{where}: class {text!r}: the name has no visible character")
    for character in name:
        if unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") and ord(character) not in _SEEN:
            raise UserError(
                f"{where}: class {text!r}: holds the character U+{ord(character):04X}, which cannot be seen; rename it"
            )
    return name


def _composed(text: str) -> str:
    """With accents composed, and every blank a space."""
    return "".join(" " if unicodedata.category(c) == "Zs" else c for c in unicodedata.normalize("NFC", text))


@dataclass(frozen=True)
class LabelFile:
    """The lines of a label file in label order (line 1 is label 0), without leading and trailing blanks."""

    path: str
    lines: tuple[str, ...]

    def names(self, own_names: Sequence[str] = ()) -> tuple[str, ...]:
        """The class names: the first word of each line, as in `n01440764 tench`.

        Where all of `own_names`, those of the data's classes, are whole lines, a line is one name: the labels.txt of a
        run or an export can serve as label file. Raises `UserError` for a name given twice.
        """
        whole = bool(own_names) and set(own_names) <= set(self.lines)
        first_line: dict[str, int] = {}
        for number, line in enumerate(self.lines, start=1):
            where = f"label file {self.path}, line {number}"
            name = class_name(line if whole else line.split(maxsplit=1)[0], where)
            if name in first_line:
                raise UserError(f"{where}: {name!r} was already on line {first_line[name]}")
            first_line[name] = number
        return tuple(first_line)


def read_label_file(path: str) -> LabelFile:
    """Reads a label file; for `imagenet` gives ImageNet's classes, a synset and a name a line.

    Raises `UserError` for a file that is missing, not UTF-8 or empty, and a blank line before the last name.
    """
    if path == imagenet.NAME:
        return LabelFile(path, tuple(map(imagenet.titled, imagenet.synsets())))
    try:
        text = _composed(read_text(path, MOST_LONG)).rstrip()
    except Unreadable as error:
        raise UserError(f"label file {error}") from None
    lines = tuple(line.strip() for line in text.split("\n"))
    if not any(lines):
        raise UserError(f"label file {path}: empty; expected one class name a line")
    for number, line in enumerate(lines, start=1):
        if not line:
            raise UserError(f"label file {path}, line {number}: blank; expected a class name")
    return LabelFile(path, lines)


def labels_text(class_names: Sequence[str]) -> str:
    """What `LABELS` says: one class name a line, in label order.

    Raises:
      UserError: a name that is empty or holds a line break, which would shift the labels after it.
    """
    for label, name in enumerate(class_names):
        if name.splitlines() != [name]:
            raise UserError(f"class {label}: the name {name!r} is not one line of text, which {LABELS} needs")
    return "".join(f"{name}\n" for name in class_names)


def numbered(count: int) -> tuple[str, ...]:
    """Names of classes that have none: "0", "1", ..."""
    return tuple(str(label) for label in range(count))


def labelled(own_names: Sequence[str], source: str, label_file: LabelFile | None) -> tuple[tuple[str, ...], list[int]]:
    """The class names of a data set in label order, which is `label_file`'s if there is one, and for each of its own
    classes the label.

    Raises `UserError` when the label file does not name one of them.
    """
    class_names = label_file.names(own_names) if label_file else tuple(own_names)
    label_of = {name: label for label, name in enumerate(class_names)}
    for name in own_names:
        if name not in label_of:
            raise UserError(
                f"{source}: class {name!r} is not in label file {label_file.path} ({len(class_names)} names)"
            )
    return class_names, [label_of[name] for name in own_names]
