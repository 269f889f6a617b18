"""TFLite files scored on held-out images beside the network they were made from.

For every file: top-1; the drop against the network's own, in points; the share of images with the same best class; and
the worst logit error, the largest |log p - log q| over images and classes, which is the error of the logits but for a
constant an image. Probabilities below 1e-6 count as 1e-6 there: what an int8 file says of them is noise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter

from autonl_tf.arch.spec import Normalization
from autonl_tf.data import images as image_ops
from autonl_tf.errors import UserError
from autonl_tf.export import tflite

_LEAST_PROBABILITY = 1e-6
MOST_DROP = 1.0  # points of top-1, and one standard error


@dataclasses.dataclass(frozen=True)
class Score:
    """One file's score on `images` images; `top1`, `reference_top1` and `drop_points` are None without labels.

    `not_finite` images are those for which the network itself gives no finite answer: they count as misses, and are
    left out of what follows. `quantized_top1` and `quantized_drop_points` compare a quantization-aware file with the
    network of simulated int8 that it was made of; they are None for other files. The standard error of a drop is
    100 sqrt(n) / images for n images, at least one, on which either the file or the network is right.
    """

    artifact: str
    images: int
    not_finite: int
    top1: float | None
    reference_top1: float | None
    drop_points: float | None
    top1_agreement: float
    worst_logit_error: float
    mean_logit_error: float
    drop_standard_error: float | None = None
    quantized_top1: float | None = None
    quantized_drop_points: float | None = None
    quantized_drop_standard_error: float | None = None


class TFLiteRunner:
    """A TFLite file as a function of pixels."""

    def __init__(self, path: str | Path):
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        self._type = interpreter.get_input_details()[0]["dtype"]
        self._run = interpreter.get_signature_runner(tflite.SIGNATURE)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """float32 [B, S, S, 3] in the scale of 0 to 255, rounded if the file takes uint8, to probabilities [B, K]."""
        if self._type == np.uint8:
            images = np.clip(np.rint(images), 0, 255)
        images = images.astype(self._type)
        return np.concatenate([self._run(**{tflite.INPUT: image[np.newaxis]})[tflite.OUTPUT] for image in images])


class _Tally:
    """Sums over images of one file beside a network."""

    def __init__(self):
        self.hits = self.own_hits = self.same = self.count = self.compared = self.numbers = self.changed = 0
        self.worst = self.total = 0.0

    def add(self, got: np.ndarray, expected: np.ndarray, labels: np.ndarray | None) -> None:
        usable = np.isfinite(expected).all(axis=1)
        best = np.where(np.isfinite(got).all(axis=1), got.argmax(axis=1), -1)
        own = np.where(usable, expected.argmax(axis=1), -1)
        if labels is not None:
            self.hits += int((best == labels).sum())
            self.own_hits += int((own == labels).sum())
            self.changed += int(((best == labels) != (own == labels)).sum())
        self.count += len(got)
        self.compared += int(usable.sum())
        if not usable.any():
            return
        self.same += int((best == own)[usable].sum())
        errors = np.abs(_log(got[usable]) - _log(expected[usable]))
        errors = np.where(np.isfinite(errors), errors, np.inf)
        self.worst = max(self.worst, float(errors.max()))
        self.total += float(errors.sum())
        self.numbers += errors.size

    @property
    def drop(self) -> tuple[float, float, float]:
        """The network's top-1; by how many points the file's is lower, and the standard error of that."""
        # Points by whole numbers: 0.95 - 0.94 is a little more than 0.01, and a drop of what is accepted is accepted.
        points = (100 * lost / self.count for lost in (self.own_hits - self.hits, math.sqrt(max(1, self.changed))))
        return self.own_hits / self.count, *points


def score_files(
    model: keras.Model,
    files: Mapping[str, str | Path],
    batches: Iterable,
    *,
    normalization: Normalization,
    labelled: bool = True,
    quantized: Mapping[str, keras.Model] = MappingProxyType({}),
) -> list[Score]:
    """Runs the networks and every file once over the held-out images.

    Args:
      model: normalised images [B, S, S, 3] to logits [B, K].
      files: artifact name -> path.
      batches: of (images float32 [B, S, S, 3] in the scale of 0 to 255, labels [B]).
      labelled: whether the labels mean anything; without, only agreement is measured.
      quantized: of a quantization-aware file the network of simulated int8 that it was made of.

    Raises:
      UserError: there are no images, or on none of them the network's answer is finite.
    """
    run, runs = _answers(model, normalization), {name: _answers(own, normalization) for name, own in quantized.items()}
    runners = {name: TFLiteRunner(path) for name, path in files.items()}
    tallies, beside = {name: _Tally() for name in files}, {name: _Tally() for name in quantized}
    for images, labels in batches:
        expected = run(images)
        known = np.asarray(labels) if labelled else None
        for name, runner in runners.items():
            got = runner(np.asarray(images))
            tallies[name].add(got, expected, known)
            if labelled and name in runs:
                beside[name].add(got, runs[name](images), known)
    for tally in tallies.values():
        if not tally.compared:
            raise UserError(f"the network's logits are finite on none of {tally.count} held-out images")
    return [_score(name, tally, labelled, beside.get(name)) for name, tally in tallies.items()]


def _answers(model: keras.Model, normalization: Normalization) -> Callable[[tf.Tensor], np.ndarray]:
    """A network as a function of images in the scale of 0 to 255, to probabilities [B, K]."""
    run = tf.function(lambda batch: model(image_ops.normalize(batch, normalization), training=False), autograph=False)
    return lambda images: tf.nn.softmax(tf.cast(run(images), tf.float32)).numpy()


def _score(name: str, tally: _Tally, labelled: bool, quantized: _Tally | None = None) -> Score:
    unknown = (None, None, None)
    own, drop, error = tally.drop if labelled else unknown
    return Score(
        name,
        tally.count,
        tally.count - tally.compared,
        tally.hits / tally.count if labelled else None,
        own,
        drop,
        tally.same / tally.compared,
        tally.worst,
        tally.total / tally.numbers,
        error,
        *(quantized.drop if labelled and quantized else unknown),
    )


def check(score: Score, max_accuracy_drop: float | None) -> None:
    """Raises UserError where a file's answers are not finite, or top-1 drops by more than `max_accuracy_drop` points.

    Where that is None, by more than `MOST_DROP` and the drop's own standard error: of 90 images one is 1.1 points.
    """
    if not np.isfinite(score.worst_logit_error):
        raise UserError(f"{score.artifact}: its answers are not finite on some of {score.images} images")
    for whose, reference, drop, error in (
        ("the checkpoint's", score.reference_top1, score.drop_points, score.drop_standard_error),
        (
            *("the quantized network's", score.quantized_top1),
            *(score.quantized_drop_points, score.quantized_drop_standard_error),
        ),
    ):
        if drop is None:
            continue
        most = MOST_DROP + error if max_accuracy_drop is None else max_accuracy_drop
        if drop > most:
            raise UserError(
                f"{score.artifact}: top-1 {score.top1:.2%} on {score.images} held-out images, {drop:.2f} points below "
                f"{whose} {reference:.2%}; accepted: at most {most:.3g} (--max_accuracy_drop)"
            )


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities.astype(np.float64), _LEAST_PROBABILITY))
