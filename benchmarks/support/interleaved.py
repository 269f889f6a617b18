"""Milliseconds of several TFLite files, interleaved, in several processes.

Where a process's memory happens to lie moves a network's time by one or two percent, in the same way for as long as the
process lives. So rounds are divided among processes, and networks are compared process by process.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time

Times = dict[str, list[float]]  # of every file by its key: milliseconds, one entry a round


def measure(files: dict[str, tuple[str, int]], seconds: float, processes: int, repeats: int = 2) -> list[Times]:
    """Runs every file (key -> path, threads) once to warm up and `repeats` times to measure, round by round.

    Args:
      files: what to run.
      seconds: in all; a process stops after the round in which its share of it has passed.
      processes: one after the other.
      repeats: of which a round's entry is the mean.
    """
    parts = []
    for seed in range(processes):
        request = {"files": files, "seconds": seconds / processes, "repeats": repeats, "seed": seed}
        command = [sys.executable, __file__, json.dumps(request)]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        parts.append(json.loads(text.splitlines()[-1]))
    return parts


def summary(parts: list[Times], key: str) -> dict[str, float]:
    """Median and percentiles of all rounds."""
    values = [value for part in parts for value in part[key]]
    tenths = statistics.quantiles(values, n=10)
    rounded = {"median_ms": statistics.median(values), "p10_ms": tenths[0], "p90_ms": tenths[-1]}
    return {**{name: round(value, 3) for name, value in rounded.items()}, "rounds": len(values)}


def ratio(parts: list[Times], key: str, other: str) -> dict[str, float]:
    """How many times as long as `other` a file takes: median and extremes of the processes' ratios of medians."""
    found = [statistics.median(part[key]) / statistics.median(part[other]) for part in parts]
    values = (statistics.median(found), min(found), max(found))
    return {name: round(value, 4) for name, value in zip(("median", "least", "greatest"), values, strict=True)}


def difference(parts: list[Times], key: str, other: str) -> float:
    """Milliseconds that a file takes more than `other`: median of the processes' differences of medians."""
    found = [statistics.median(part[key]) - statistics.median(part[other]) for part in parts]
    return round(statistics.median(found), 4)


def _times(files: dict[str, tuple[str, int]], seconds: float, repeats: int, seed: int) -> Times:
    from ai_edge_litert.interpreter import Interpreter

    dice, order, runs = random.Random(seed), list(files), {}
    dice.shuffle(order)
    for key in order:
        path, threads = files[key]
        runs[key] = Interpreter(model_path=path, num_threads=threads)
        runs[key].allocate_tensors()
    found: Times = {key: [] for key in files}
    began = time.monotonic()
    while not found[order[0]] or time.monotonic() - began < seconds:
        dice.shuffle(order)
        for key in order:
            runs[key].invoke()
            start = time.perf_counter()
            for _ in range(repeats):
                runs[key].invoke()
            found[key].append(1e3 * (time.perf_counter() - start) / repeats)
    return found


if __name__ == "__main__":
    print(json.dumps(_times(**json.loads(sys.argv[1]))))
