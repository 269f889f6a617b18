"""The one exception that stands for a user's mistake, and what others say in a line."""

from __future__ import annotations

import re

_OF_TENSORFLOW = re.compile(r"^\{\{.*?\}\} |\s*\[Op:\w+\].*$")


class UserError(Exception):
    """Something the user gave is wrong: the message says what, where, and what is accepted, on one line.

    `autonl_tf.main` prints it as `error: ...` on standard error and exits with code 2, without a traceback.
    """


def first_line(error: BaseException) -> str:
    """What an exception says first, without the node and the op that TensorFlow puts around it."""
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines() or [type(error).__name__]
    return _OF_TENSORFLOW.sub("", lines[0])
