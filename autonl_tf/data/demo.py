"""The built-in data set, made on the spot: a TensorFlow Datasets builder, configs `far`, `texture` and `shapes`.

64 px JPEG images of 8 classes, 6,000 to train on and 1,600 to validate on; see `demo_scene` for what they
show. Each image follows from (seed, split, number) alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from autonl_tf.data.demo_scene import IMAGE_SIZE, SCENES, SceneSettings, compose, paint

_JPEG_QUALITY = 95
_SIZES = {"train": 6000, "validation": 1600}


class AutonlDemo(tfds.core.GeneratorBasedBuilder):
    """The label relates two distant parts (`far`, `shapes`) or is a local texture (`texture`)."""

    VERSION = tfds.core.Version("1.0.0")
    # The base class declares a list.
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=kind) for kind in SCENES]  # noqa: RUF012

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(IMAGE_SIZE, IMAGE_SIZE, 3), encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=list(SCENES[self.builder_config.name].class_names)),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        return {split: self._generate_examples(split) for split in _SIZES}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        scene = SCENES[self.builder_config.name]
        for number in range(_SIZES[split]):
            jpeg, label = demo_image(scene, 0, split, number)
            yield number, {"image": io.BytesIO(jpeg), "label": label}


def demo_image(scene: SceneSettings, seed: int, split: str, number: int) -> tuple[bytes, int]:
    """The JPEG bytes and the label of one image; the labels take turns."""
    rng = np.random.default_rng([seed, sorted(_SIZES).index(split), number])
    label = number % len(scene.class_names)
    picture = paint(rng, compose(rng, label, scene), scene)
    jpeg = tf.io.encode_jpeg(picture, quality=_JPEG_QUALITY, chroma_downsampling=False)
    return jpeg.numpy(), label
