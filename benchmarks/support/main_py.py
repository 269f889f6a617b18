"""main.py in a process of its own: how it ended, what it said, and what it took."""

from __future__ import annotations

import os
import pathlib
import resource
import subprocess
import sys
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Done(NamedTuple):
    """`stdout` and `stderr` where they were captured; seconds of processor time, which other work changes little."""

    code: int
    stdout: str | None
    stderr: str | None
    seconds: float
    cpu_seconds: float


def main_py(*words: str, cwd: pathlib.Path = ROOT, check: bool = True, stdout=None, **options) -> Done:
    """Runs a command, with options of `subprocess.run`; its standard output goes to standard error by default.

    Raises:
      CalledProcessError: it failed, and `check`.
    """
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=check,
        stdout=stdout or sys.stderr,
        text=True,
        errors="replace",
        **options,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - began, cpu)
