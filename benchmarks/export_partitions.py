"""Exports AutoNL-S and AutoNL-L at 224 pixels, with and without LightNL, in every format: bytes, XNNPACK partitions.

Random weights and ranges: of the SavedModel and the float32 file differences to the model are shown, which are those of
the arithmetic; no accuracy is claimed. Ends in one JSON line.

    python benchmarks/export_partitions.py
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras
from support.latency_networks import without_light_nl

from autonl_tf.arch import presets
from autonl_tf.arch.cost import network_cost
from autonl_tf.arch.spec import Normalization
from autonl_tf.data.images import normalize, preprocess_for_eval
from autonl_tf.export.bundle import TFLITE, Request, export_all
from autonl_tf.networks.network import build_network
from autonl_tf.networks.quantized import quantized_network

SIZE, CLASSES = 224, 1000


def pictures(count: int) -> np.ndarray:
    """Smooth random images, uint8 [count, SIZE, SIZE, 3]."""
    coarse = np.random.default_rng(0).uniform(0, 255, (count, 8, 8, 3)).astype(np.float32)
    return tf.cast(tf.image.resize(coarse, [SIZE, SIZE]), tf.uint8).numpy()


def set_scales(model: keras.Model, images: np.ndarray) -> None:
    """Batch-norm statistics of the images, LightNL switched on, logits of about unit scale.

    LightNL is cubic: on other images than these, random weights may overflow.
    """
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            if layer.name.endswith("nl_bn"):
                layer.gamma.assign(rng.uniform(0.05, 0.2, layer.gamma.shape))
    batch = normalize(images, Normalization())
    model(batch, training=True)
    logits = model.get_layer("logits")
    scale = 1.0 / model(batch, training=False).numpy().std(axis=0)
    logits.kernel.assign(logits.kernel * scale)
    logits.bias.assign(-model(batch, training=False).numpy().mean(axis=0))


def measure(name: str, with_light_nl: bool) -> dict:
    spec, images = presets.load(name), pictures(8)
    if not with_light_nl:
        spec = without_light_nl(spec)
    encoded = [tf.io.encode_jpeg(image).numpy() for image in images]
    prepared = np.stack([preprocess_for_eval(tf.constant(data), SIZE).numpy() for data in encoded])
    model = build_network(spec, image_size=SIZE, num_classes=CLASSES)
    set_scales(model, np.concatenate([images.astype(np.float32), prepared]))
    quantized = quantized_network(model)
    quantized(normalize(prepared, spec.normalization), training=True)  # its ranges
    cost = network_cost(spec, image_size=SIZE, num_classes=CLASSES).total
    request = Request(
        ("savedmodel", *TFLITE), calibration_images=prepared, quantized=quantized, max_accuracy_drop=100.0
    )
    with tempfile.TemporaryDirectory() as folder:
        report = export_all(
            model,
            spec,
            Path(folder) / "export",
            image_size=SIZE,
            class_names=[f"class{label}" for label in range(CLASSES)],
            sample_float_images=images,
            sample_encoded_images=encoded,
            accuracy=None,
            cost=dataclasses.asdict(cost),
            request=request,
        )
    facts = ("xnnpack_partitions", "xnnpack_whole")
    return {
        "network": name,
        "light_nl": with_light_nl,
        "files": {
            file: {"bytes": report["files"][file]["bytes"]} | {fact: report["artifacts"][file][fact] for fact in facts}
            for file in TFLITE.values()
        },
        "agreements": report["verification"]["agreements"],
    }


def main() -> None:
    results = [measure(name, light) for name in ("autonl_s", "autonl_l") for light in (True, False)]
    for result in results:
        print(f"{result['network']} {'with' if result['light_nl'] else 'without'} LightNL")
        for file, facts in result["files"].items():
            whole = "whole" if facts["xnnpack_whole"] else "not whole"
            print(
                f"  {file:19} {facts['bytes'] / 1e6:.1f} MB, XNNPACK partitions {facts['xnnpack_partitions']} ({whole})"
            )
        for row in result["agreements"]:
            print(
                f"  {row['artifact']:19} {row['signature']:16} "
                f"max |dp| {row['max_probability_difference']:.1e}  "
                f"relative L2 {row['probabilities_relative_l2']:.1e}  same class {row['top1_agreement']:.0%}"
            )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
