"""A command line read into a `Config`, and the text of `--help`. No TensorFlow: a wrong value fails in a second."""

from __future__ import annotations

import difflib
import importlib
import math
import os
import re
from collections.abc import Sequence
from typing import Any

from absl import flags

from autonl_tf.errors import UserError
from autonl_tf.reading import read_text
from autonl_tf.settings import recipe, shared
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import Flag, choice

_NAMES = (
    *("search", "train", "eval", "predict", "export", "convert"),
    *("describe", "compare", "explain", "profile", "report"),
)
COMMANDS = {name: importlib.import_module(f"autonl_tf.commands.{name}.flags") for name in _NAMES}
ABOUT = {name: (command.__doc__ or "").partition("\n")[0] for name, command in COMMANDS.items()}


def _title(mode: str) -> str:
    return f"For --mode={mode} alone."


MODE = choice("mode", None, tuple(COMMANDS), modes=COMMANDS).help("What to do.")
SECTIONS = {
    **shared.SECTIONS,
    "How search and training update weights, and for how long.": [flag.read_by(*shared.FIT) for flag in recipe.FLAGS],
    **{_title(name): [flag.read_by(name) for flag in command.FLAGS] for name, command in COMMANDS.items()},
}
FLAGS: dict[str, Flag] = {flag.name: flag for flag in (MODE, *(flag for held in SECTIONS.values() for flag in held))}

_USAGE = """\
AutoNL: search, train, evaluate and export lightweight non-local networks.

  autonl --mode=MODE [--flagfile=FILE] [--FLAG=VALUE ...]

Flags after --flagfile override it.
"""
_MOST_WORDS = 10_000  # of flag files within each other
_HELP = ("help", "helpfull", "helpshort", "helpxml", "h", "?")


def define_flags(values: flags.FlagValues) -> None:
    for flag in FLAGS.values():
        flag.add_to(values)


def help_asked(words: Sequence[str]) -> str | None:
    """The text that a command line asks for by --help, alone or beside --mode, or --helpfull; None: it asks for none.

    Raises:
      UserError: no such mode, or a flag file that cannot be read.
    """
    asked = {word.lstrip("-") for word in words if word.startswith("-")} & set(_HELP)
    if not asked:
        return None
    if "helpfull" in asked:
        return usage(None)
    values = flags.FlagValues()
    MODE.add_to(values)
    rest = [word for word in words if word.lstrip("-") not in _HELP]
    try:
        values(["autonl", *expanded(rest)], known_only=True)
    except flags.Error as error:
        raise UserError(error) from error
    if values.mode is not None:
        return usage(values.mode)
    width = max(map(len, ABOUT))
    modes = "\n".join(f"  {name:{width}}  {about}" for name, about in ABOUT.items())
    return (
        f"{_USAGE}\nMODE is one of\n\n{modes}\n\n--mode=MODE --help lists the flags of a mode, --helpfull all flags.\n"
    )


def usage(mode: str | None) -> str:
    """The flags that a mode reads, its own first; None: all flags."""
    text, sections = f"{_USAGE}\n{MODE.told()}\n", list(SECTIONS.items())
    if mode is not None:
        needed = " ".join([mode, *(f"--{name}=..." for name in COMMANDS[mode].REQUIRED)])
        text = f"{_USAGE.replace('MODE', needed, 1)}\n{ABOUT[mode]}\n"
        sections.sort(key=lambda section: section[0] != _title(mode))
    for title, held in sections:
        if told := [flag.told(mode) for flag in held if mode is None or mode in flag.modes]:
            text += "\n".join(["", title, *told, ""])
    return text


def nearest_flags(name: str) -> list[str]:
    """Up to three suggestions for an unknown flag: those with all its words, else the most similar spellings."""
    words = set(name.split("_"))
    by_likeness = difflib.get_close_matches(name, FLAGS, n=len(FLAGS), cutoff=0.0)
    holding = [other for other in by_likeness if words <= set(other.split("_"))]
    return (holding or difflib.get_close_matches(name, FLAGS, n=3) or by_likeness[:1])[:3]


