"""How much memory there is: of the machine, or of the control group that a container is."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import psutil

_PROC, _CGROUPS = pathlib.Path("/proc/self/cgroup"), pathlib.Path("/sys/fs/cgroup")


class Capacity(NamedTuple):
    """Bytes in all, bytes that are free now, and whose they are, in words."""

    total: float
    free: float
    owner: str


def there_is() -> Capacity:
    """The memory of this machine, or of the control group that gives this process less."""
    memory = psutil.virtual_memory()
    found = Capacity(memory.total, memory.available, "this machine")
    for total, used in _groups():
        if total < found.total:  # version 1 states a number near 2^63 where there is no limit
            found = Capacity(total, min(found.free, total - max(used, 0)), "this container (its control group)")
    return found


def _groups() -> Iterator[tuple[int, int]]:
    """(limit, bytes in use without what only caches files) of every control group around this process that has one: of
    both versions, of its own and of all above."""
    try:
        lines = [line.split(":", 2) for line in _PROC.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers == "":
            root, limit, usage, cached = _CGROUPS, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, usage = _CGROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cached = "total_inactive_file"
        else:
            continue
        own = root / path.lstrip("/")
        for folder in (folder for folder in (own, *own.parents) if folder.is_relative_to(root)):
            with contextlib.suppress(OSError, ValueError):  # no limit: it is not there, or "max"
                total = int((folder / limit).read_text())
                statistics = dict(line.split(maxsplit=1) for line in (folder / "memory.stat").read_text().splitlines())
                yield total, int((folder / usage).read_text()) - int(statistics.get(cached, 0))
