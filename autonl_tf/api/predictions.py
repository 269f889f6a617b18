"""What goes into a model and what comes out: `preprocess_input`, `decode_predictions`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from autonl_tf.arch import presets
from autonl_tf.data.images import normalize
from autonl_tf.data.labels import read_label_file


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
      ValueError: the last axis is not 3, or another data format.
      UserError: the architecture cannot be read.

    >>> round(float(preprocess_input(np.full([1, 2, 2, 3], 255)).max()), 2)
    2.64
    >>> float(preprocess_input(np.full([1, 2, 2, 3], 255), arch="efficientnet_lite0").max())
    1.0
    """
    if data_format not in (None, "channels_last"):
        raise ValueError(f"preprocess_input: data_format={data_format!r}: accepted: None, 'channels_last'")
    if x.shape[-1] != 3:
        raise ValueError(f"preprocess_input: channels come last, and are RGB; got shape {tuple(x.shape)}")
    normal = normalize(tf.cast(x, tf.float32), presets.load(arch).normalization)
    return normal.numpy() if isinstance(x, np.ndarray) else normal


def decode_predictions(
    preds, top: int = 5, class_names: Sequence[str] | str | None = None
) -> list[list[tuple[int, str, float]]]:
    """The best classes of each prediction, best first.

    Args:
      preds: [B, K] probabilities (or logits: the scores are then logits).
      top: how many; at most K are given.
      class_names: K names in label order, or the path of a file with a name a line, such as an export's `labels.txt`.

    Returns:
      For each image a list of (class number, name, score); without names, the number is the name.

    Raises:
      ValueError: `preds` is not [B, K], or there are not K names.
      UserError: the label file cannot be read.

    >>> decode_predictions(np.array([[0.1, 0.7, 0.2]]), top=2, class_names=["ant", "bee", "cat"])
    [[(1, 'bee', 0.7), (2, 'cat', 0.2)]]
    """
    scores = np.asarray(preds)
    if scores.ndim != 2:
        raise ValueError(f"decode_predictions: expected [batch, classes], got shape {scores.shape}")
    names = read_label_file(class_names).lines if isinstance(class_names, str) else class_names
    if names is not None and len(names) != scores.shape[1]:
        raise ValueError(f"decode_predictions: {len(names)} names for {scores.shape[1]} classes")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        [(int(k), str(k) if names is None else names[k], float(row[k])) for k in order]
        for row, order in zip(scores, best, strict=True)
    ]