def parse(words: Sequence[str], values: flags.FlagValues) -> None:
    """Reads a command line, the program's name first, into `values`.

    Raises:
      UserError: an unknown flag or a wrong value, a flag file that cannot be read, or a word that is no flag.
    """
    given = expanded(words[1:])
    try:
        rest = values([*words[:1], *given])[1:]
    except flags.UnrecognizedFlagError as error:
        name, where = error.flagname, _where(given, error.flagname)
        if name.strip() in FLAGS:
            raise UserError(f"{where}blanks in --{name}=; accepted: --{name.strip()}=VALUE") from error
        nearest = ", ".join(f"--{other}" for other in nearest_flags(name))
        raise UserError(f"{where}unknown flag --{name}; nearest: {nearest}; --helpfull lists all") from error
    except flags.Error as error:
        named = re.search(r"flag -+(\w+)", str(error))
        raise UserError(f"{_where(given, named[1]) if named else ''}{error}") from error
    try:
        if rest and values.mode == "compare" and values.arch is None:
            values["arch"].parse(",".join(rest))
            rest = []
        if values.mode == "report":
            for name in ("model_dir", "compare_with"):
                if rest and not values[name].present:
                    values[name].parse(rest.pop(0))
    except flags.Error as error:
        raise UserError(error) from error
    if rest:
        raise UserError(f"unexpected argument {rest[0]!r}; settings are given as --flag=value, see --help")


class Line(str):
    """A line of a flag file; `where` says which."""

    where: str


def _where(words: Sequence[str], name: str) -> str:
    """The place of a flag's last value, to begin a message with, where it comes from a flag file; else nothing."""
    given = [word for word in words if re.match(rf"--?(no)?{re.escape(name)}(=|$)", word)]
    return f"{given[-1].where}: " if given and isinstance(given[-1], Line) else ""


def expanded(words: Sequence[str], within: tuple[str, ...] = ()) -> list[str]:
    """The words with the lines of flag files in place of these, as absl reads them but for files of any kind and size.

    Raises:
      UserError: a flag file that cannot be read, has no name, or reads itself.
    """
    found, rest = [], iter(words)
    for word in rest:
        name, equals, path = word.partition("=")
        if name not in ("--flagfile", "-flagfile"):
            found.append(word)
            continue
        path = os.path.expanduser((path if equals else next(rest, "")).strip())
        if not path:
            raise UserError("--flagfile is empty: give it a value, or leave it out")
        if path in within:
            raise UserError(f"--flagfile={path}: reads itself, by way of {within[-1]}")
        lines = []
        for number, text in enumerate(read_text(path).splitlines(), 1):
            line = Line(text.strip())
            line.where = f"{path}, line {number}"
            lines.append(line)
        found += expanded([line for line in lines if line and not line.startswith(("#", "//"))], (*within, path))
        if len(found) > _MOST_WORDS:
            raise UserError(f"--flagfile={path}: {len(found)} lines; accepted: at most {_MOST_WORDS}")
    return found


def from_flags(values: flags.FlagValues) -> Config:
    """The flags as a `Config`, checked against each other.

    Raises:
      UserError: naming the flag, what is wrong with it, and what is accepted.
    """
    for name in FLAGS:
        _refuse_unusable(name, values[name].value)
    mode = values.mode
    if mode is None:
        raise UserError(f"--mode is required; accepted: {', '.join(COMMANDS)}")
    taken = {name: values[name].value if mode in flag.modes else values[name].default for name, flag in FLAGS.items()}
    config = Config(
        {name: tuple(value) if isinstance(value, list) else value for name, value in taken.items()},
        {name: flag.modes for name, flag in FLAGS.items()},
        {name: values[name].serialize() for name in FLAGS if values[name].present},
    )
    for name in COMMANDS[mode].REQUIRED:
        if not config.values[name]:
            raise UserError(f"--mode={mode} needs --{name}: {FLAGS[name].meaning(mode)}")
    shared.check(config)
    return checked("check", config)


def checked(name: str, config: Config) -> Config:
    """The config after its command's `check` or `check_files`, where there is one. Raises UserError as that does."""
    return getattr(COMMANDS[config.mode], name, lambda given: given)(config)


def _refuse_unusable(name: str, value: Any) -> None:
    """Raises UserError for an empty text or list (from an unset shell variable, say), which does not mean the default,
    and for a number that is not finite."""
    texts = value if isinstance(value, list) else [value]
    if not texts or any(isinstance(text, str) and not text.strip() for text in texts):
        raise UserError(f"--{name} is empty: give it a value, or leave it out")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"--{name}={value}: accepted: a finite number")
