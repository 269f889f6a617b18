"""What the search minimizes: cross-entropy + weight decay + lambda * log(MACs of the gates)."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
import tf_keras as keras

from autonl_tf.engine.batch_norm import decayed_variables
from autonl_tf.engine.objectives import classification_terms, weight_decay
from autonl_tf.layers.draws import stateless_uniform
from autonl_tf.layers.gates import explored_gate, indicator
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search.schedule import SearchSchedule, ThresholdRate


def optimizer_groups(
    supernet: Supernet, weights_optimizer: keras.optimizers.Optimizer, schedule: SearchSchedule
) -> list[tuple]:
    """Pairs (optimizer, variables) for the learner: the weights', and Adam for the thresholds.

    Adam divides a threshold's gradient by its own spread, so that every gate moves at the pace of its signal to noise
    and not by its share of the MACs, which differs a hundredfold between dropping a block and LightNL's ratio.
    """
    weights = [variable for variable in supernet.trainable_variables if variable is not supernet.thresholds]
    rate = ThresholdRate(schedule.warmup_steps, schedule.settle_start, schedule.threshold_travel)
    return [(weights_optimizer, weights), (keras.optimizers.Adam(rate), [supernet.thresholds])]


def draw_gates(margins: tf.Tensor, probability: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Gates [G] of one step, each flipped with `probability`; the same on every replica, since `seed` is.

    A gradient is weighted by 1 / (2 (1 - p)) where the gate was drawn as it stands and by 1 / (2 p) where it was
    flipped, which makes the mean gradient the trapezoid rule between the two; by 1 where p is 0.
    """
    flip = tf.cast(stateless_uniform(tf.shape(margins), seed) < probability, margins.dtype)
    flipped = tf.math.divide_no_nan(0.5, probability)
    plain = tf.where(probability > 0, 0.5 / (1 - probability), 1.0)
    return explored_gate(margins, flip, flip * flipped + (1 - flip) * plain)


def search_objective(
    supernet: Supernet,
    cost: GateCost,
    schedule: SearchSchedule,
    *,
    global_batch_size: int,
    num_parts: int,
    label_smoothing: float,
    weight_decay_rate: float,
    seed: int,
) -> Callable:
    """The objective `(images [B, S, S, 3], labels [B], step) -> (loss, metrics)` of the search.

    The SUM of the loss over the `num_parts` into which replicas and micro-batches cut the batch is the cross-entropy
    averaged over the global batch, plus weight decay of every
    trainable variable but batch norm's and the thresholds, plus lambda * log(MACs). The gates of the forward pass are
    drawn; the cost is that of the gates as they stand.

    Metrics beside the classification's: macs, cost_lambda, and `gate/<name>`, the margin of every gate.
    """
    decayed = [v for v in decayed_variables(supernet) if v is not supernet.thresholds]
    names = supernet.table.names

    def objective(images, labels, step):
        live = supernet.live_margins()
        settled = schedule.settled(step)
        margins = tf.where(settled, tf.convert_to_tensor(supernet.margins), live)
        gates = draw_gates(margins, schedule.flip_probability(step), tf.stack([tf.constant(seed, tf.int64), step]))
        logits = supernet(images, gates=gates, training=True)
        entropy, metrics = classification_terms(logits, labels, label_smoothing)
        macs, decay = cost(indicator(margins)), weight_decay(decayed, weight_decay_rate)
        multiplier = schedule.multiplier(step)
        shared = decay + multiplier * tf.math.log(macs)
        one = tf.constant(1.0)
        metrics |= {"weight_decay": (decay, one), "macs": (macs, one), "cost_lambda": (multiplier, one)}
        metrics |= {f"gate/{name}": (margin, one) for name, margin in zip(names, tf.unstack(margins), strict=True)}
        return entropy / global_batch_size + shared / num_parts, metrics

    return objective
