"""Commands that are printed to be pasted: by the program as it was started, with the flags that the user gave."""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import sys
from collections.abc import Collection

from autonl_tf.settings.config import Config

# Flags of a run's length and what depends on it; another mode has its own.
LENGTHS = frozenset(
    ("train_steps", "train_epochs", "lr_warmup_steps", "lr_warmup_epochs", "lr_decay_epochs", "lr_decay_rate")
)
# Flags that a checkpoint answers itself, or that concern the checkpoint a training started from.
OF_CHECKPOINT = frozenset(
    (
        *("init_checkpoint", "use_averages", "arch", "nonlocal", "input_image_size", "crop_padding"),
        *("num_label_classes", "depth_multiplier", "calibration_dataset", "calibration_images"),
    )
)


def interpreter() -> str:
    """This Python as the shell that started it takes it: by name where that finds it, else by path."""
    return _shown(sys.executable, "python", "python3")


def program() -> str:
    """How this program was started, quoted for a shell: by `main.py` and an interpreter, or as `autonl`."""
    started = sys.argv[0]
    if os.path.basename(started) == "main.py":
        return shlex.join([interpreter(), started])
    if os.path.basename(started) != "autonl":  # from Python
        started = os.path.join(os.path.dirname(sys.executable), "autonl")
    return shlex.quote(_shown(os.path.abspath(started), "autonl"))


def next_command(config: Config, mode: str, *words: str, without: Collection[str] = ()) -> str:
    """A command that goes on from this run in another mode.

    Args:
      words: its own flags; the user's of the same names are left out.
      without: names of further flags of the user's that are left out.
    """
    own = {word.lstrip("-").partition("=")[0] for word in words} | {"mode", *without}
    read = {name for name, modes in config.readers.items() if mode in modes}
    kept = [word for name, word in config.given.items() if name in read - own]
    words = tuple(word.replace("=~", f"={os.curdir}{os.sep}~", 1) for word in words)  # not anybody's home directory
    return f"{program()} {shlex.join([f'--mode={mode}', *words, *kept])}"


def beside(directory: str | pathlib.Path, name: str) -> str:
    """A directory for what comes next: of runs/search, runs/search_train."""
    path = pathlib.Path(directory)
    return f"{path}_{name}" if path.name not in ("", "..") else f"{path}/{name}"


def _shown(path: str, *names: str) -> str:
    if found := next((name for name in names if os.path.abspath(shutil.which(name) or "") == path), None):
        return found
    relative = os.path.relpath(path)
    if relative.startswith(os.pardir):
        return path
    return relative if os.sep in relative else os.path.join(os.curdir, relative)
