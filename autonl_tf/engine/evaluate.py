"""Scores of a model over a whole split, every image counted exactly once."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf

from autonl_tf.engine.inputs import each
from autonl_tf.engine.objectives import cross_entropy, hits

FEWEST_FOR_TOP5 = 10  # classes: of fewer, the five best say little


class Evaluator:
    """Evaluates `model` again and again with one traced step; `jit_compile` compiles it with XLA, for one replica."""

    def __init__(self, strategy: tf.distribute.Strategy, model, *, jit_compile: bool = False):
        def replica_step(images, labels, weights):
            logits = model(images, training=False)
            self._classes = logits.shape[-1]
            counted = weights > 0
            entropies = tf.where(counted, cross_entropy(logits, labels), 0.0)
            beyond = ~tf.reduce_all(tf.abs(tf.cast(logits, tf.float32)) <= tf.float16.max, axis=-1)  # NaN is too
            marks = [counted, *(counted & hits(logits, labels, k) for k in (1, 5)), counted & beyond]
            counts = tf.stack([tf.reduce_sum(tf.cast(mark, tf.int32)) for mark in marks])
            return tf.reduce_sum(entropies), counts

        compiled = tf.function(replica_step, jit_compile=True, autograph=False) if jit_compile else replica_step

        @tf.function(autograph=False)
        def step(images, labels, weights):
            sums = strategy.run(compiled, args=(images, labels, weights))
            return [strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None) for part in sums]

        self._step = step

    def __call__(self, batches: Iterable, expected_count: int) -> dict[str, float]:
        """The model's scores with the weights it holds now (`MovingAverages.swapped_in` for the averages).

        Args:
          batches: of (images [B, S, S, 3], labels [B], weights [B], 0 marks padding): a dataset, or what
            `inputs.distribute` makes. Cross-entropy is without smoothing.
          expected_count: images the split holds.

        Returns:
          `top1` and, of ten classes or more, `top5` as fractions, `loss`, `count`; `beyond_float16`, where it is not 0,
          of how many images a logit is.

        Raises:
          RuntimeError: the number of images counted is not `expected_count`.
        """
        loss, counts = 0.0, [0, 0, 0, 0]
        for batch in each(batches):
            entropy, marks = self._step(*batch)
            loss += float(entropy)
            counts = [total + int(mark) for total, mark in zip(counts, marks.numpy(), strict=True)]
        seen, top1, top5, beyond = counts
        if seen != expected_count or seen == 0:
            raise RuntimeError(f"evaluation counted {seen} images, the split holds {expected_count}")
        best = {"top1": top1 / seen, **({"top5": top5 / seen} if self._classes >= FEWEST_FOR_TOP5 else {})}
        scores = {**best, "loss": loss / seen, "count": seen}
        return scores | ({"beyond_float16": beyond} if beyond else {})
