"""Images per second of evaluation by batch size: all of it (decoding, preprocessing, network), and the network alone.

Evaluates the same images with every batch size in turn, several rounds, and prints medians; scores must be equal.
Ends in one line of JSON with `ratio_to_batch_1`.

    python benchmarks/eval_throughput.py [--arch=autonl_s] [--size=224] [--count=96] [--batches=1,8,32] [--rounds=3]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import tempfile
import time

import tensorflow as tf
import tf_keras as keras
from support.pictures import class_folder

from autonl_tf.arch import presets
from autonl_tf.arch.spec import Normalization
from autonl_tf.data.batches import eval_batches
from autonl_tf.data.datasets import open_dataset
from autonl_tf.engine.evaluate import Evaluator
from autonl_tf.networks.network import build_network

CLASSES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="autonl_s")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--count", type=int, default=96)
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    model = build_network(presets.load(options.arch), image_size=options.size, num_classes=CLASSES)
    evaluator = Evaluator(tf.distribute.get_strategy(), model)
    sizes = [int(word) for word in options.batches.split(",")]
    seconds: dict[str, dict[int, list[float]]] = {"whole": {}, "network": {}}
    found = {}
    with tempfile.TemporaryDirectory() as name:
        class_folder(pathlib.Path(name), {"train": CLASSES, "val": options.count}, "ab", (400, 300))
        dataset = open_dataset(f"folder:{name}")
        inputs = {
            size: eval_batches(dataset, image_size=options.size, normalization=Normalization(), batch_size=size)
            for size in sizes
        }
        ready = {size: list(batches) for size, batches in inputs.items()}
        for round_number in range(options.rounds + 1):
            for size in sizes:
                for kind, batches in (("whole", inputs[size]), ("network", ready[size])):
                    began = time.perf_counter()
                    found[size] = evaluator(batches, options.count)
                    if round_number:  # the first traces
                        seconds[kind].setdefault(size, []).append(time.perf_counter() - began)
    assert len({(score["count"], score["top1"]) for score in found.values()}) == 1, found
    rates = {
        kind: {size: options.count / statistics.median(times) for size, times in by_size.items()}
        for kind, by_size in seconds.items()
    }
    for kind, by_size in rates.items():
        print(kind, " ".join(f"batch {size}: {rate:.1f} images/s" for size, rate in by_size.items()))
    ratios = {
        kind: {size: rate / by_size[sizes[0]] for size, rate in by_size.items()} for kind, by_size in rates.items()
    }
    result = {**vars(options), "tensorflow": tf.__version__, "images_per_second": rates, "ratio_to_batch_1": ratios}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
