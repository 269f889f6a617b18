"""Latency of every shipped network as a float TFLite file on this machine, batch 1, one thread.

    python benchmarks/zoo_latency.py [--runs=30] [--names=autonl_s,...] [--write]

Random weights: latency depends on the architecture alone. Runs of the networks take turns, so that a busy moment of
the machine falls on all of them. Ends in one line of JSON; `--write` keeps it in `benchmarks/results/zoo_latency.json`
and in the package, where `--mode=describe --arch=all` reads it.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import platform
import subprocess
import tempfile
import time

import numpy as np
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter

from autonl_tf.arch import presets, zoo_latency
from autonl_tf.networks.network import build_network

ROOT = pathlib.Path(__file__).resolve().parents[1]


def tflite(name: str) -> bytes:
    """The network at 224 px, fixed batch 1, as a float TFLite model."""
    keras.backend.clear_session()
    model = build_network(presets.load(name), image_size=224, num_classes=1000)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", model.call, [tf.TensorSpec([1, 224, 224, 3])])
    with tempfile.TemporaryDirectory() as directory:
        archive.write_out(directory)
        return tf.lite.TFLiteConverter.from_saved_model(directory).convert()


def processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--names", default=",".join(presets.published()))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    names = options.names.split(",")
    interpreters = {}
    for name in names:
        interpreter = Interpreter(model_content=tflite(name), num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.zeros([1, 224, 224, 3], np.float32))
        for _ in range(3):
            interpreter.invoke()
        interpreters[name] = interpreter
    seconds = {name: [] for name in names}
    for _ in range(options.runs):
        for name, interpreter in interpreters.items():
            start = time.perf_counter()
            interpreter.invoke()
            seconds[name].append(time.perf_counter() - start)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    result = {
        "how": f"TFLite float32, batch 1, one thread of {processor()}, median of {options.runs} runs; "
        "of these figures only their ratios carry over to another machine",
        "milliseconds": {name: round(1e3 * float(np.median(values)), 2) for name, values in seconds.items()},
        "command": f"python benchmarks/zoo_latency.py --runs={options.runs}",
        "commit": commit,
        "tensorflow": tf.__version__,
    }
    if options.write:
        for path in (ROOT / "benchmarks" / "results" / "zoo_latency.json", zoo_latency.FILE):
            path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
