"""Reads the cluster of TF_CONFIG strictly, and waits for its processes; the wait is told and can be interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator

from autonl_tf.errors import UserError

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(\d{1,5})")
_FIRST_WORD_SECONDS, _NEXT_WORD_SECONDS = 3.0, 30.0


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Every process's address, `host:port` by name (`worker 1`), and the `own` name."""

    addresses: dict[str, str]
    own: str


def from_environment() -> Cluster:
    """The cluster of the environment variable TF_CONFIG.

    Raises:
      UserError: it is not set, or not what `tf.distribute.MultiWorkerMirroredStrategy` can work with.
    """
    text = os.environ.get("TF_CONFIG")
    if text is None:
        raise UserError("--strategy=multiworker needs the environment variable TF_CONFIG (cluster and task as JSON)")
    if not text.strip():
        raise UserError("TF_CONFIG is empty: give it a value, or unset it")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"TF_CONFIG is not JSON: {error}") from None
    cluster, task = (config.get(name) if isinstance(config, dict) else None for name in ("cluster", "task"))
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise UserError(
            'TF_CONFIG: accepted: {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": .., "index": ..}}'
        )
    addresses: dict[str, str] = {}
    for kind, listed in cluster.items():
        if kind not in ("chief", "worker"):
            raise UserError(f"TF_CONFIG: cluster has tasks of type {kind!r}; accepted: chief, worker")
        if not isinstance(listed, list) or not listed or (kind == "chief" and len(listed) > 1):
            count = "one HOST:PORT" if kind == "chief" else "HOST:PORT, one at least"
            raise UserError(f"TF_CONFIG: cluster: {kind} is {json.dumps(listed)}; accepted: a list of {count}")
        for index, address in enumerate(listed):
            check_address(address, f"TF_CONFIG: cluster: {kind} {index}")
            if address in addresses.values():
                raise UserError(f"TF_CONFIG: cluster: {address} is given twice; accepted: one address a process")
            addresses[f"{kind} {index}"] = address
    kind, index = task.get("type"), task.get("index")
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    if isinstance(index, bool) or f"{kind} {index}" not in addresses:
        known = ", ".join(addresses) or "none: cluster is empty"
        raise UserError(f"TF_CONFIG: task is {json.dumps(task)}; accepted: type and index of one of: {known}")
    return Cluster(addresses, f"{kind} {index}")


def check_address(address: object, where: str) -> None:
    found = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if not found or not 1 <= int(found[2]) <= 65535:
        raise UserError(f"{where} is {json.dumps(address)}; accepted: HOST:PORT, the port from 1 to 65535")


def wait_for_others(cluster: Cluster, seconds: float, tell: Callable[[str], None]) -> None:
    """Returns when every other process of the cluster listens at its address, as this one does meanwhile.

    TensorFlow waits for them by itself, but silently and for an hour, and no signal reaches the process then.

    Raises:
      UserError: `seconds` are over, or this process's own address is in use.
    """
    silent = [name for name in cluster.addresses if name != cluster.own]
    began, told = time.monotonic(), ("", 0.0)
    with _listening(cluster) if silent else contextlib.nullcontext():
        while silent := {name: fault for name in silent if (fault := fault_of(cluster.addresses[name]))}:
            waited = time.monotonic() - began
            listed = ", ".join(f"{name} at {cluster.addresses[name]} ({fault})" for name, fault in silent.items())
            if waited > seconds:
                raise UserError(f"--wait_seconds={seconds:g}: no answer from {listed}")
            again = listed != told[0] or waited - told[1] > _NEXT_WORD_SECONDS
            if waited > _FIRST_WORD_SECONDS and again:
                tell(f"waiting for {listed}; giving up after {seconds:g} s (--wait_seconds)")
                told = listed, waited
            time.sleep(0.3)


def fault_of(address: str, timeout: float = 2.0) -> str | None:
    """Why nothing answers at `host:port`, None where something does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout).close()
    except (OSError, OverflowError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def reach(data_service: str) -> None:
    """Raises UserError where nothing listens at grpc://HOST:PORT: TensorFlow itself would wait for an hour."""
    if fault := fault_of(data_service.removeprefix("grpc://"), timeout=10):
        raise UserError(f"--data_service={data_service}: no dispatcher to be reached there: {fault}")


@contextlib.contextmanager
def _listening(cluster: Cluster) -> Iterator[None]:
    """Answers at the own address, until TensorFlow does."""
    port = int(cluster.addresses[cluster.own].rpartition(":")[2])
    try:
        try:
            server = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except (OSError, ValueError) as error:  # the latter where there is no IPv6
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                raise
            server = socket.create_server(("", port))
    except OSError as error:
        raise UserError(
            f"TF_CONFIG: {cluster.addresses[cluster.own]}, the address of this process ({cluster.own}), "
            f"cannot be listened at: {error.strerror}"
        ) from error
    with server:
        yield
