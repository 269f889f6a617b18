"""Fuzz of what reads users' files: architectures, search spaces, latency tables, checkpoints, images sent to a server.

Hypothesis makes inputs (random ones, and valid ones mutated) for so many minutes a target, in a process each. Only
the documented error is accepted, `UserError` of one line (of the serving signature: INVALID_ARGUMENT); besides, an
architecture that is accepted must survive being written and read again, and a checkpoint of TensorFlow that loads must
give the weights that were saved. A crash of the process, or one that does not end, counts as well. Ends in one line of
JSON; exit code 1 if anything else happened.

    python benchmarks/fuzz_readers.py [--minutes=30] [--targets=blocks,space,...] [--seed=0]
"""

from __future__ import annotations

import argparse
import collections
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from hypothesis import HealthCheck, Phase, given, seed, settings

CHUNK = 100  # examples between two looks at the clock


TARGETS = {
    **dict.fromkeys(("blocks", "space", "table"), "support.fuzz_texts"),
    **dict.fromkeys(("checkpoint", "release", "port", "serving"), "support.fuzz_files"),
}


def fuzz(name: str, minutes: float, first_seed: int) -> None:
    """One target, in this process; prints a line of JSON. Hypothesis shrinks a failure and raises it."""
    counts: collections.Counter = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        target = getattr(importlib.import_module(TARGETS[name]), name)(pathlib.Path(folder))
        end, number = time.monotonic() + 60 * minutes, first_seed
        while time.monotonic() < end:

            @seed(number)
            @settings(
                max_examples=CHUNK,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate, Phase.shrink],
            )
            @given(target.examples)
            def chunk(example):
                counts["accepted" if target.check(example) else "refused"] += 1

            chunk()
            number += 1
    print(json.dumps(counts))


def one_target(command: list[str], environment: dict[str, str], options: argparse.Namespace) -> dict:
    """What one target's process ended with; code -1: it hung."""
    began, code = time.monotonic(), -1
    limit = 60 * options.minutes + options.grace
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=limit, check=False)
        code, said = done.returncode, done.stderr
    except subprocess.TimeoutExpired as error:
        said = (error.stderr or b"") + f"no end after {limit:.0f} s".encode()
    result = {"minutes": round((time.monotonic() - began) / 60, 2), "exit_code": code}
    if code:
        print(said.decode(errors="replace")[-6000:], file=sys.stderr)
        return result
    return result | json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="of each target")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grace", type=float, default=600.0, help="seconds beside the minutes, then a target hangs")
    parser.add_argument("--here", action="store_true", help="one target in this process")
    options = parser.parse_args()
    if unknown := set(options.targets.split(",")) - set(TARGETS):
        parser.error(f"--targets={options.targets}: {', '.join(unknown)} unknown; accepted: {', '.join(TARGETS)}")
    if options.here:
        fuzz(options.targets, options.minutes, options.seed)
        return
    results = {}
    for name in options.targets.split(","):
        command = [sys.executable, __file__, "--here", f"--targets={name}", f"--minutes={options.minutes}"]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        results[name] = one_target([*command, f"--seed={options.seed}"], environment, options)
        print(name, results[name], flush=True)
    clean = not any(result["exit_code"] for result in results.values())
    print(
        json.dumps(
            {"minutes_each": options.minutes, "seed": options.seed, "only_documented_errors": clean, "targets": results}
        )
    )
    sys.exit(not clean)


if __name__ == "__main__":
    main()
