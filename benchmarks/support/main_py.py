"""Commands in processes of their own: how main.py ended, what it took, what its run tells; what a script measured."""

from __future__ import annotations

import json
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


def child(script: str, *words: str):
    """What a script tells by the last line of its output, which is JSON."""
    done = subprocess.run([sys.executable, script, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def evaluations(run: pathlib.Path) -> list[dict]:
    """The records of a run's evaluations on validation images, in order: `step`, `values`."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["phase"] == "validation"]


def best_copy(run: pathlib.Path) -> dict:
    """`metric` and `step` of a run's best copy."""
    return json.loads((run / "best" / "best.json").read_text(encoding="utf-8"))
