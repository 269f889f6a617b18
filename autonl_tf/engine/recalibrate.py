"""Batch-norm statistics of the averaged weights, measured anew before they are evaluated.

Batch norm's moving statistics follow with a time constant of 1 / (1 - 0.99) = 100 steps, and the moving averages lag
behind those. Early in a short run weights move faster. Most networks bear it; LightNL is cubic in its input, so that
a variance taken three times too small makes its product five times too large, and block by block the evaluated network
overflows. `docs/training.md` shows the numbers. The published recipe does without: it has 109,000 steps, at the end
small ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf
import tf_keras as keras

from autonl_tf import signals
from autonl_tf.engine.averages import MovingAverages, restored
from autonl_tf.engine.batch_norm import batch_norms
from autonl_tf.engine.names import name_of


class Recalibration:
    """Measures the statistics of every batch norm of a functional model with the weights that it holds.

    They are the mean over batches and replicas of the batches' means and variances. The model has them within
    `applied` alone, used within `MovingAverages.swapped_in`, and the averages have them within `in_averages`, used to
    save the copy that was evaluated. Training never sees them: it ends with the same bits however often it evaluates.

    Args:
      model: a functional model; all its batch norms in training mode at once, nothing else of it changes. Those that
        are not trainable keep their statistics.
      make_batches: -> batches of (images, labels), distributed, at least `count` of them.
      count: batches to measure on; at least 1.
    """

    def __init__(self, strategy: tf.distribute.Strategy, model, make_batches: Callable[[], Iterable], count: int):
        if count < 1:
            raise ValueError(f"statistics need at least one batch, got {count}")
        self._strategy, self._make_batches, self._count = strategy, make_batches, count
        self._measured: dict[str, tf.Tensor] = {}
        self._layers = [layer for layer in batch_norms(model) if layer.trainable]
        self._statistics = [v for layer in self._layers for v in (layer.moving_mean, layer.moving_variance)]
        if not self._layers:
            return
        # Without what follows the last batch norm: dropout draws nothing.
        normalized = keras.Model(model.inputs, [layer.output for layer in self._layers])

        def replica_step(images):
            for variable in self._statistics:  # so that value - (value - batch's) loses no digits
                variable.assign(tf.zeros_like(variable.read_value()))
            normalized(images, training=True)

        @tf.function
        def step(images):
            strategy.run(replica_step, args=(images,))

        self._step = step

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Measures, and gives the model what was measured until the context ends."""
        with restored(self._strategy, self._statistics):
            if self._layers:
                self._measure()
                self._measured = {name_of(v): tf.identity(v) for v in self._statistics}
            yield

    @contextlib.contextmanager
    def in_averages(self, averages: MovingAverages) -> Iterator[None]:
        """Within the context the averages hold what was last measured in the place of their own statistics."""
        shadows = {name: averages.shadows[name] for name in self._measured}
        with restored(self._strategy, shadows.values()):
            for name, shadow in shadows.items():
                shadow.assign(self._measured[name])
            yield

    def _measure(self) -> None:
        # With momentum 0, which holds for the trace of the first call, moving statistics are the last batch's.
        momenta = [layer.momentum for layer in self._layers]
        for layer in self._layers:
            layer.momentum = 0.0
        try:
            sums = self._sum()
        finally:
            for layer, momentum in zip(self._layers, momenta, strict=True):
                layer.momentum = momentum
        for variable, total in zip(self._statistics, sums, strict=True):
            variable.assign(total / self._count)

    def _sum(self) -> list[tf.Tensor]:
        sums = [tf.zeros_like(variable) for variable in self._statistics]
        batches = iter(self._make_batches())
        for _ in range(self._count):
            with signals.stretch():
                images, _ = next(batches)
                self._step(images)
            sums = [total + variable for total, variable in zip(sums, self._statistics, strict=True)]
        return sums
