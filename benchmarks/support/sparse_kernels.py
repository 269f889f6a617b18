"""Which pairs of TFLite files, of the same weights stored densely and sparsely, does the runtime run by other kernels?

Sparse kernels add in another order, so that answers differ in their last bits; equal to the bit, both run the same
kernels. Needs numpy and ai-edge-litert alone, so that an emulated processor's Python can run it too:

    python benchmarks/support/sparse_kernels.py '{"name": ["dense.tflite", "sparse.tflite"]}'

Ends in one line of JSON. Its `times`, sparse over dense by the quicker of two runs, are rough, and of an emulated
processor they are nearer to counts of instructions than to time.
"""

from __future__ import annotations

import json
import platform
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def run(path: str, runs: int) -> tuple[np.ndarray, float, int]:
    """Probabilities of one made-up image, the least seconds of `runs`, and the pieces that the CPU delegate takes."""
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    _, height, width, _ = entry["shape"]
    # Noise about grey: LightNL is cubic, and random weights overflow where contrasts are strong.
    image = np.random.default_rng(0).normal(127, 20, [1, height, width, 3])
    seconds = []
    for _ in range(runs):
        interpreter.set_tensor(entry["index"], image.astype(entry["dtype"]))
        began = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - began)
    pieces = sum(node["op_name"] == "DELEGATE" for node in interpreter._get_ops_details())
    return interpreter.get_tensor(result["index"]), min(seconds), pieces


def compare(dense: str, sparse: str, runs: int = 2) -> dict:
    (first, before, _), (second, after, pieces) = run(dense, runs), run(sparse, runs)
    if not np.isfinite(first).all() or np.ptp(first) == 0 or first.max() > 0.99:
        raise SystemExit(f"{dense}: its answers tell nothing apart")
    return {
        "same_bits": bool(np.array_equal(first, second)),
        "largest_difference": float(np.abs(first - second).max()),
        "times": round(after / before, 3),
        "pieces": pieces,
    }


def main() -> None:
    pairs = json.loads(sys.argv[1])
    print(json.dumps({"machine": platform.machine(), "pairs": {name: compare(*pair) for name, pair in pairs.items()}}))


if __name__ == "__main__":
    main()
