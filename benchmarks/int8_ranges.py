"""How wide should int8 ranges be? Top-1 of a float32 file quantized with ranges that cover more or fewer images.

    python benchmarks/int8_ranges.py [--file=runs/demo/export/model_fp32.tflite] [--dataset=demo] [--images=1600]
    python benchmarks/int8_ranges.py --file=LITE0.tflite --dataset=folder:half0 --label_file=imagenet --crop_padding=32

A share of 1 is the full range, 0.5 the median of the images' extremes, near what a moving average of them gives. Then
once more by the usual share, with LightNL's products in float32. Ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from autonl_tf.data.datasets import open_dataset
from autonl_tf.data.images import preprocess_for_eval
from autonl_tf.engine.rundir import git_commit, versions
from autonl_tf.export import int8
from autonl_tf.export.score import TFLiteRunner

SHARES = (1.0, 0.99, 0.97, 0.95, 0.9, 0.8, 0.5)


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
    options = parser.parse_args()
    (entry,) = Interpreter(options.file).get_input_details()
    size = int(entry["shape"][1])
    dataset = open_dataset(options.dataset, data_dir=options.data_dir, label_file=options.label_file)
    calibration, _ = pixels(dataset, size, "train", 256, options.crop_padding)
    images, labels = pixels(dataset, size, "validation", options.images, options.crop_padding)

    def top1(path: str | Path) -> float:
        return float(np.mean(TFLiteRunner(path)(images).argmax(axis=1) == labels))

    rows, reference = {}, top1(options.file)
    print(f"float32: top-1 {reference:.2%} of {len(images)} images of {dataset.name}")
    with tempfile.TemporaryDirectory() as folder:
        for share in SHARES:
            path = Path(folder) / f"{share}.tflite"
            int8.quantize_int8(options.file, path, calibration, share)
            rows[share] = top1(path)
            print(f"covering {share:4.0%}: top-1 {rows[share]:.2%}, drop {100 * (reference - rows[share]):.2f} points")
        path = Path(folder) / "float_products.tflite"
        int8.quantize_int8(options.file, path, calibration, float_products=True)
        products = top1(path)
        print(f"covering {int8.COVERED:4.0%}, LightNL's products float32: top-1 {products:.2%}")
    result = {
        "dataset": dataset.name,
        "images": len(images),
        "float32": reference,
        "by_share": rows,
        "float_products": products,
    }
    print(json.dumps({"commit": git_commit(), "versions": versions(), **result}))


if __name__ == "__main__":
    main()
