"""What goes into a model and what comes out: `preprocess_input`, `decode_predictions`."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from autonl_tf.arch import presets
from autonl_tf.data import imagenet
from autonl_tf.data.images import normalize
from autonl_tf.data.labels import LABELS, numbered, read_label_file
from autonl_tf.layers.arguments import NO_CHANNELS_FIRST, text, whole


@tf.autograph.experimental.do_not_convert  # which would read what opens a file too, within `tf.data`
def preprocess_input(x, data_format: str | None = None, *, arch: str = "autonl_s"):
    """(x - mean) / stddev by channel, as the architecture says; what its networks take.

    Args:
      x: RGB pixels of 0 to 255, [..., H, W, 3]; a NumPy array or a tensor of any type.
      data_format: as in keras.applications; None or "channels_last".
      arch: the network that the images are for, as `from_arch` takes it: a name of docs/zoo.md, a file, a directory
        with an `arch.txt`. EfficientNet-Lite has a normalisation of its own, the rest of the zoo has AutoNL's.

    Returns:
      float32 of the same shape; a NumPy array for a NumPy array, else a tensor.

    Raises:
      ValueError: no array or tensor, whose last axis is 3; another data format; an architecture that is no text.
      UserError: the architecture cannot be read.

    >>> round(float(preprocess_input(np.full([1, 2, 2, 3], 255)).max()), 2)
    2.64
    >>> float(preprocess_input(np.full([1, 2, 2, 3], 255), arch="efficientnet_lite0").max())
    1.0
    """
    if data_format not in (None, "channels_last"):
        raise ValueError(
            f"preprocess_input: data_format={data_format!r}: accepted: 'channels_last'; {NO_CHANNELS_FIRST}"
        )
    if not hasattr(x, "shape"):
        raise ValueError(f"preprocess_input: got {type(x).__name__}; accepted: an array or a tensor, [..., 3]")
    shape = tf.TensorShape(x.shape)  # not all of which is known of what tf.io.decode_image gives
    if shape.rank == 0 or (shape.rank and shape[-1] not in (None, 3)):
        raise ValueError(f"preprocess_input: channels come last, and are RGB; got shape {tuple(x.shape)}")
    arch = text("preprocess_input: arch", arch, "a name of docs/zoo.md or a path")
    normal = normalize(tf.cast(x, tf.float32), presets.load(arch).normalization)
    return normal.numpy() if isinstance(x, np.ndarray) else normal


def decode_predictions(
    preds, top: int = 5, class_names: Sequence[str] | str | None = None
) -> list[list[tuple[int | str, str, float]]]:
    """The best classes of each prediction, best first.

    Args:
      preds: [B, K] probabilities (or logits, or a quantized file's whole numbers: the scores are then those).
      top: how many; at most K are given.
      class_names: K names in label order; or a path: of a run directory or an export, whose `labels.txt` is read, or
        of a file with a name a line; or "imagenet". Without it 1000 classes are taken for ImageNet's, as in
        keras.applications, and the classes of any other K for numbers.

    Returns:
      For each image a list of (class number, name, score), without names with the number as the name; of ImageNet's
      classes (synset, name, score), as in keras.applications.

    Raises:
      ValueError: `preds` is not [B, K], there are not K names, or `top` is no number from 1 on.
      UserError: the labels cannot be read.

    >>> decode_predictions(np.array([[0.1, 0.7, 0.2]]), top=2, class_names=["ant", "bee", "cat"])
    [[(1, 'bee', 0.7), (2, 'cat', 0.2)]]
    >>> decode_predictions(np.eye(1000)[[281]], top=1)
    [[('n02123045', 'tabby', 1.0)]]
    """
    whole("decode_predictions", "top", top)
    scores = np.asarray(preds)
    if scores.dtype.kind in "biu":  # whose negative may wrap around
        scores = scores.astype(np.float64)
    if scores.ndim != 2:
        raise ValueError(f"decode_predictions: expected [batch, classes], got shape {scores.shape}")
    count = scores.shape[1]
    if class_names is None and count == len(imagenet.classes()):
        class_names = imagenet.NAME
    keys, names = range(count), class_names
    if names is None:
        names = numbered(count)
    elif isinstance(names, str) and names == imagenet.NAME:
        keys, names = imagenet.synsets(), imagenet.names()
    elif isinstance(names, str | os.PathLike):
        path = pathlib.Path(names)
        lines = read_label_file(str(path / LABELS if path.is_dir() else path)).lines
        names = [imagenet.titled(name) for name in lines]
    if len(names) != count:
        raise ValueError(f"decode_predictions: {len(names)} names for {count} classes")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        [(keys[k], names[k], float(row[k])) for k in map(int, order)] for row, order in zip(scores, best, strict=True)
    ]
