"""How much memory there is: of the machine, or of the control group that a container is."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import psutil

_PROC, _CGROUPS = pathlib.Path("/proc/self/cgroup"), pathlib.Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # control groups of version 1 state a number near 2^63 where there is none


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
        if total < found.total:
            found = Capacity(total, min(found.free, total - max(used, 0)), "this container (its control group)")
    return found


def _groups() -> list[tuple[int, int]]:
    """(limit, bytes in use without what only caches files) of every control group around this process that has one."""
    found = []
    for folder, limit, usage, cached in _folders():
        try:
            text = (folder / limit).read_text().strip()
            if text == "max" or int(text) >= _NO_LIMIT:
                continue
            statistics = dict(line.split(maxsplit=1) for line in (folder / "memory.stat").read_text().splitlines())
            used = int((folder / usage).read_text()) - int(statistics.get(cached, 0))
            found.append((int(text), used))
        except (OSError, ValueError):
            continue
    return found


def _folders():
    """Where control groups of both versions state it: of this process's group and of all above."""
    try:
        lines = [line.split(":", 2) for line in _PROC.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers == "":
            root, names = _CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            root = _CGROUPS / "memory"
        else:
            continue
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder != root and root not in folder.parents:
                break
            yield folder, *names
