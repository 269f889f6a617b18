"""Measures what each open gate of an optional part, such as LightNL, gains, and whether the part stays."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from autonl_tf import signals
from autonl_tf.engine.averages import restored
from autonl_tf.engine.batch_norm import forward_state
from autonl_tf.engine.objectives import cross_entropy
from autonl_tf.networks.gate_table import GateTable, decided_gates
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search.results import counting_gates
from autonl_tf.space.cost_model import CostModel

MOST_IMAGES = 2048  # about, that a gain is measured on
MOST_BYTES = 512 << 20  # of these images
MOST_TIME = 0.1  # of the search's, that measuring may take


class Gain(NamedTuple):
    """What one gate gains over the same network without it.

    Attributes:
      gate: its index.
      gain: the mean rise of cross-entropy when it is closed, in nats.
      error: the standard error of that mean over the images.
      price: what closing it saves of the cost's term in the loss, in nats.
    """

    gate: int
    gain: float
    error: float
    price: float

    @property
    def closes(self) -> bool:
        """Whether it is not seen to gain more than its price: by its standard error at least."""
        return not self.gain - self.error >= self.price  # a gain that is not finite closes it


def candidates(table: GateTable, margins: np.ndarray) -> list[int]:
    """The gates that add something and are open at these margins [G], in kept blocks, the smallest margins first."""
    gates = decided_gates(margins)
    counting = counting_gates(table, gates)
    found = [index for index, gate in enumerate(table.gates) if gate.adds and gates[index] and counting[index]]
    return sorted(found, key=lambda index: margins[index])


def batches_to_measure(gates: int, batch_size: int, total_steps: int, image_size: int) -> int:
    """The number of training batches to measure on: about 2,048 images, fewer if these take more than half a gigabyte,
    which is held meanwhile (twice that with held-out batches), or more than a tenth of the search's time. A step takes
    about as long as three forward passes; each of `gates` takes one, and so does the unchanged network. A standard
    error needs two images."""
    images = min(MOST_IMAGES, MOST_BYTES / (4 * 3 * image_size**2))
    affordable = math.floor(MOST_TIME * 3 * total_steps / (1 + gates))
    return max(min(math.ceil(images / batch_size), affordable), math.ceil(2 / batch_size))


def measured_gains(
    strategy: tf.distribute.Strategy,
    supernet: Supernet,
    model: CostModel,
    gates_in_order: Sequence[int],
    multiplier: float,
    batches: Sequence[tuple],
    *,
    micro_batches: int,
    held_out: bool,
) -> list[Gain]:
    """What each of these open gates gains, one after the other.

    The gain is in plain cross-entropy, without label smoothing and dropout, batch norm as in training. A gate that
    closes is closed while the next ones are measured, so that of two that do the same the firmer one gains what both
    do. Nothing is left changed.

    Why: the thresholds follow gradients of another loss, most of the way at other weights (docs/search.md).

    Args:
      model: the cost that is charged.
      gates_in_order: `candidates`.
      multiplier: lambda; the price is lambda * log(cost with / cost without).
      batches: distributed training batches.
      micro_batches: into how many the batch of a replica is cut, as in training.
      held_out: whether a second batch follows in each, of images that the weights do not learn from; it is measured
        on these then.
    """
    table, gates, found = supernet.table, decided_gates(supernet.margins.numpy()), []

    def cost(gates: np.ndarray) -> float:
        return math.log(model.of(table.selections(gates)))

    with restored(strategy, forward_state(supernet)), _without_dropout(supernet):
        entropies, rise = _functions(strategy, supernet, batches, micro_batches, held_out)
        now = entropies(gates)
        for index in gates_in_order:
            closed = gates.copy()
            closed[index] = 0
            without = entropies(closed)
            found.append(Gain(index, *rise(now, without), multiplier * (cost(gates) - cost(closed))))
            if found[-1].closes:
                gates, now = closed, without
    return found


def _functions(strategy, supernet, batches, micro_batches: int, held_out: bool):
    """gates [G] -> the cross-entropy of every image, where they were computed, a value a micro-batch; and two such
    lists -> the mean difference over all images and its standard error."""

    @tf.function(autograph=False)
    def of_part(batch, gates, part):
        def replica(images, labels):
            if held_out:
                images, labels = tf.split(images, 2)[1], tf.split(labels, 2)[1]
            size = images.shape[0] // micro_batches
            images = tf.slice(images, [part * size, 0, 0, 0], [size, *images.shape[1:]])
            logits = supernet(images, gates=gates, training=True)
            return cross_entropy(logits, tf.slice(labels, [part * size], [size]), 0.0)

        return strategy.run(replica, args=batch)

    @tf.function(autograph=False)
    def sums(before, after):
        def replica(before, after):
            rise = after - before
            return tf.stack([tf.reduce_sum(rise), tf.reduce_sum(rise * rise), tf.cast(tf.size(rise), rise.dtype)])

        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(replica, args=(before, after)), axis=None)

    def entropies(gates: np.ndarray) -> list:
        parts = [(batch, part) for batch in batches for part in range(micro_batches)]
        with signals.stretch():
            return [of_part(batch, tf.constant(gates), tf.constant(part)) for batch, part in parts]

    def rise(before: list, after: list) -> tuple[float, float]:
        pairs = zip(before, after, strict=True)
        total, squares, count = np.sum([sums(*pair).numpy() for pair in pairs], axis=0, dtype=np.float64)
        variance = max(squares - total**2 / count, 0.0) / (count - 1)
        return total / count, math.sqrt(variance / count)

    return entropies, rise


@contextlib.contextmanager
def _without_dropout(supernet: Supernet) -> Iterator[None]:
    """Functions that are traced within drop nothing."""
    rate, supernet.head_dropout.rate = supernet.head_dropout.rate, 0.0
    try:
        yield
    finally:
        supernet.head_dropout.rate = rate
