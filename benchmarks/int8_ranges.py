"""What does int8 lose, and by what? Int8 files of a float32 one whose ranges cover more or fewer of the images.

    python benchmarks/int8_ranges.py [--file=runs/demo/export/model_fp32.tflite] [--dataset=demo] [--images=1600]
    python benchmarks/int8_ranges.py --file=LITE0.tflite --dataset=folder:half0 --label_file=imagenet --crop_padding=32

A share of 1 is the full range, 0.5 the median of the images' extremes, near what a moving average of them gives. Then
by the share that an export takes, with the beginning of the network in int8 too, which an export leaves float32; and
with LightNL's products in float32. A row has the top-1, its drop in points with the standard error of the images'
differences, and the mean distance of an output's log probability from the float file's. Last how many times as long as
with the beginning in int8 a file takes. Ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from support import interleaved

from autonl_tf.data.datasets import open_dataset
from autonl_tf.data.images import preprocess_for_eval
from autonl_tf.engine.rundir import git_commit, versions
from autonl_tf.export import int8
from autonl_tf.export.accuracy_loss import TFLiteRunner
from autonl_tf.networks.ranges import COVERED

_SHARES = (1.0, 0.99, 0.97, 0.95, 0.9, 0.8, 0.5)
_LEAST = 1e-6  # probability


def pixels(dataset, size: int, split: str, count: int, crop_padding: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` images of a split, chosen by a fixed seed: float32 [N, size, size, 3], 0 to 255, and labels."""
    chosen = list(dataset.examples(split, shuffle_seed=0).take(count))
    images = [preprocess_for_eval(example["image"], size, crop_padding).numpy() for example in chosen]
    return np.stack(images), np.array([int(example["label"]) for example in chosen])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", default="runs/demo/export/model_fp32.tflite")
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--data_dir", default="runs/data")
    parser.add_argument("--label_file")
    parser.add_argument("--crop_padding", type=int, default=0)
    parser.add_argument("--images", type=int, default=1600, help="held-out images that are scored")
    parser.add_argument("--seconds", type=float, default=20, help="for the time of a file, one thread")
    options = parser.parse_args()
    (entry,) = Interpreter(options.file).get_input_details()
    size = int(entry["shape"][1])
    dataset = open_dataset(options.dataset, data_dir=options.data_dir, label_file=options.label_file)
    calibration, _ = pixels(dataset, size, "train", 256, options.crop_padding)
    images, labels = pixels(dataset, size, "validation", options.images, options.crop_padding)

    expected = TFLiteRunner(options.file)(images)
    right = expected.argmax(axis=1) == labels
    print(f"float32: top-1 {right.mean():.2%} of {len(images)} images of {dataset.name}")
    variants = {f"covering {share:.0%}": {"covered": share} for share in _SHARES}
    usual = f"covering {COVERED:.0%}"
    whole = f"{usual}, the beginning int8 too"
    variants[whole] = {"float_beginning": False}
    variants[f"{usual}, LightNL's products float32"] = {"float_products": True}
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.tflite" for name in variants}
        for name, words in variants.items():
            path = paths[name]
            int8.quantize_int8(options.file, path, calibration, **words)
            got = TFLiteRunner(path)(images)
            lost = right.astype(float) - (got.argmax(axis=1) == labels)
            rows[name] = {
                "top1": float(right.mean() - lost.mean()),
                "drop": 100 * float(lost.mean()),
                "error": 100 * float(lost.std() / np.sqrt(len(lost))),
                "distance": float(np.abs(np.log(got + _LEAST) - np.log(expected + _LEAST)).mean()),
            }
            line = "{}: top-1 {top1:.2%}, drop {drop:.2f} +- {error:.2f}, distance {distance:.3f}"
            print(line.format(name, **rows[name]), flush=True)
        times = interleaved.measure({name: (str(paths[name]), 1) for name in (usual, whole)}, options.seconds, 4)
    result = {"dataset": dataset.name, "images": len(images), "float32": float(right.mean()), "int8": rows}
    result["times_the_beginning_in_int8"] = interleaved.ratio(times, usual, whole)
    print(json.dumps({"commit": git_commit(), "versions": versions(), **result}))


if __name__ == "__main__":
    main()
