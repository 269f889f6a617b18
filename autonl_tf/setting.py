"""How a flag is defined: as a field of a frozen dataclass, with its help, bounds and the modes that read it."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import sys

from absl import flags


def flag(define, default, text, *, modes, **bounds):
    """A dataclass field that is a flag: how absl defines it, its help, and the modes that read it.

    Raises:
      TypeError: a number without a range: both bounds are stated.
    """
    if define in (flags.DEFINE_integer, flags.DEFINE_float) and not {"lower_bound", "upper_bound"} <= bounds.keys():
        raise TypeError(f"a flag that is a number needs lower_bound and upper_bound: {text}")
    return dataclasses.field(
        default=default, metadata={"define": define, "help": text, "modes": frozenset(modes), "bounds": bounds}
    )


class _AmountParser(flags.ArgumentParser):
    """A number from 1 to 1e15, as 350e6, 350M, 0.35G or 350000k."""

    syntactic_help = "a number from 1 to 1e15, such as 350e6 or 350M"

    def parse(self, argument) -> float:
        found = re.fullmatch(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)([kMG]?)", str(argument).strip())
        try:
            value = float(found[1]) * {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]] if found else 0.0
        except ValueError:
            value = 0.0
        if not 1 <= value <= 1e15:
            raise ValueError("accepted: a number from 1 to 1e15, such as 350e6 or 350M")
        return value


class _AmountSerializer(flags.ArgumentSerializer):
    def serialize(self, value) -> str:
        return f"{value:.12g}"


def define_amount(name, default, *, help, flag_values):
    """An absl flag that takes 350M as well as 350e6; None or a float."""
    flags.DEFINE(_AmountParser(), name, default, help=help, flag_values=flag_values, serializer=_AmountSerializer())


AUTO = "auto"  # in the place of a number: it is found


class _CountParser(flags.IntegerParser):
    """A whole number within bounds, or `auto`."""

    def parse(self, argument) -> int | str:
        try:
            return AUTO if argument == AUTO else super().parse(argument)
        except ValueError:
            raise ValueError(
                f"accepted: {AUTO}, or a whole number from {self.lower_bound} to {self.upper_bound:,}"
            ) from None


def define_count(name, default, *, help, flag_values, lower_bound, upper_bound):
    """An absl flag that is a whole number within bounds, or `auto`."""
    parser = _CountParser(lower_bound=lower_bound, upper_bound=upper_bound)
    flags.DEFINE(parser, name, default, help=help, flag_values=flag_values, serializer=flags.ArgumentSerializer())


class _PathParser(flags.ArgumentParser):
    """A path in which ~ and ~user are home directories: bash leaves them as they are behind the = of a flag.

    Args:
      for_tensorflow: TensorFlow reads or writes checkpoints there, whose names it takes for patterns.
      written: something is written there, under a longer name at first.
      behind_kind: the path, if any, follows a kind and a colon, as in folder:PATH.
      several: paths with commas between.
    """

    syntactic_help = "a path, ~ being the home directory"

    def __init__(self, for_tensorflow=False, written=False, behind_kind=False, several=False):
        self._for_tensorflow, self._written = for_tensorflow, written
        self._behind_kind, self._several = behind_kind, several

    def parse(self, argument) -> str:
        text = str(argument)
        if self._several:
            return ",".join(map(self._path, text.split(",")))
        kind, colon, path = text.partition(":")
        return f"{kind}:{self._path(path)}" if self._behind_kind and colon else self._path(text)

    def _path(self, text: str) -> str:
        path = os.path.expanduser(text)
        if text.startswith("~") and path == text:
            raise ValueError(f"no such user: {text.split('/')[0]} (./{text} is a file of that name)")
        path = path.rstrip("/") or path[:1]
        if self._for_tensorflow:
            if found := re.search(r"[\[\\\x00-\x1f\x7f]", path):
                raise ValueError(f"{found[0]!r}: TensorFlow reads no checkpoint back from such a path; choose another")
            try:
                path.encode()
            except UnicodeEncodeError:
                raise ValueError(f"not text in {sys.getfilesystemencoding()}; choose another path") from None
        if self._written:
            folder, name = os.path.split(path)
            try:
                os.lstat(os.path.join(folder, f".{name}.{os.getpid()}.partial"))
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    raise ValueError("too long for a file's name") from None
        return path


def define_path(name, default, *, help, flag_values, **meaning):
    """An absl flag that is a path, see `_PathParser`; None or a str."""
    parser, serializer = _PathParser(**meaning), flags.ArgumentSerializer()
    flags.DEFINE(parser, name, default, help=help, flag_values=flag_values, serializer=serializer)
