"""What a run directory has of checkpoints, by the names of its files: no index to lose. Needs no TensorFlow."""

from __future__ import annotations

import os
import re
from pathlib import Path

from autonl_tf.errors import UserError
from autonl_tf.files import exists
from autonl_tf.reading import read_json
from autonl_tf.records import SavedRecord

SAVED = "saved.json"


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
        _refuse(directory, f"a checkpoint of step {record.step}", "checkpoints")
    if record.best is not None and not exists(directory / "best" / "best.json"):
        _refuse(directory, f"its best copy, of step {record.best}", "best")


def _refuse(directory: Path, what: str, where: str) -> None:
    raise UserError(
        f"{directory}: {what} was saved in {where}/ and is not there now; bring it back (a disk that is not mounted?), "
        "or choose another --model_dir"
    )
