"""Latency of every shipped network as a float TFLite file on this machine, batch 1, one thread.

    python benchmarks/zoo_latency.py [--runs=30] [--names=autonl_s,...] [--write]

Random weights: latency depends on the architecture alone. Runs of the networks take turns, so that a busy moment of
the machine falls on all of them. Ends in one line of JSON; `--write` keeps it in the package, where
`--mode=describe --arch=all` reads it.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
import sys
import tempfile
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from autonl_tf.arch import presets
from autonl_tf.engine.rundir import git_commit, versions
from autonl_tf.export import pieces, timing


def ready(name: str) -> Interpreter:
    """The network at its own size as a float TFLite file, loaded and warm."""
    size = presets.image_size(name)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "network.tflite"
        pieces.write_network(presets.load(name), path, image_size=size, num_classes=1000)
        interpreter = Interpreter(model_content=path.read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.zeros([1, size, size, 3], np.float32))
    for _ in range(3):
        interpreter.invoke()
    return interpreter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--names", default=",".join(presets.published()))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    names = options.names.split(",")
    interpreters = {name: ready(name) for name in names}
    seconds = {name: [] for name in names}
    for _ in range(options.runs):
        for name, interpreter in interpreters.items():
            start = time.perf_counter()
            interpreter.invoke()
            seconds[name].append(time.perf_counter() - start)
    result = {
        "how": f"TFLite float32, batch 1, one thread of {timing.device()}, median of {options.runs} runs; "
        "of these figures only their ratios carry over to another machine",
        "milliseconds": {name: round(1e3 * float(np.median(values)), 2) for name, values in seconds.items()},
        "command": shlex.join(["python", "benchmarks/zoo_latency.py", *sys.argv[1:]]),
        "commit": git_commit(),
        "versions": versions(),
    }
    if options.write:
        presets.LATENCIES.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
