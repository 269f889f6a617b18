"""The one exception that stands for a user's mistake."""

from __future__ import annotations


class UserError(Exception):
    """Something the user gave is wrong: the message says what, where, and what is accepted, on one line.

    `autonl_tf.main` prints it as `error: ...` on standard error and exits with code 2, without a traceback.
    """
