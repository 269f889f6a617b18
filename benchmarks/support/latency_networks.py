"""The networks of `tflite_latency.py`, as Keras models from normalised images to logits.

EfficientNet-Lite has its published ImageNet weights, all others random ones. Batch norm of these gets the statistics of
the images, so that int8 ranges and LightNL's cubic products are sane.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch import presets
from autonl_tf.arch.cost import network_cost
from autonl_tf.arch.spec import NetworkSpec, Normalization
from autonl_tf.checkpoint.imagenet import open_imagenet
from autonl_tf.data.images import normalize
from autonl_tf.layers.embedded_nl import EmbeddedNonLocal
from autonl_tf.networks.insert import insert_behind
from autonl_tf.networks.network import build_network

SIZE, CLASSES = 224, 1000

# ImageNet top-1 in percent AS PUBLISHED, by the papers: AutoNL (table 1), MobileNetV2 (table 4), MobileNetV3 (table 3),
# EfficientNet (table 2), MnasNet (table 1), and by its release: EfficientNet-Lite. Only Lite's files have such weights.
PUBLISHED_TOP1 = {
    "autonl_s": 76.5,
    "autonl_l": 77.7,
    "mobilenet_v2": 72.0,
    "mobilenet_v3_small": 67.4,
    "mobilenet_v3_large": 75.2,
    "efficientnet_b0": 77.1,
    "mnasnet_a1": 75.2,
    "efficientnet_lite0": 75.1,
    "efficientnet_lite1": 76.7,
    "efficientnet_lite2": 77.6,
}
LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
NAMES = (
    *("autonl_s", "autonl_s_without", "autonl_s_conventional"),
    *("autonl_l", "autonl_l_without", "autonl_l_conventional"),
    *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "mnasnet_a1"),
    *LITE,
)


def image_size(name: str) -> int:
    return presets.image_size(name) if name in LITE else SIZE


def normalization(name: str) -> Normalization:
    return presets.load(name).normalization if name in LITE else Normalization()


def build(name: str, images: np.ndarray) -> keras.Model:
    """One of `NAMES`; `images` [N, size, size, 3] in the scale of 0 to 255 give the statistics."""
    if name in LITE:
        spec = presets.load(name)
        model = build_network(spec, image_size=image_size(name), num_classes=CLASSES)
        open_imagenet(spec).load_into(model)
        return model
    applications = {
        "mobilenet_v2": (keras.applications.MobileNetV2, {}),
        "mobilenet_v3_small": (keras.applications.MobileNetV3Small, {"include_preprocessing": False}),
        "mobilenet_v3_large": (keras.applications.MobileNetV3Large, {"include_preprocessing": False}),
    }
    if name in applications:
        make, options = applications[name]
        shape = (SIZE, SIZE, 3)
        model = make(input_shape=shape, weights=None, classes=CLASSES, classifier_activation=None, **options)
    elif name in ("efficientnet_b0", "mnasnet_a1"):
        model = _network(presets.load(name))
    else:
        base, _, kind = name.partition("_s_" if name.startswith("autonl_s") else "_l_")
        spec = presets.load(name if not kind else f"{base}{'_s' if name.startswith('autonl_s') else '_l'}")
        model = _network(spec if not kind else without_light_nl(spec))
        if kind == "conventional":
            places = [index for index, block in enumerate(spec.singles()) if block.nonlocal_]
            # The source's bottleneck of two, without its subsampling.
            full = {f"block{i}_project_bn": EmbeddedNonLocal(0.5, 1, name=f"block{i}_non_local") for i in places}
            model = insert_behind(model, full)
    set_statistics(model, images)
    return model


def without_light_nl(spec: NetworkSpec) -> NetworkSpec:
    return dataclasses.replace(spec, blocks=tuple(dataclasses.replace(block, nonlocal_=None) for block in spec.blocks))


def _network(spec: NetworkSpec) -> keras.Model:
    return build_network(spec, image_size=SIZE, num_classes=CLASSES)


def set_statistics(model: keras.Model, images: np.ndarray) -> None:
    """Batch-norm statistics of the images, with LightNL and non-local blocks switched on at a small scale."""
    rng = np.random.default_rng(0)
    norms = [layer for layer in model.submodules if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
        if not np.any(layer.gamma.numpy()):
            layer.gamma.assign(rng.uniform(0.005, 0.02, layer.gamma.shape))
    model(normalize(tf.constant(images), Normalization()), training=True)


def macs(name: str) -> float | None:
    """The paper's accounting, of the networks in our grammar."""
    if name in presets.names():
        spec = presets.load(name)
    elif name.endswith("_without"):
        spec = without_light_nl(presets.load(name.removesuffix("_without")))
    else:
        return None
    return network_cost(spec, image_size=image_size(name), num_classes=CLASSES).total.macs
