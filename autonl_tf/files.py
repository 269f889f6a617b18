"""Files and directories written whole or not at all, whatever dies in between."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from autonl_tf.errors import UserError, system_failure

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux' renameat2
# What a file system that cannot exchange answers (NFS; layers of a container), or a kernel that does not know the call.
_CANNOT_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV, errno.EPERM)

_log = logging.getLogger(__name__)
_begun: set[Path] = set()  # what this process is writing aside


def exists(path: str | Path) -> bool:
    """Whether something is there. What cannot be looked at is not absent.

    Raises:
      OSError: a link that leads nowhere (to a disk that is not mounted), or a directory that may not be searched.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if os.path.islink(path) and not os.path.exists(path):
        raise OSError(errno.ENOENT, "is a link that leads nowhere", str(path))
    os.stat(path)
    return True


@contextlib.contextmanager
def in_place(path: str | Path) -> Iterator[Path]:
    """A file beside `path` to be written, which takes its place at the end: a reader sees the old one or the new one.

    The file is locked meanwhile: a second process waits, and what a dead one has left is written over.

    Raises:
      UserError: it cannot be written.
    """
    path = Path(os.path.realpath(path))
    aside = path.with_name(f".{path.name}.part")
    with _told(path, aside):
        descriptor = _claimed(aside)
        try:
            _begun.add(aside)
            yield aside
            os.fsync(descriptor)
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        finally:
            _begun.discard(aside)
            os.close(descriptor)


def write_text(path: str | Path, text: str, errors: str = "strict") -> None:
    """Writes a file `in_place`."""
    with in_place(path) as aside:
        aside.write_text(text, encoding="utf-8", errors=errors)


@contextlib.contextmanager
def directory_in_place(target: str | Path) -> Iterator[Path]:
    """A new directory beside `target` that takes its place, whatever was there, or vanishes if the block fails.

    Old and new are exchanged in one step where the file system can do that. Where it cannot, a process killed between
    two renames leaves nothing in the place until `recover` is called, as it is here.

    Raises:
      UserError: it cannot be written, or another process is at it.
    """
    target = Path(target)
    if target.is_symlink() or target.name in ("", ".."):  # else as it was given: TensorFlow may not read a path in full
        target = Path(os.path.realpath(target))
    aside = _aside(target, "part")
    missing = [folder for folder in target.parents if not folder.exists()]
    with _told(target, aside):
        recover(target)
        lock = None
        try:
            aside.mkdir(parents=True)
            lock = _lock(aside)
            _begun.add(aside)
            yield aside
            _put_in_place(aside, target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            for folder in missing:
                with contextlib.suppress(OSError):  # not empty any more: someone else uses it
                    folder.rmdir()
            raise
        finally:
            _begun.discard(aside)
            if lock is not None:
                os.close(lock)


def abandon() -> None:
    """Removes all that this process is writing aside: it is about to end in the middle."""
    for aside in list(_begun):
        shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def recover(target: str | Path) -> None:
    """Undoes what a process that died while it replaced the directory `target` has left.

    Raises:
      UserError: the process has not died.
    """
    target = Path(os.path.realpath(target))
    for left in (_aside(target, "part"), _aside(target, "old")):
        if not left.exists():
            continue
        lock = _lock(left)
        if lock is None:
            raise UserError(f"{target}: another process is writing it; wait for it, or choose another directory")
        os.close(lock)
        if left.suffix == ".old" and not target.exists():
            os.replace(left, target)
            _log.warning("%s: put back as it was before a process died that was about to replace it", target)
        else:
            shutil.rmtree(left)


@contextlib.contextmanager
def _told(path: Path, aside: Path) -> Iterator[None]:
    """Turns a system failure into a one-line error about `path`, or about the other file that failed."""
    try:
        yield
    except UserError as error:  # of a file within, which is gone with the hidden directory
        if aside.name not in str(error):
            raise
        raise UserError(str(error).replace(aside.name, path.name)) from error
    except Exception as error:
        failure = system_failure(error)
        if failure is None:
            raise
        file, reason = failure
        own = not file or str(aside) in file
        raise UserError(f"{path}: cannot be written: {reason}" if own else f"{file}: {reason}") from error


def _aside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}.{suffix}")


def _claimed(path: Path) -> int:
    """The descriptor of an empty file at `path` that this process has locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            locked(descriptor, wait=True)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):  # not renamed by who had the lock before
                    os.ftruncate(descriptor, 0)
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(directory: Path) -> int | None:
    """The descriptor that holds a lock on a directory, None where another process has it."""
    descriptor = os.open(directory, os.O_RDONLY)
    if not locked(descriptor):
        os.close(descriptor)
        return None
    return descriptor


def locked(file, wait: bool = False) -> bool:
    """Locks an open file, where the file system has locks; False: another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def _put_in_place(aside: Path, target: Path) -> None:
    if not target.exists() or not any(target.iterdir()):
        os.replace(aside, target)
        return
    old = aside
    if not _exchanged(aside, target):
        old = _aside(target, "old")
        os.replace(target, old)
        try:
            os.replace(aside, target)
        except BaseException:
            os.replace(old, target)
            raise
    try:
        shutil.rmtree(old)
    except OSError as error:  # the new one is in its place all the same
        _log.warning("%s: what is left of the earlier directory cannot be removed: %s", old, error.strerror)


def _exchanged(first: Path, second: Path) -> bool:
    """Exchanges two directories in one step; False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(second))
