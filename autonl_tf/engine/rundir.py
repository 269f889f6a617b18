"""A run directory explains itself before step 1; it belongs to one set of flags, one process at a time."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import socket
import subprocess
import uuid
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

import autonl_tf
from autonl_tf.errors import UserError, system_failure
from autonl_tf.files import exists, locked, write_text
from autonl_tf.reading import MOST_LONG, read_json, read_text
from autonl_tf.records import RunRecord
from autonl_tf.strict_json import plain, write_json

CONFIG = "config.json"
LOCK = ".lock"
_RESULTS = ("checkpoints", "best", "metrics.jsonl", "model.json", "manifest.jsonl")
_FOLDERS = ("checkpoints", "best", "tensorboard")


class KeptDirectory:
    """A directory that is written to for long: recognised by more than its name, which another may have by then."""

    def __init__(self, directory: str | Path):
        self.path = Path(directory)
        self._identity = self._now()

    def _now(self) -> tuple[int, int] | None:
        try:
            stat = os.stat(self.path)
        except FileNotFoundError:
            return None
        return stat.st_dev, stat.st_ino

    def check(self, lost: str) -> None:
        """Raises UserError, which says what is `lost`, where the directory is gone or another one is in its place."""
        if self._identity is not None and self._now() != self._identity:
            raise UserError(
                f"{self.path}: was moved away or replaced while this run wrote to it: {lost}; move it back, and "
                "the same command goes on from what is saved there"
            )


class RunDirectory(KeptDirectory, contextlib.ExitStack):
    """A prepared directory and the lock on it, held until `close`, the end of `with`, or of the process."""

    def __init__(self, path: Path, notes: list[str]):
        KeptDirectory.__init__(self, path)
        contextlib.ExitStack.__init__(self)
        self.notes = notes  # what changed since the run began that does not forbid going on


def prepare(
    directory: str | Path,
    settings: dict,
    comparable: dict,
    files: dict[str, str] | None = None,
    *,
    is_chief: bool = True,
) -> RunDirectory:
    """Makes `directory` the home of this run, or finds it to be so already.

    Args:
      settings: every resolved setting, JSON values; written to config.json with the time, versions and the git commit,
        beside those of every start before, and an identity that is made once (see `checkpoints.check_own`).
      comparable: flag name -> value, JSON values: what must be the same for the run to go on. What a user may
        change between two starts (how often to log) stays out.
      files: name -> text of further files that define the run (arch.txt); they too must be the same.
      is_chief: in a cluster, other processes neither write nor lock.

    Raises:
      UserError: another process works there; the directory was made with other settings (the first
        differing flag, both values) or files; it holds results but no config.json; it cannot be written.
    """
    directory, files = Path(directory), files or {}
    if not is_chief:
        return RunDirectory(directory, [])
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: is a file, a run directory is needed")
    _check(directory, comparable, files)
    new = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock_file = _lock(directory)
    except OSError as error:
        _remove_empty(new)
        raise UserError(f"{directory}: cannot be written: {system_failure(error)[1]}") from error
    written = []
    try:
        # Once more under the lock: another process may have been quicker.
        before = _check(directory, comparable, files)
        config = {
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "settings": settings,
            "comparable": comparable,
            "versions": versions(),
            "git_commit": git_commit(),
            "earlier_starts": before.starts if before else [],
            "run": before.run if before else uuid.uuid4().hex,
        }
        for name, text in files.items():
            if not exists(directory / name):
                written.append(directory / name)
            write_text(directory / name, text)
        write_json(directory / CONFIG, config)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        _unlock(directory, lock_file)
        _remove_empty(new)
        raise
    home = RunDirectory(directory, _notes(before, config))
    home.callback(_unlock, directory, lock_file)
    return home


def versions() -> dict[str, str]:
    """The versions of everything whose numerics matter."""
    return {
        "autonl_tf": autonl_tf.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "tf_keras": keras.__version__,
    }


def git_commit() -> str | None:
    """The commit of the package's own source tree, `-dirty` appended if changed; None outside a clone."""
    root = Path(autonl_tf.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def _remove_empty(folders: list[Path]) -> None:
    """Removes directories that a failed start has made, the innermost first, as far as nothing is in them."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _lock(directory: Path):
    while True:
        file = open(directory / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 - the open file is the lock
        if not locked(file):
            file.seek(0)
            owner = file.read().strip() or "another process"
            file.close()
            raise UserError(f"{directory}: in use by {owner}; choose another --model_dir or wait for it")
        if _is_in(directory, file):
            break
        file.close()  # that of a process which has ended in the meantime
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def _unlock(directory: Path, file) -> None:
    if _is_in(directory, file):  # not moved away, with another in its place
        with contextlib.suppress(OSError):
            os.unlink(directory / LOCK)
    file.close()


def _is_in(directory: Path, file) -> bool:
    """Whether an open lock is the one that other processes find."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(directory / LOCK))
    except OSError:
        return False


def _check(directory: Path, comparable: dict, files: dict[str, str]) -> RunRecord | None:
    """The config.json of a directory that is this run's, None for a fresh one."""
    path = directory / CONFIG
    for name in _FOLDERS:
        if (directory / name).exists() and not (directory / name).is_dir():
            raise UserError(f"{directory / name}: is a file; a run keeps a directory there")
    if not exists(path):
        held = [name for name in _RESULTS if os.path.lexists(directory / name)]
        held += [name for name, text in files.items() if _other_text(directory / name, text) is not None]
        if held:
            raise UserError(
                f"{directory}: holds {', '.join(held)} but no {CONFIG}: not a run directory; choose another --model_dir"
            )
        return None
    config = read_json(path, RunRecord, what="what a run is started with")
    if other := config.other_setting(plain(comparable)):
        raise UserError(f"{directory}: {other}")
    for name, text in files.items():
        if (before := _other_text(directory / name, text)) is not None:
            raise UserError(f"{directory}: was made with another {name}{_first_difference(before, text)}")
    return config


def _other_text(path: Path, text: str) -> str | None:
    """What a file holds where that is not `text`; None: `text`, or there is no such file."""
    found = read_text(path, MOST_LONG) if exists(path) else text
    return None if found == text else found


def _first_difference(before: str, now: str) -> str:
    lines = before.splitlines(), now.splitlines()
    for number, (old, new) in enumerate(zip(*lines, strict=False), start=1):
        if old != new:
            return f" (line {number}: {old!r}, now {new!r})"
    return f" ({len(lines[0])} lines, now {len(lines[1])})"


def _notes(before: RunRecord | None, now: dict) -> list[str]:
    if before is None:
        return []
    changed = {**before.versions, "git_commit": before.git_commit}
    current = {**now["versions"], "git_commit": now["git_commit"]}
    return [
        f"{name} was {old} when this run was last started, is {current[name]} now"
        for name, old in changed.items()
        if name in current and current[name] != old
    ]
