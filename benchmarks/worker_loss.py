"""What losing a worker costs: clusters of processes on this machine that lose one and are started again.

For each number of workers (MultiWorkerMirroredStrategy, one CPU device each, over loopback): a reference run goes
through undisturbed; another loses its last worker to kill -9, then its first, then one gets SIGTERM, and after each all
are started again by the same commands. It must end as the reference did: every tensor of the checkpoints and
metrics.jsonl (see kill_resume.py, whose network and images these are). Tells how long the others took to notice and
what they ended with. Ends in one line of JSON; exit code 1 unless all is identical.

    python benchmarks/worker_loss.py [--workers=2,4] [--mode=train] [--limit=900] [--keep=DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

from kill_resume import ROOT, differences, make_inputs, run_flags

EXIT_PREEMPTED, EXIT_WORKER_LOST = 42, 43


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """The processes of one start of a run in `directory`."""

    def __init__(self, count: int, mode: str, work: pathlib.Path, directory: pathlib.Path, limit: float):
        addresses = [f"localhost:{port}" for port in free_ports(count)]
        self.directory, self.limit = directory, limit
        self.logs = [directory.with_name(f"{directory.name}-{index}.log") for index in range(count)]
        self.processes = []
        for index, path in enumerate(self.logs):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}
            environment["TF_CONFIG"] = json.dumps(task)
            command = [
                sys.executable,
                str(ROOT / "main.py"),
                *run_flags(mode, work, directory),
                "--strategy=multiworker",
            ]
            with open(path, "w", encoding="utf-8") as log:
                self.processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))

    def lines(self) -> int:
        path = self.directory / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def wait_for_steps(self, lines: int) -> None:
        """Until this start has logged so many lines: a start first drops those behind its checkpoint."""
        self._wait(lambda: "step " in self.logs[0].read_text(), "first step")
        until = self.lines() + lines
        self._wait(lambda: self.lines() >= until, "steps")

    def codes(self) -> list[int]:
        """Waits for all to end."""
        self._wait(lambda: all(process.poll() is not None for process in self.processes), "end", may_end=True)
        return [process.returncode for process in self.processes]

    def _wait(self, condition, what: str, may_end: bool = False) -> None:
        deadline = time.monotonic() + self.limit
        while not condition():
            ended = not may_end and any(process.poll() is not None for process in self.processes)
            if ended or time.monotonic() > deadline:
                for process in self.processes:
                    process.kill()
                texts = "\n".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in self.logs)
                raise SystemExit(f"waiting for {what}: {'a worker ended' if ended else 'too long'}\n{texts}")
            time.sleep(0.01)


def try_workers(count: int, mode: str, work: pathlib.Path, limit: float) -> dict:
    reference, lost = work / f"reference{count}", work / f"lost{count}"
    codes = Cluster(count, mode, work, reference, limit).codes()
    if any(codes):
        raise SystemExit(f"the undisturbed run ended with {codes}")
    print(f"{count} workers: the reference is done", flush=True)
    faults = []
    for name, victim, number in (
        ("kill -9 of the last", count - 1, signal.SIGKILL),
        ("kill -9 of the first", 0, signal.SIGKILL),
        ("SIGTERM to the last", count - 1, signal.SIGTERM),
    ):
        cluster = Cluster(count, mode, work, lost, limit)
        cluster.wait_for_steps(7)
        began = time.monotonic()
        cluster.processes[victim].send_signal(number)
        codes = cluster.codes()
        told = [
            line
            for line in cluster.logs[1 if victim == 0 else 0].read_text().splitlines()
            if line.startswith(("a worker of the cluster is lost", "stopped by "))
        ]
        faults.append({"fault": name, "exit_codes": codes, "seconds": round(time.monotonic() - began, 1), "told": told})
        print(f"  {faults[-1]}", flush=True)
    codes = Cluster(count, mode, work, lost, limit).codes()
    compared, different = differences(reference, lost)
    for what in different[:20]:
        print(f"  DIFFERENT: {what}")
    lost_codes = all(
        sorted(fault["exit_codes"]) == [-signal.SIGKILL] + [EXIT_WORKER_LOST] * (count - 1) for fault in faults[:2]
    )
    saved = faults[-1]["exit_codes"] == [EXIT_PREEMPTED] * count
    return {"faults": faults, "tensors_compared": compared, "differences": len(different),
            "identical": not any(codes) and not different and lost_codes and saved}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="2,4")
    parser.add_argument("--mode", default="train", choices=("train", "search"))
    parser.add_argument("--limit", type=float, default=900, help="seconds of any wait, also for a whole run")
    parser.add_argument("--keep", help="a new directory to work in, kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(options.keep or folder)
        make_inputs(work)
        counts = options.workers.split(",")
        results = {count: try_workers(int(count), options.mode, work, options.limit) for count in counts}
    identical = all(result["identical"] for result in results.values())
    print(json.dumps({"mode": options.mode, "identical": identical, "workers": results}))
    sys.exit(not identical)


if __name__ == "__main__":
    main()
