"""The answers of TFLite files to a set of made-up images, for comparing one machine's runtime with another's.

    python benchmarks/tflite_answers.py --out=here.npz FILE.tflite ...
    python benchmarks/tflite_answers.py --compare=here.npz --out=there.npz FILE.tflite ...     # on the other machine

Needs numpy and ai-edge-litert alone. With --compare it ends in one line of JSON: for every file the largest difference
of a probability and of a logit (a probability's logarithm less the image's mean of these, which is the logit but for a
constant), and the share of images with the same best class. docs/deployment.md: how to on an emulated Arm processor.
"""

from __future__ import annotations

import argparse
import glob
import json
import pathlib
import platform

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

IMAGES = 8


def pictures(size: int) -> np.ndarray:
    """Smooth random images in the scale of 0 to 255, whole numbers: float32 [IMAGES, size, size, 3]."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (IMAGES, 8, 8, 3))
    places = np.linspace(0, 6.999, size)
    low, share = places.astype(int), places % 1
    rows = coarse[:, low] * (1 - share[:, None, None]) + coarse[:, low + 1] * share[:, None, None]
    across = rows[:, :, low] * (1 - share[:, None]) + rows[:, :, low + 1] * share[:, None]
    return np.rint(across).astype(np.float32)


def answers(path: str, plain: bool) -> np.ndarray:
    """Probabilities [IMAGES, K] of a file; `plain`: by the reference kernels rather than the CPU delegate."""
    kinds = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
    interpreter = Interpreter(model_path=path, num_threads=1, experimental_op_resolver_type=kinds)
    (entry,) = interpreter.get_input_details()
    run = interpreter.get_signature_runner("classify")
    images = pictures(entry["shape"][1]).astype(entry["dtype"])
    found = np.concatenate([run(images=image[np.newaxis])["probabilities"] for image in images])
    delegated = any(node["op_name"] == "DELEGATE" for node in interpreter._get_ops_details())
    print(f"{path}: {platform.machine()}, delegate {'used' if delegated else 'not used'}", flush=True)
    return found


def logits(probabilities: np.ndarray) -> np.ndarray:
    """[IMAGES, K], of mean 0 for every image."""
    found = np.log(np.maximum(probabilities.astype(np.float64), 1e-30))
    return found - found.mean(axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=sorted(glob.glob("runs/demo/export/*.tflite")))
    parser.add_argument("--out", default="runs/tflite_answers.npz")
    parser.add_argument("--compare", help="what another machine wrote with --out")
    parser.add_argument("--plain", action="store_true", help="without the CPU delegate")
    options = parser.parse_args()
    found = {pathlib.Path(path).name: answers(path, options.plain) for path in options.files}
    np.savez(options.out, **found)
    if not options.compare:
        return
    other = np.load(options.compare)
    rows = {
        name: {
            "max_probability_difference": float(np.abs(values - other[name]).max()),
            "max_logit_difference": float(np.abs(logits(values) - logits(other[name])).max()),
            "logit_spread": float(logits(values).std()),
            "same_best_class": float(np.mean(values.argmax(axis=1) == other[name].argmax(axis=1))),
        }
        for name, values in found.items()
    }
    print(json.dumps({"machine": platform.machine(), "images": IMAGES, "files": rows}))


if __name__ == "__main__":
    main()
