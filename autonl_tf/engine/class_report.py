"""What a network gets wrong: the confusion matrix and the worst mistakes of an evaluation."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterable

import numpy as np
import tensorflow as tf
import tf_keras as keras

KEPT = 16


@dataclasses.dataclass(frozen=True)
class Mistake:
    """An image [H, W, 3], as the network took it, its label, the class it was taken for, and that one's probability."""

    image: np.ndarray
    label: int
    predicted: int
    probability: float


@dataclasses.dataclass(frozen=True)
class ClassReport:
    """`confusion` int64 [K, K], rows the labels and columns the predictions; `mistakes`, the surest first; `not_finite`
    int64 [K], images of each class that were taken for none."""

    confusion: np.ndarray
    mistakes: list[Mistake]
    not_finite: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Images of each class, [K]."""
        return self.confusion.sum(axis=1) + self.not_finite

    @property
    def accuracy(self) -> np.ndarray:
        """Share of each class's images that were recognised (recall), [K]; not-a-number without images."""
        return _share(np.diag(self.confusion), self.counts)

    @property
    def precision(self) -> np.ndarray:
        """Share of the images taken for each class that were of it, [K]; not-a-number where none was."""
        return _share(np.diag(self.confusion), self.confusion.sum(axis=0))

    def taken_for(self, label: int) -> tuple[int, int] | None:
        """The wrong class that a class is most often taken for, and how often; None without a mistake."""
        wrong = self.confusion[label].copy()
        wrong[label] = 0
        return (int(wrong.argmax()), int(wrong.max())) if wrong.any() else None


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def class_report(model: keras.Model, batches: Iterable, num_classes: int, kept: int = KEPT) -> ClassReport:
    """Runs a model over evaluation batches (images, labels, weights; weight 0: not an example).

    Ties go to the lower class number; an image whose logits are not finite is taken for no class. The
    `kept` mistakes are those whose wrong class had the highest probability.
    """

    @tf.function(autograph=False)
    def predict(images):
        logits = tf.cast(model(images, training=False), tf.float32)
        return tf.nn.softmax(logits), tf.reduce_all(tf.math.is_finite(logits), axis=-1)

    confusion, not_finite = np.zeros([num_classes, num_classes], np.int64), np.zeros([num_classes], np.int64)
    mistakes: list[Mistake] = []  # the surest first
    for images, labels, weights in batches:
        probabilities, finite = (tensor.numpy() for tensor in predict(images))
        for index in np.flatnonzero(weights.numpy() > 0):
            label, row = int(labels[index]), probabilities[index]
            if not finite[index]:
                not_finite[label] += 1
                continue
            guess = int(row.argmax())
            confusion[label, guess] += 1
            if guess != label and (len(mistakes) < kept or row[guess] > mistakes[-1].probability):
                mistakes.append(Mistake(images[index].numpy(), label, guess, float(row[guess])))
                mistakes = heapq.nlargest(kept, mistakes, key=lambda mistake: mistake.probability)
    return ClassReport(confusion, mistakes, not_finite)
