"""The one exception that stands for a user's mistake, what others say in a line, and what a process ends with."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence

# Exit codes; docs/faq.md tells what each means.
USAGE_ERROR = 2
PREEMPTED = 42  # also what tf.distribute's PreemptionCheckpointHandler exits with
WORKER_LOST = 43
READER_LEFT = 141  # 128 and more: a signal, as a shell tells it

# What writing to a full disk, or beyond a quota or a limit, fails with.
_NO_ROOM = {os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)}

_OF_TENSORFLOW = re.compile(r"^\{\{.*?\}\} |\s*\[Op:\w+\].*$")
# TensorFlow's file errors have a dozen classes, but all end in "FILE; what the system says".
_OF_THE_SYSTEM = "|".join(sorted((re.escape(os.strerror(number)) for number in errno.errorcode), key=len, reverse=True))
_FILE_ERROR = re.compile(rf"(.+); ({_OF_THE_SYSTEM})")
# Behind the lines that name the node, where it is raised within a graph.
_NO_MEMORY = re.compile(r"OOM when allocating tensor with shape(\[[\d,]*\])")


class UserError(Exception):
    """Something the user gave is wrong: the message says what, where, and what is accepted, on one line, whatever is
    quoted in it.

    `autonl_tf.cli.main` prints it as `error: ...` on standard error and exits with code 2, without a traceback.
    """

    def __init__(self, message: object):
        super().__init__(joined(message))


def joined(message: object) -> str:
    """The lines of a message as one."""
    return " ".join(line.strip() for line in str(message).splitlines())


def listed(texts: Sequence[str], most: int, between: str = ", ") -> str:
    """The first `most` of some texts in one, and how many more there are; a single one more is there itself."""
    most += len(texts) == most + 1
    rest = len(texts) - most
    return between.join(texts[:most]) + (f"{between.strip(', ')} and {rest} more" if rest > 0 else "")


def first_line(error: BaseException) -> str:
    """What an exception says first, without the node and the op that TensorFlow puts around it."""
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines() or [type(error).__name__]
    return _OF_TENSORFLOW.sub("", lines[0])


def system_failure(error: BaseException) -> tuple[str, str] | None:
    """Which file (empty: none is known) the system failed on, and how; None for any other exception.

    A failure of the system is an OSError, a lack of memory, and what TensorFlow raises for either.
    """
    if isinstance(error, OSError):
        file = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        return file, _advised(" ".join(str(error.strerror or error).split()))
    if isinstance(error, MemoryError):
        return "", f"out of memory: {first_line(error)}"
    if not type(error).__module__.startswith("tensorflow."):
        return None
    if found := _FILE_ERROR.match(first_line(error)):
        return found[1], _advised(found[2])
    if type(error).__name__ != "ResourceExhaustedError":
        return None
    if found := _NO_MEMORY.search(str(error)):
        return "", f"out of memory: no room for a tensor of shape {found[1]}; a smaller batch takes less"
    return "", f"out of memory: {first_line(error)}"


def failure_line(error: BaseException) -> str:
    """The file that the system failed on, and how; for any other exception what it says first."""
    return ": ".join(filter(None, system_failure(error) or ("", first_line(error))))


def _advised(reason: str) -> str:
    return f"{reason}; make room and run the same command again" if reason in _NO_ROOM else reason
