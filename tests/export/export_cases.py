"""A tiny network with everything a block can have, and sample images, for the tests of exports."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import Normalization
from autonl_tf.data.images import normalize
from autonl_tf.export.bundle import export_all
from autonl_tf.export.card import Description
from autonl_tf.networks.network import build_network

SIZE = 32

# LightNL on 8x8x24 (context first) and with stride 2 on 4x4x40 (affinity first).
EVERYTHING = """\
r1_k3_s11_e1_i32_o16_noskip
r1_k3.5_s22_e3_i16_o24_nonlocal0.25-1
r2_k3_s11_e3_i24_o24_nonlocal0.5-2_se0.25
r1_k5_s22_a1.1_p1.1_e3_i24_o40_nonlocal0.25-2_se0.5
"""
ONE_BLOCK = "r1_k3_s22_e1_i32_o16_nonlocal0.25-1\n"


def lively(model: keras.Model, seed: int = 0, non_local: float = 0.3) -> keras.Model:
    """Gives a fresh network statistics, scales and logits such as a trained one has, `non_local` those of LightNL."""
    rng = np.random.default_rng(seed)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        # LightNL is cubic: at the full scale a rounding error grows a thousandfold from block to block.
        share = non_local if layer.name.endswith("nl_bn") else 1.0
        layer.gamma.assign(share * rng.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(rng.normal(0.0, 0.2, layer.beta.shape))
        layer.momentum = 0.0
    size = model.input_shape[1]
    images = normalize(
        np.stack([smooth_picture(seed, size, size) for seed in range(16)]).astype(np.float32), Normalization()
    )
    model(images, training=True)
    classes = model.get_layer("logits")
    classes.kernel.assign(rng.normal(size=classes.kernel.shape))
    logits = model(images, training=False).numpy()
    scale = 2.0 / logits.std(axis=0)
    classes.kernel.assign(classes.kernel * scale)
    classes.bias.assign(-logits.mean(axis=0) * scale)
    return model


def make_model(text: str, num_classes: int, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)  # LightNL is cubic: other weights may give logits of any size
    return lively(build_network(blockstring.parse(text), image_size=SIZE, num_classes=num_classes), seed)


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and all that its export is given."""

    model: keras.Model
    description: Description
    encoded_images: list[bytes]

    def export(self, directory: Path, encoded_images: list[bytes] | None = None, **changed) -> dict:
        encoded = self.encoded_images if encoded_images is None else encoded_images
        return export_all(self.model, dataclasses.replace(self.description, **changed), directory, encoded)


def make_case(text: str, class_names: tuple[str, ...]) -> Case:
    pictures = [smooth_picture(seed, 40 + 7 * seed, 50) for seed in range(3)]
    encoded = [tf.io.encode_jpeg(picture).numpy() for picture in pictures]
    encoded.append(tf.io.encode_png(pictures[0]).numpy())
    encoded.append(tf.io.encode_jpeg(pictures[1][..., :1]).numpy())
    description = Description(
        blockstring.parse(text),
        SIZE,
        class_names,
        accuracy={"top1": 0.5, "top5": 0.875, "count": 64, "dataset": "made up"},
        weights={"prefix": "runs/x/best/ckpt-7", "step": 7, "averages": True},
        data={"trained_on": "pictures"},
    )
    return Case(make_model(text, len(class_names)), description, encoded)


def smooth_picture(seed: int, height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(0, 255, (1, 6, 6, 3)).astype(np.float32)
    return tf.cast(tf.image.resize(coarse, [height, width])[0], tf.uint8).numpy()


def pictures(count: int, first: int = 0) -> np.ndarray:
    """Smooth pictures by their seeds from `first` on: float32 [count, SIZE, SIZE, 3]."""
    return np.stack([smooth_picture(seed, SIZE, SIZE) for seed in range(first, first + count)]).astype(np.float32)


def snapshot(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, hidden ones too."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if not path.is_dir()
    }
