"""LightNL in a network that is not ours: into tf_keras.applications.MobileNetV2, trained, converted for a phone.

Puts one LightNL behind the last projection of three stages, trains on the built-in images, converts to float32 and to
int8 (uint8 pixels), runs the files, and says how the CPU delegate takes them. A LightNL starts as the identity, so
that pretrained weights (`weights="imagenet"`) would stay as they are at the start.

    python examples/mobilenet_v2_light_nl.py [--size=96] [--alpha=0.35] [--steps=200] [--out=runs/mobilenet_v2]

Ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import tf_keras as keras

from autonl_tf.arch.spec import Normalization
from autonl_tf.data.batches import train_batches
from autonl_tf.data.datasets import open_dataset
from autonl_tf.data.images import preprocess_for_eval
from autonl_tf.export import accuracy_loss, int8, rewrite, tflite
from autonl_tf.export.graph_facts import graph_facts
from autonl_tf.layers.light_nl import LightNL
from autonl_tf.networks.insert import insert_behind

# The last projections of the stages at 1/8, 1/16 and 1/32 of the image's side.
PLACES = ("block_5_project_BN", "block_12_project_BN", "block_15_project_BN")


def build(size: int, alpha: float, classes: int) -> keras.Model:
    """MobileNetV2 with LightNL: normalised images [B, size, size, 3] to logits [B, classes]."""
    base = keras.applications.MobileNetV2(
        (size, size, 3), alpha=alpha, weights=None, classes=classes, classifier_activation=None
    )
    return insert_behind(base, {name: LightNL(0.25, 1, name=f"{name}_light_nl") for name in PLACES})


def train(model: keras.Model, dataset, size: int, steps: int) -> None:
    batches = train_batches(
        dataset,
        image_size=size,
        normalization=Normalization(),
        batch_size=32,
        seed=0,
        min_crop_area=0.8,
        crop_padding=0,
    )
    model.compile(
        keras.optimizers.Adam(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"]
    )
    model.fit(batches, steps_per_epoch=steps, epochs=1, verbose=2)


def pixels(dataset, size: int, split: str, count: int):
    """At most `count` images of a split, in a random order: float32 [N, size, size, 3], 0 to 255, and labels."""
    chosen = list(dataset.examples(split, shuffle_seed=0).take(count))
    images = [preprocess_for_eval(example["image"], size, crop_padding=0).numpy() for example in chosen]
    return np.stack(images), np.array([int(example["label"]) for example in chosen])


def convert(model: keras.Model, size: int, calibration: np.ndarray, out: Path) -> dict[str, Path]:
    files = {"float32": out / "float32.tflite", "int8": out / "int8.tflite"}
    tflite.convert_fp32(model, files["float32"], normalization=Normalization())
    int8.quantize_int8(files["float32"], files["int8"], calibration)
    rewrite.take_uint8(files["int8"])
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--alpha", type=float, default=0.35)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--images", type=int, default=400, help="held-out images that the files are scored on")
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--data_dir", default="runs/data")
    parser.add_argument("--out", default="runs/mobilenet_v2")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    dataset = open_dataset(options.dataset, data_dir=options.data_dir)
    model = build(options.size, options.alpha, dataset.num_classes)
    train(model, dataset, options.size, options.steps)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    files = convert(model, options.size, pixels(dataset, options.size, "train", 64)[0], out)
    images, labels = pixels(dataset, options.size, "validation", options.images)
    held_out = [(images[start : start + 50], labels[start : start + 50]) for start in range(0, len(images), 50)]
    result = {}
    for row, (name, path) in zip(
        accuracy_loss.score_files(model, files, held_out, normalization=Normalization()), files.items(), strict=True
    ):
        facts = graph_facts(path)
        result[name] = {
            **{"bytes": path.stat().st_size, "whole": facts.xnnpack_whole, "partitions": facts.xnnpack_partitions},
            **{"top1": row.top1, "checkpoint_top1": row.reference_top1, "input": facts.input_type},
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
