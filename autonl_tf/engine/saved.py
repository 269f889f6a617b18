"""What a run directory has of checkpoints, by the names of its files: no index to lose. Needs no TensorFlow."""

from __future__ import annotations

import os
import re
from pathlib import Path

from autonl_tf.errors import UserError
from autonl_tf.files import exists
from autonl_tf.reading import read_json
from autonl_tf.records import BestRecord, SavedRecord

SAVED = "saved.json"
FOLDERS = ("checkpoints", "best")
BEST = "best/best.json"


def steps_saved(directory: Path) -> list[int]:
    """The steps of the checkpoints in `directory`, ascending.

    Raises:
      UserError: it is a file.
      OSError: the directory is there and cannot be read.
    """
    if directory.is_file():
        raise UserError(f"{directory}: is a file; a run keeps a directory there")
    names = os.listdir(directory) if exists(directory) else []
    found = (re.fullmatch(r"ckpt-(\d+)\.index", name) for name in names)
    return sorted(int(match[1]) for match in found if match)


def check_present(directory: Path) -> None:
    """Raises UserError where the run in `directory` has saved what is not there now: it must not begin anew, and cut
    the record of the steps that it made."""
    if not exists(directory / SAVED):
        return
    record = read_json(directory / SAVED, SavedRecord)
    if not steps_saved(directory / "checkpoints"):
        raise UserError(
            f"{_gone(directory, f'a checkpoint of step {record.step}', 'checkpoints')}, or choose another --model_dir"
        )
    best_of(directory)


def best_of(directory: Path) -> Path | None:
    """The prefix of the best copy of the run in `directory`; None: the run has none yet.

    Raises:
      UserError: the run has saved one, whose files are not there now.
    """
    kept, step = exists(directory / BEST), None
    if kept:
        step = read_json(directory / BEST, BestRecord).step
    elif exists(directory / SAVED):
        step = read_json(directory / SAVED, SavedRecord).best
    if step is None:
        return None
    prefix = directory / "best" / f"ckpt-{step}"
    if not (kept and exists(prefix.with_suffix(".index")) and any(prefix.parent.glob(f"{prefix.name}.data-*"))):
        raise UserError(f"{_gone(directory, f'its best copy, of step {step},', 'best')}{other_than_best(directory)}")
    return prefix


def other_than_best(directory: Path) -> str:
    """What to do where a run's best copy cannot be read, to be said behind that."""
    steps = steps_saved(directory / "checkpoints")
    return f", or name another checkpoint, {directory}/checkpoints/ckpt-{steps[-1]}" if steps else ""


def _gone(directory: Path, what: str, where: str) -> str:
    return (
        f"{directory}: {what} was saved in {where}/ and is not there now; bring it back (a disk that is not mounted?)"
    )
