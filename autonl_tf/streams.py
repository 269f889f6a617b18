"""Standard output and error that outlive their readers: what cannot be shown is dropped, and the work goes on."""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
from collections.abc import Iterator

from autonl_tf.plain_text import PlainText

_NAMES = {1: "standard output", 2: "standard error"}


class _Lasting(io.FileIO):
    """A stream on which writing never fails; `fault` is what the first write that did failed with."""

    fault: OSError | None = None

    def write(self, data) -> int:
        try:
            while (written := super().write(data)) is None:  # a pipe that does not block, and is full
                select.select([], [self], [])
            return written
        except OSError as error:
            self.fault = self.fault or error
            return len(data)


def outlive_readers() -> None:
    """Puts such streams in the place of `sys.stdout` and `sys.stderr`; one that is closed refuses writing.

    If it stayed closed, the next file opened would get its number, and native code would write into that file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # takes the lowest number that is free: this one
    sys.stdout, sys.stderr = _stream(1, sys.stdout), _stream(2, sys.stderr)


def _stream(number: int, before: io.TextIOWrapper | None) -> io.TextIOWrapper:
    raw = _Lasting(number, "w", closefd=False)
    return PlainText(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",  # names of files need not be UTF-8
        line_buffering=number == 2 or raw.isatty(),
    )


def say(text: str) -> None:
    """A line for the person watching; standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def lost() -> dict[str, OSError]:
    """The standard streams, by name, that could not be written, with what they failed with."""
    streams = {_NAMES[1]: sys.stdout, _NAMES[2]: sys.stderr}
    raws = {name: getattr(getattr(stream, "buffer", None), "raw", None) for name, stream in streams.items()}
    return {name: raw.fault for name, raw in raws.items() if isinstance(raw, _Lasting) and raw.fault}


def lost_output() -> OSError | None:
    """What standard output failed with, all that was printed having been written or dropped."""
    sys.stdout.flush()
    return lost().get(_NAMES[1])


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Holds back standard error, native code's included, and shows it only if the block fails or the process dies.

    A child process holds it, since a process that dies of a fault in native code cannot show its last words itself.
    """
    sys.stderr.flush()
    read, write = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    keeper = os.fork()
    if keeper == 0:
        _keep(read, write)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(read)
    shown = os.dup(2)
    os.dup2(write, 2)
    os.close(write)
    failed = False
    try:
        yield
    except Exception:
        failed = True
        raise
    finally:
        if not failed:
            os.kill(keeper, signal.SIGKILL)
        os.dup2(shown, 2)  # the keeper sees the end of what it reads, and shows it
        os.close(shown)
        os.waitpid(keeper, 0)


def _keep(read: int, write: int) -> None:
    """Runs in the child, which blocks the signals that a process group is sent; does not return."""
    try:
        os.close(write)
        kept = bytearray()
        while part := os.read(read, 65536):
            kept += part
        os.write(2, kept)
    finally:
        os._exit(0)
