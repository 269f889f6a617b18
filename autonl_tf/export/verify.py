"""Exported files loaded again and run beside the model they were made from, on given images.

Four figures for each signature, over all images: the largest absolute difference of a probability; the worst
relative L2 difference ||got - expected|| / ||expected|| of an image's probabilities, and of its logits where
the file gives them; and the share of images with the same best class. The first three must stay within a
tolerance: the absolute difference alone would let anything pass where 1000 classes share the probability.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch.spec import Normalization
from autonl_tf.data import images as image_ops
from autonl_tf.data.reading import Reading
from autonl_tf.errors import UserError, first_line
from autonl_tf.export import saved_model, tflite
from autonl_tf.export.accuracy_loss import TFLiteRunner
from autonl_tf.flag_values import SAVED_MODEL

TOLERANCE = 1e-3
_BATCH = 16  # images run at a time
_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Reference:
    """Images and what the model makes of them.

    Attributes:
      encoded: N image files.
      images: float32 [N, S, S, 3], scale of 0 to 255; the files', prepared.
      logits, probabilities: float32 [N, K], the model's.
    """

    encoded: tuple[bytes, ...]
    images: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far a file's answers are from the model's, see the module; `logits_relative_l2` None: no logits."""

    artifact: str
    signature: str
    images: int
    max_probability_difference: float
    probabilities_relative_l2: float
    logits_relative_l2: float | None
    top1_agreement: float


def make_reference(
    model: keras.Model,
    encoded: Sequence[bytes],
    *,
    crop_padding: int,
    normalization: Normalization,
    reading: Reading,
) -> Reference:
    """Runs the model, of [B, S, S, 3], on one encoded image or more.

    Raises:
      UserError: an encoded image cannot be decoded, or the model's answer to an image is not finite.
    """
    size = model.input_shape[1]
    images = np.stack([_prepare(data, index, size, crop_padding, reading) for index, data in enumerate(encoded)])
    run = tf.function(lambda batch: model(image_ops.normalize(batch, normalization), training=False), autograph=False)
    logits = np.concatenate([tf.cast(run(tf.constant(part)), tf.float32).numpy() for part in _parts(images)])
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if broken.size:
        raise UserError(f"the model's logits are not finite on {broken.size} of {len(images)} sample images")
    return Reference(tuple(encoded), images, logits, tf.nn.softmax(logits).numpy())


def _prepare(data: bytes, index: int, image_size: int, crop_padding: int, reading: Reading) -> np.ndarray:
    try:
        return image_ops.preprocess_for_eval(tf.constant(data), image_size, crop_padding, reading).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise UserError(f"encoded sample image {index} cannot be decoded: {first_line(error)}") from None


def _parts(items: Sequence) -> Iterator[Sequence]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def verify_saved_model(directory: str | Path, reference: Reference, *, class_names: Sequence[str]) -> list[Agreement]:
    """Loads a SavedModel and runs `serving_default` on the files and `float_images` on their images.

    Raises:
      UserError: a difference above `TOLERANCE`, or names and scores that are not those of the best classes.
    """
    signatures = tf.saved_model.load(str(directory)).signatures
    runs = (
        (saved_model.BYTES_SIGNATURE, saved_model.BYTES_INPUT, reference.encoded),
        (saved_model.FLOAT_SIGNATURE, saved_model.FLOAT_INPUT, reference.images),
    )
    found, expected = [], (reference.probabilities, reference.logits)
    for signature, argument, inputs in runs:
        got = _answers(signatures[signature], argument, inputs)
        _check_names(got, class_names, f"{SAVED_MODEL} ({signature})")
        answers = got["probabilities"], got["logits"]
        found.append(compare(SAVED_MODEL, signature, expected, answers))
    return found


def _answers(run: Callable, argument: str, inputs: Sequence) -> dict[str, np.ndarray]:
    """A signature's outputs on all inputs, a batch at a time."""
    batches = [run(**{argument: tf.constant(part)}) for part in _parts(inputs)]
    return {name: np.concatenate([batch[name].numpy() for batch in batches]) for name in batches[0]}


def _check_names(got: dict[str, np.ndarray], class_names: Sequence[str], artifact: str) -> None:
    count = min(saved_model.MAX_NAMED_CLASSES, len(class_names))
    # The lower label of equal probabilities comes first, as in tf.math.top_k.
    best = np.argsort(-got["probabilities"], axis=1, kind="stable")[:, :count]
    names = np.array([name.encode() for name in class_names], object)[best]
    scores = np.take_along_axis(got["probabilities"], best, axis=1)
    if not (np.array_equal(got["classes"], names) and np.array_equal(got["scores"], scores)):
        raise UserError(f"{artifact}: classes and scores are not the {count} most probable")


def verify_tflite(path: Path, reference: Reference) -> Agreement:
    """Runs a TFLite file of `tflite.convert_fp32` on all images, one at a time. Raises as `compare`."""
    got = TFLiteRunner(path)(reference.images)
    return compare(path.name, tflite.SIGNATURE, (reference.probabilities, reference.logits), (got, None))


def compare(
    artifact: str,
    signature: str,
    expected: tuple[np.ndarray, np.ndarray],
    got: tuple[np.ndarray, np.ndarray | None],
    tolerance: float = TOLERANCE,
) -> Agreement:
    """Compares (probabilities, logits), each [B, K]; the logits got may be None.

    Raises:
      UserError: a difference above `tolerance` or not a number, with the artifact and the difference.
    """
    for name, wanted, given in zip(("probabilities", "logits"), expected, got, strict=True):
        if given is not None and given.shape != wanted.shape:
            raise UserError(f"{artifact} ({signature}): {name} have shape {given.shape}, not {wanted.shape}")
    agreement = Agreement(
        artifact,
        signature,
        len(expected[0]),
        float(np.abs(got[0] - expected[0]).max()),
        _relative_l2(got[0], expected[0]),
        None if got[1] is None else _relative_l2(got[1], expected[1]),
        float(np.mean(got[0].argmax(axis=1) == expected[0].argmax(axis=1))),
    )
    differences = {
        "probabilities (absolute)": agreement.max_probability_difference,
        "probabilities (relative L2)": agreement.probabilities_relative_l2,
        "logits (relative L2)": agreement.logits_relative_l2,
    }
    for what, difference in differences.items():
        if difference is not None and not difference <= tolerance:  # a NaN is not within
            raise UserError(
                f"{artifact} ({signature}): {what} differ from the model's by {difference:.3g}; "
                f"accepted: at most {tolerance:g}"
            )
    return agreement


def _relative_l2(got: np.ndarray, expected: np.ndarray) -> float:
    """The worst row's ||got - expected|| / ||expected||."""
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    norms = np.maximum(np.linalg.norm(expected, axis=1), _TINY)
    return float((np.linalg.norm(got - expected, axis=1) / norms).max())
