"""How long a TFLite file takes on this machine, and what `benchmark_model` on another said."""

from __future__ import annotations

import platform
import re
import time
from importlib import metadata
from pathlib import Path

import msgspec
import numpy as np
from ai_edge_litert import interpreter as litert

from autonl_tf.errors import UserError, first_line
from autonl_tf.records import Times


def measure(path: str | Path, *, threads: int, warmup: int, runs: int) -> dict[str, float]:
    """Milliseconds of one run of a TFLite file by the runtime's CPU delegate (XNNPACK).

    Returns:
      `median_ms`, `p5_ms`, `p95_ms`, and `runs`.

    Raises:
      UserError: it is damaged, or cannot be run here.
    """
    try:
        interpreter = litert.Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be run: {first_line(error)}; a damaged one is made anew if removed") from error
    rng = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], rng.normal(size=detail["shape"]).astype(detail["dtype"]))
    for _ in range(warmup):
        interpreter.invoke()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - began)
    low, median, high = np.percentile(seconds, [5, 50, 95]) * 1e3
    return {"median_ms": float(median), "p5_ms": float(low), "p95_ms": float(high), "runs": runs}


def parse_benchmark_output(text: str, source: str, *, warmed_up: bool = True) -> dict[str, float]:
    """The times in what `benchmark_model` printed, in the form of `measure`.

    Its last line of statistics is that of the steady state, behind that of the warm-up where it `warmed_up`. Newer
    releases print percentiles; of an older one the mean, the smallest and the largest are taken.

    Raises:
      UserError: no statistics of the steady state there.
    """
    lines = [
        dict(re.findall(r"(\w+)=([0-9.e+]+)", line)) for line in text.splitlines() if re.search(r"\bcount=\d", line)
    ]
    if not lines:
        raise UserError(f"{source}: no line of statistics (count=... avg=...) by benchmark_model in it")
    if warmed_up and len(lines) < 2:
        raise UserError(f"{source}: ends behind the warm-up; remove it, and run phone.sh again")
    last = lines[-1]
    try:
        median = last.get("median", last.get("p50", last.get("avg")))
        times = [
            float(value) / 1e3 for value in (median, last.get("p5", last.get("min")), last.get("p95", last.get("max")))
        ]
        found = {"median_ms": times[0], "p5_ms": times[1], "p95_ms": times[2], "runs": int(last["count"])}
        return msgspec.convert(found, Times)
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"{source}: benchmark_model's statistics cannot be read: {error}") from None


def device() -> str:
    """This machine's processor, for a table's `device`."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({platform.system()} {platform.machine()})"
    except OSError:
        pass
    return f"{platform.processor() or platform.machine()} ({platform.system()})"


def runtime_version() -> str:
    return metadata.version("ai-edge-litert")
