"""The built-in data set, made on the spot: a TensorFlow Datasets builder, configs `far` and `texture`.

64 px JPEG images of 8 classes, 6,000 to train on and 1,600 to validate on; see `demo_scene` for what they
show. Each image follows from (seed, split, number) alone.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from autonl_tf.data.demo_scene import IMAGE_SIZE, TEXTURES, SceneSettings, compose, paint
from autonl_tf.data.tfds_source import prepare

_JPEG_QUALITY = 95
_SIZES = {"train": 6000, "validation": 1600}


@dataclasses.dataclass(eq=False)
class DemoConfig(tfds.core.BuilderConfig):
    """One variant of the set: what its scenes look like, how many there are, and the seed."""

    scene: SceneSettings = dataclasses.field(default_factory=SceneSettings)
    seed: int = 0
    sizes: dict[str, int] = dataclasses.field(default_factory=lambda: dict(_SIZES))


class AutonlDemo(tfds.core.GeneratorBasedBuilder):
    """Textured patches; the label relates two distant parts (`far`) or is a local texture (`texture`)."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012 (the base class declares it so)
        DemoConfig(name="far", scene=SceneSettings(kind="far", image_size=IMAGE_SIZE)),
        DemoConfig(name="texture", scene=SceneSettings(kind="texture", image_size=IMAGE_SIZE)),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        side = self.builder_config.scene.image_size
        features = {
            "image": tfds.features.Image(shape=(side, side, 3), encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=list(TEXTURES)),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        return {split: self._generate_examples(split) for split in self.builder_config.sizes}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        for number in range(config.sizes[split]):
            jpeg, label = demo_image(config.scene, config.seed, split, number)
            yield number, {"image": io.BytesIO(jpeg), "label": label}


def demo_image(scene: SceneSettings, seed: int, split: str, number: int) -> tuple[bytes, int]:
    """The JPEG bytes and the label of one image; the labels take turns."""
    rng = np.random.default_rng([seed, sorted(_SIZES).index(split), number])
    label = number % len(TEXTURES)
    picture = paint(rng, compose(rng, label, scene), scene)
    jpeg = tf.io.encode_jpeg(picture, quality=_JPEG_QUALITY, chroma_downsampling=False)
    return jpeg.numpy(), label


def demo_builder(kind: str, data_dir: str | None, seed: int = 0) -> AutonlDemo:
    """The prepared builder of kind 'far' or 'texture'; another seed than 0 is another set beside it."""
    config: str | DemoConfig = kind
    if seed:
        scene = SceneSettings(kind=kind, image_size=IMAGE_SIZE)
        config = DemoConfig(name=f"{kind}_seed{seed}", scene=scene, seed=seed)
    builder = AutonlDemo(config=config, data_dir=data_dir)
    prepare(builder, "demo" if kind == "far" else f"demo:{kind}")
    return builder
