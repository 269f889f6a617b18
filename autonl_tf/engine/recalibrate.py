"""Batch-norm statistics of the averaged weights, measured anew before they are evaluated.

Batch norm's moving statistics follow with a time constant of 1 / (1 - 0.99) = 100 steps, and the moving averages lag
behind those. Early in a short run weights move faster. Most networks bear it; LightNL is cubic in its input, so that
a variance taken three times too small makes its product five times too large, and block by block the evaluated network
overflows. `docs/training.md` shows the numbers. The published recipe does without: it has 109,000 steps, at the end
small ones.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator

import tensorflow as tf
import tf_keras as keras

from autonl_tf.engine.averages import MovingAverages, restored
from autonl_tf.engine.batch_norm import batch_norms
from autonl_tf.engine.inputs import each
from autonl_tf.engine.names import name_of


class Recalibration:
    """Measures the statistics of every batch norm of a functional model with the weights that it holds.

    They are the mean and the variance of what enters, over all batches of all replicas together. The model has them
    within `applied` alone, used within `MovingAverages.swapped_in`, and the averages have them within `in_averages`,
    used to save the copy that was evaluated. Training never sees them: it ends with the same bits however often it
    evaluates.

    Args:
      model: a functional model; all its batch norms in training mode at once, nothing else of it changes. Those that
        are not trainable keep their statistics.
      batches: of (images, labels), distributed, alike in size, iterated anew at every measurement: images as they are
        evaluated.
    """

    def __init__(self, strategy: tf.distribute.Strategy, model, batches: Iterable):
        self._strategy, self._batches = strategy, batches
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
            context = tf.distribute.get_replica_context()
            for layer in self._layers:
                # The fused kernel divides by one less than there are values; one that is synchronized is not fused.
                count = images.shape[0] * math.prod(layer.output.shape[1:-1])
                biased = 1.0 if layer.synchronized else (count - 1) / count
                # What is read is the mean over replicas: what lies between them belongs to the variance too.
                mean = layer.moving_mean.read_value()
                between = tf.square(mean - context.all_reduce(tf.distribute.ReduceOp.MEAN, mean))
                layer.moving_variance.assign(biased * layer.moving_variance.read_value() + between)

        @tf.function(autograph=False)
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
            measured = self._over_batches()
        finally:
            for layer, momentum in zip(self._layers, momenta, strict=True):
                layer.momentum = momentum
        for variable, value in zip(self._statistics, measured, strict=True):
            variable.assign(value)

    def _over_batches(self) -> list[tf.Tensor]:
        """Means and variances in turn, of all batches together."""
        seen: list[list[tf.Tensor]] = [[] for _ in self._statistics]
        for batch in each(self._batches):
            self._step(batch[0])
            for values, variable in zip(seen, self._statistics, strict=True):
                values.append(tf.identity(variable))
        found = []
        for means, variances in zip(seen[::2], seen[1::2], strict=True):
            found.append(tf.reduce_mean(means, 0))
            found.append(tf.reduce_mean(variances, 0) + tf.math.reduce_variance(tf.stack(means), 0))
        return found
