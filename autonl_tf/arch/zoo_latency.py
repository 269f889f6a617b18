"""Latencies of the shipped networks, measured by `benchmarks/zoo_latency.py`."""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

FILE = pathlib.Path(__file__).parent / "zoo_latency.json"


@functools.cache
def measured() -> dict[str, Any]:
    """`how`, in words, and `milliseconds` by name: the medians of the last run of the benchmark."""
    return json.loads(FILE.read_text(encoding="utf-8"))
