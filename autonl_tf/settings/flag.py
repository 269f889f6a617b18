"""How a flag is declared: `whole("seed", 0, (0, 9), modes=("train",)).help("...")`, by its kind, default and bounds."""

from __future__ import annotations

import dataclasses
import errno
import math
import os
import re
import sys
import textwrap
from collections.abc import Callable, Collection
from typing import Any

from absl import flags


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag: its default, how absl defines it, the commands that read it, and what it is for in all or in each."""

    name: str
    default: Any
    define: Callable
    modes: Collection[str] = ()
    bounds: dict[str, Any] = dataclasses.field(default_factory=dict)
    text: str = ""
    text_of: dict[str, str] = dataclasses.field(default_factory=dict)

    def help(self, text: str, **text_of: str) -> Flag:
        """The flag with its help text; `text_of` gives a command's own text. If `text` ends in a colon, the list of all
        flags appends every command's text."""
        return dataclasses.replace(self, text=text, text_of=text_of)

    def meaning(self, mode: str | None) -> str:
        """What it is for in a command; None: in all."""
        if mode in self.text_of or not self.text.endswith(":"):
            return self.text_of.get(mode, self.text)
        each = [f"{name}: {text[0].lower()}{text[1:]}" for name, text in self.text_of.items()]
        return " ".join([self.text, *each])

    def read_by(self, *modes: str) -> Flag:
        return dataclasses.replace(self, modes=modes)

    def add_to(self, values: flags.FlagValues) -> None:
        self.define(self.name, self.default, help=self.text, flag_values=values, **self.bounds)

    def told(self, mode: str | None = None) -> str:
        """Its lines of `--help`, of a command or of all."""
        accepted = ""
        if "enum_values" in self.bounds:
            accepted = f" ({'|'.join(self.bounds['enum_values'])})"
        elif "lower_bound" in self.bounds:
            accepted = f" ({_range(self.bounds['lower_bound'], self.bounds['upper_bound'])})"
        default = "" if self.default is None else f" [{self.default}]"
        text = f"--{self.name}{accepted}: {self.meaning(mode)}{default}"
        return textwrap.fill(
            text, 100, initial_indent="  ", subsequent_indent="      ", break_long_words=False, break_on_hyphens=False
        )


def _range(least: float, most: float) -> str:
    short = (
        f"{end:g}" if isinstance(end, float) and end >= 1e6 else f"{end:,}".removesuffix(".0") for end in (least, most)
    )
    return " to ".join(short)


def whole(name: str, default: int | None, bounds: tuple[int, int], **rest) -> Flag:
    """A whole number within (least, most)."""
    return _number(define_whole, name, default, bounds, **rest)


def real(name: str, default: float | None, bounds: tuple[float, float], **rest) -> Flag:
    """A number within (least, most)."""
    return _number(define_real, name, default, bounds, **rest)


def count(name: str, default: int | str, bounds: tuple[int, int], **rest) -> Flag:
    """A whole number within (least, most), or `auto`."""
    return _number(define_count, name, default, bounds, **rest)


def _number(define: Callable, name: str, default: Any, bounds: tuple, **rest) -> Flag:
    return Flag(name, default, define, bounds={"lower_bound": bounds[0], "upper_bound": bounds[1]}, **rest)


def amount(name: str, **rest) -> Flag:
    """A number that may be written as 350M; None or a float."""
    return Flag(name, None, define_amount, **rest)


def switch(name: str, default: bool, **rest) -> Flag:
    return Flag(name, default, define_switch, **rest)


def choice(name: str, default: str | None, accepted: tuple[str, ...], **rest) -> Flag:
    return Flag(name, default, flags.DEFINE_enum, bounds={"enum_values": accepted}, **rest)


def text(name: str, default: str | None = None, **rest) -> Flag:
    return Flag(name, default, flags.DEFINE_string, **rest)


def words(name: str, default: str, **rest) -> Flag:
    """Words with commas between; a tuple."""
    return Flag(name, default, flags.DEFINE_list, **rest)


def path(name: str, default: str | None = None, *, modes: Collection[str] = (), **meaning: bool) -> Flag:
    """A path, see `_PathParser`; None or a str."""
    return Flag(name, default, define_path, modes=modes, bounds=meaning)


def number_in(text: str) -> float:
    """The number that a text says; not-a-number where it says none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


class AmountParser(flags.ArgumentParser):
    """A number from 1 to 1e15, as 350e6, 350M, 0.35G or 350000k."""

    syntactic_help = "a number from 1 to 1e15, such as 350e6 or 350M"

    def parse(self, argument) -> float:
        found = re.fullmatch(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)([kMG]?)", str(argument).strip())
        value = number_in(found[1]) * {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]] if found else math.nan
        if not 1 <= value <= 1e15:
            raise ValueError("accepted: a number from 1 to 1e15, such as 350e6 or 350M")
        return value


class _AmountSerializer(flags.ArgumentSerializer):
    def serialize(self, value) -> str:
        return f"{value:.12g}"


AUTO = "auto"  # in the place of a number: it is found


def _telling(parser: type[flags.ArgumentParser], accepted: Callable[[Any], str], but: tuple[str, ...] = ()) -> type:
    """A parser of absl's whose errors say what is accepted, in words made of it; texts of `but` stay as they are."""

    class Telling(parser):
        def parse(self, argument):
            try:
                return argument if argument in but else super().parse(argument)
            except ValueError:
                raise ValueError(f"accepted: {accepted(self)}") from None

    return Telling


def _bounded(kind: str) -> Callable[[Any], str]:
    return lambda parser: f"{kind} from {_range(parser.lower_bound, parser.upper_bound)}"


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
            refuse_pattern(path)
        if self._written:
            folder, name = os.path.split(path)
            try:
                os.lstat(os.path.join(folder, f".{name}.{os.getpid()}.partial"))
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    raise ValueError("too long for a file's name") from None
        return path


def refuse_pattern(path: str) -> None:
    """Raises ValueError for a path that TensorFlow, which takes checkpoints' names for patterns, cannot read back."""
    if found := re.search(r"[\[\\\x00-\x1f\x7f]", path):
        raise ValueError(f"{found[0]!r}: TensorFlow reads no checkpoint back from such a path; choose another")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError(f"not text in {sys.getfilesystemencoding()}; choose another path") from None


def _parsed_by(parser: type, serializer: type = flags.ArgumentSerializer) -> Callable:
    """Defines an absl flag whose values a parser reads; bounds are the parser's."""

    def define(name, default, *, help, flag_values, **bounds):
        flags.DEFINE(parser(**bounds), name, default, help=help, flag_values=flag_values, serializer=serializer())

    return define


def define_switch(name, default, *, help, flag_values):
    """Defines an absl flag that --NAME turns on and --noNAME off."""
    switch = flags.BooleanFlag(name, default, help)
    switch.parser = _telling(flags.BooleanParser, lambda parser: "true or false")()
    flags.DEFINE_flag(switch, flag_values=flag_values)


define_whole = _parsed_by(_telling(flags.IntegerParser, _bounded("a whole number")))
define_real = _parsed_by(_telling(flags.FloatParser, _bounded("a number")))
define_amount = _parsed_by(AmountParser, _AmountSerializer)
define_count = _parsed_by(_telling(flags.IntegerParser, _bounded(f"{AUTO}, or a whole number"), but=(AUTO,)))
define_path = _parsed_by(_PathParser)
