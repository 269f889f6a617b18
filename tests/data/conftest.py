"""Made-up images and data sets for the tests of reading data."""

from __future__ import annotations

import io
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

PREPROCESS = pathlib.Path(__file__).parents[1] / "testdata" / "preprocess"


@pytest.fixture(scope="session")
def preprocess_dir() -> pathlib.Path:
    return PREPROCESS


@pytest.fixture(scope="session")
def encode():
    """encode(seed, height, width, file format, mode, **options) -> bytes of a smooth random picture."""

    def make(seed, height=40, width=56, file_format="JPEG", mode="RGB", **options) -> bytes:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, size=(max(height // 8, 1), max(width // 8, 1), 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
        else:
            image = image.convert(mode)
        out = io.BytesIO()
        image.save(out, file_format, **options)
        return out.getvalue()

    return make


@pytest.fixture
def make_folder(tmp_path, encode):
    """make_folder({relative path: bytes or None for a random JPEG}) -> the directory."""

    def make(files: dict[str, bytes | None], name: str = "pictures") -> str:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for number, (relative, data) in enumerate(files.items()):
            path = root / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(number) if data is None else data)
        return str(root)

    return make


@pytest.fixture(scope="session")
def imagenet_record():
    """imagenet_record(image, label) -> a serialized example as the TPU codebases store ImageNet; labels from 1."""

    def make(image: bytes, label: int) -> bytes:
        features = {
            "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
            "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        }
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

    return make


@pytest.fixture
def make_imagenet(tmp_path, imagenet_record):
    """make_imagenet({'train': [[(bytes, label), ...] per shard]}) -> the directory."""

    def make(splits, name: str = "records") -> str:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for split, shards in splits.items():
            for number, records in enumerate(shards):
                path = root / f"{split}-{number:05d}-of-{len(shards):05d}"
                with tf.io.TFRecordWriter(str(path)) as writer:
                    for image, label in records:
                        writer.write(imagenet_record(image, label))
        return str(root)

    return make


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """A TFDS set of the images put in `contents` before it is prepared: {split: [(bytes, class name)]}."""

    VERSION = tfds.core.Version("1.0.0")
    names = ("ant", "bee", "cat")
    image = tfds.features.Image(shape=(None, None, 3))
    contents: dict = {}  # noqa: RUF012 (set by each test)

    def _info(self):
        features = {
            "image": self.image,
            "label": tfds.features.ClassLabel(names=list(self.names)),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.contents}

    def _generate_examples(self, split):
        for number, (image, name) in enumerate(self.contents[split]):
            yield number, {"image": io.BytesIO(image), "label": name}


@pytest.fixture
def tiny_pictures(tmp_path):
    """tiny_pictures(contents) -> data_dir in which `tfds:tiny_pictures` has them, prepared."""

    def make(contents) -> str:
        TinyPictures.contents = contents
        data_dir = str(tmp_path / "tfds")
        TinyPictures(data_dir=data_dir).download_and_prepare()
        return data_dir

    make.builder = TinyPictures
    return make


@pytest.fixture(scope="session")
def demo_dir(tmp_path_factory):
    """Where small versions of the built-in sets are prepared, once for all tests."""
    return str(tmp_path_factory.mktemp("demo"))
