"""SIGTERM and SIGHUP, alike in every mode and at any time: an exception, as SIGINT is, that cleans up on its way; the
loop of a training or a search saves at all three.

Python handles a signal when its main thread is next at Python's own code, and native code may wait for another machine
for hours. So a second thread, which signals wake, ends the process where the main thread does not.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

_ENDING = (signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 10.0  # for the main thread to end by itself
_AGAIN_SECONDS = 5.0  # after which a second signal is another request, not the same one sent twice
_QUIET_SECONDS = 60.0  # then others seem to be waited for
_FORGETTING = 0.9  # a stretch; the first one, in which a step is traced, is longer than all others
_raised: int | None = None  # the last signal for which an exception was raised


class Stopped(SystemExit):
    """The signal of this `number` came."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.number = number


def stop(number: int) -> None:
    raise raised_for(number, KeyboardInterrupt() if number == signal.SIGINT else Stopped(number))


def raised_for(number: int, error: BaseException) -> BaseException:
    """`error`, which the handler of this signal raises; `replaced` then gives its number."""
    global _raised
    _raised = number
    return error


def replaced() -> int | None:
    """The number of the last signal for which an exception was raised; None where none came. Another error that comes
    then may stand in its place: native code that calls Python raises its own (pybind11's "MISMATCH of original and
    normalized active exception types", "SystemError: bad argument to internal function")."""
    return _raised


def say(text: str) -> None:
    """A line on standard error, unless its reader takes none: an end must not wait for that."""
    with contextlib.suppress(OSError):
        if select.select([], [2], [], 1.0)[1]:
            os.write(2, f"{text}\n".encode())


def handle(handler: Callable[[int], None]) -> dict[int, object]:
    """Has `handler(number)` called at SIGTERM, SIGHUP and SIGINT; returns the handlers before. Only a main thread may.

    A signal that is ignored (SIGHUP under nohup) stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    heeded = [number for number in (*_ENDING, signal.SIGINT) if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, lambda number, _: handler(number)) for number in heeded}


@contextlib.contextmanager
def handled(handler: Callable[[int], None]) -> Iterator[None]:
    """As `handle`, within the block."""
    before = handle(handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextlib.contextmanager
def deadly(seconds: float) -> Iterator[None]:
    """Within the block any of the signals, or the end of `seconds`, ends the process there: for native calls that keep
    every Python thread from running."""
    numbers = [number for number in (*_ENDING, signal.SIGINT) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    signal.alarm(math.ceil(seconds))
    try:
        yield
    finally:
        signal.alarm(0)
        for number, earlier in before.items():
            signal.signal(number, earlier)


class Progress:
    """How long the main thread has been at what may be waiting for `others`, other machines.

    Args:
      others: what may be waited for, in words; None: nothing.
      limit: seconds after which the watch gives up, in addition to ten times the longest recent stretch.
      code: the exit code then.
    """

    def __init__(self, others: str | None, limit: float, code: int):
        self.others, self.limit, self.code = others, limit, code
        self.patient = False  # whether a request to stop waits for the end of a stretch
        self.hurry: Callable[[], None] = lambda: None  # brings that end near; the watch calls it at a request
        self._began: float | None = None
        self._longest = 0.0

    @contextlib.contextmanager
    def stretch(self) -> Iterator[None]:
        """Around each piece of the work."""
        self._began = began = time.monotonic()
        try:
            yield
        finally:
            self._began, self._longest = None, max(_FORGETTING * self._longest, time.monotonic() - began)

    def waited(self, seconds: float) -> bool:
        """Whether the current stretch is longer than `seconds` plus ten times the longest recent one."""
        began = self._began
        return None not in (self.others, began) and time.monotonic() - began > seconds + 10 * self._longest


class Watch(threading.Thread):
    """Ends the process where the main thread does not.

    Args:
      end: called with a signal's number that the main thread did not obey, or with None and the `Progress` that waits
        without hope; does not return.
    """

    current: Watch | None = None

    def __init__(self, end: Callable[[int | None, Progress | None], None]):
        super().__init__(name="watch", daemon=True)
        self.progress: Progress | None = None
        self._unheard: int | None = None  # the signal whose exception was lost
        self._end = end
        self._woken, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self._tell_ignored, sys.unraisablehook = sys.unraisablehook, self._ignored
        Watch.current = self

    def _ignored(self, lost) -> None:
        """An exception that Python cannot raise where it is, in a destructor or a callback of the garbage collector: a
        signal's is raised once more, by this thread, for here any lock may be held."""
        if isinstance(lost.exc_value, (Stopped, KeyboardInterrupt)):
            self._unheard = getattr(lost.exc_value, "number", signal.SIGINT)
        else:
            self._tell_ignored(lost)

    def run(self) -> None:
        number, first, deadline, told = None, math.inf, math.inf, False
        while Watch.current is self:
            readable, _, _ = select.select([self._woken], [], [], 1.0)
            now, progress = time.monotonic(), self.progress
            if self._unheard:
                unheard, self._unheard = self._unheard, None
                time.sleep(0.1)  # an exception within the hook, where the main thread may still be, would be lost too
                signal.pthread_kill(threading.main_thread().ident, unheard)  # wakes it from a call too
            for received in os.read(self._woken, 64) if readable else b"":
                if received in (*_ENDING, signal.SIGINT):
                    insists = number == received == signal.SIGINT
                    number, first = received, min(first, now)
                    if now - first > _AGAIN_SECONDS:
                        deadline = now
                    elif not (progress and progress.patient) or insists:
                        deadline = min(deadline, now + GRACE_SECONDS)
                    if progress:
                        progress.hurry()
            stalled = progress is not None and progress.waited(_QUIET_SECONDS)
            if now >= deadline or (number and stalled):
                self._end(number, None)
            if stalled and progress.waited(progress.limit):
                self._end(None, progress)
            if stalled and not told:
                limit = f"giving up after {progress.limit:g} s (--wait_seconds)"
                say(f"no step for {_QUIET_SECONDS:.0f} s: waiting for {progress.others}? {limit}")
            told = stalled


@contextlib.contextmanager
def watched(others: str | None, limit: float, code: int) -> Iterator[Progress]:
    """Within the block the watch, where there is one, looks at the `Progress` that the block makes."""
    progress = Progress(others, limit, code)
    if Watch.current:
        Watch.current.progress = progress
    try:
        yield progress
    finally:
        if Watch.current:
            Watch.current.progress = None


def stretch() -> AbstractContextManager[None]:
    """A stretch of the `Progress` that is watched, where one is."""
    progress = Watch.current.progress if Watch.current else None
    return progress.stretch() if progress else contextlib.nullcontext()


def ignore() -> None:
    """Nothing is left to be stopped: the exit code that has been decided stands."""
    Watch.current = None
    signal.set_wakeup_fd(-1)
    for number in (*_ENDING, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
