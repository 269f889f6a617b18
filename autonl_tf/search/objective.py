"""What the search minimizes: cross-entropy + weight decay + lambda * log(cost of the gates)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf
import tf_keras as keras

from autonl_tf.engine.batch_norm import decayed_variables, forward_state
from autonl_tf.engine.objectives import classification_terms, weight_decay
from autonl_tf.layers.draws import stateless_uniform
from autonl_tf.layers.gates import explored_gate, indicator
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search.multiplier import TargetMultiplier
from autonl_tf.search.schedule import SearchSchedule, ThresholdRate
from autonl_tf.search.threshold_optimizer import ThresholdAdam


def optimizer_groups(
    supernet: Supernet,
    weights_optimizer: keras.optimizers.Optimizer,
    schedule: SearchSchedule,
    new_optimizer: keras.optimizers.Optimizer | None = None,
) -> list[tuple]:
    """Pairs (optimizer, variables) for the learner: the weights', and `ThresholdAdam` for the thresholds.

    It divides a threshold's gradient by its own spread, so that every gate moves at the pace of its signal to noise
    and not by its share of the MACs, which differs a hundredfold between dropping a block and LightNL's ratio.

    Args:
      new_optimizer: that of `supernet.new_layers()` where it is another than the other weights'.
    """
    new = [v for layer in supernet.new_layers() for v in layer.trainable_variables] if new_optimizer else []
    apart = {id(variable) for variable in [*new, supernet.thresholds]}
    weights = [variable for variable in supernet.trainable_variables if id(variable) not in apart]
    rate = ThresholdRate(schedule.warmup_steps, schedule.settle_start, schedule.threshold_travel)
    of_new = [(new_optimizer, new)] if new else []
    return [(weights_optimizer, weights), *of_new, (ThresholdAdam(rate), [supernet.thresholds])]


def tracker(supernet: Supernet, schedule: SearchSchedule, target: TargetMultiplier | None = None) -> Callable:
    """`after_update(step)` of the search: what follows an update, by the phase in which that was made."""

    def track(step):
        supernet.track(schedule.settled(step), schedule.warming(step))
        if target is not None:
            target.update(supernet.live_margins(), step)

    return track


def draw_gates(margins: tf.Tensor, probability: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Gates [G] of one step, each flipped with its `probability` [G]; the same on every replica, since `seed` is."""
    flip = tf.cast(stateless_uniform(tf.shape(margins), seed) < probability, margins.dtype)
    return explored_gate(margins, flip)


def search_objective(
    supernet: Supernet,
    cost: GateCost,
    schedule: SearchSchedule,
    *,
    global_batch_size: int,
    num_micro_batches: int,
    label_smoothing: float,
    weight_decay_rate: float,
    seed: int,
    target: TargetMultiplier | None = None,
    reported: Sequence[GateCost] = (),
    held_out: bool = False,
) -> Callable:
    """The objective `(images [B, S, S, 3], labels [B], step) -> (loss, metrics)` of the search.

    The SUM of the loss over the `num_micro_batches` of all replicas is the cross-entropy averaged over the global
    batch, plus weight decay of every trainable variable but batch norm's and the thresholds, plus lambda * log(cost).
    The gates of the forward pass are drawn; the cost is that of the gates as they stand. With a `target` lambda is the
    controller's; without, the schedule's.

    With `held_out` the images are those of two batches: the weights learn from the first, the thresholds from the
    second and from the cost (as in DARTS, first order). Such a step costs twice. The second leaves nothing behind but
    its gradient: batch norm's statistics and the distances are those of the first alone.

    Metrics beside the classification's: the cost and those `reported`, by their names (macs, latency_ms), cost_lambda,
    and `gate/<name>`, the margin of every gate.
    """
    decayed = [v for v in decayed_variables(supernet) if v is not supernet.thresholds]
    names = supernet.table.names

    def objective(images, labels, step):
        settled = schedule.settled(step)
        margins = tf.where(settled, tf.convert_to_tensor(supernet.margins), supernet.live_margins())
        key = tf.stack([tf.constant(seed, tf.int64), step])

        def fit(images, labels, margins, key):
            gates = draw_gates(margins, schedule.flip_probability(step, margins), key)
            return classification_terms(supernet(images, gates=gates, training=True), labels, label_smoothing)

        multiplier = schedule.multiplier(step) if target is None else tf.convert_to_tensor(target.value)
        decay = weight_decay(decayed, weight_decay_rate)
        if held_out:
            (images, others), (labels, other_labels) = tf.split(images, 2), tf.split(labels, 2)
            fixed = tf.stop_gradient(margins)
            entropy, metrics = fit(images, labels, fixed, key)
            written = forward_state(supernet)
            kept = [tf.identity(variable.read_value()) for variable in written]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(fixed)
                other, other_metrics = fit(others, other_labels, fixed, key + 1)
                open_gates = indicator(fixed)
                charged = cost(open_gates)
                total = other / global_batch_size + multiplier * tf.math.log(charged) / num_micro_batches
            for variable, value in zip(written, kept, strict=True):
                variable.assign(value)
            # A margin is a value less its threshold: this term is 0, and the thresholds' gradient all it has.
            slope = tf.stop_gradient(tape.gradient(total, fixed))
            moved = tf.reduce_sum(slope * (tf.stop_gradient(supernet.thresholds) - supernet.thresholds))
            metrics["held_out_cross_entropy"] = other_metrics["cross_entropy"]
            loss = entropy / global_batch_size + decay / num_micro_batches + moved
        else:
            entropy, metrics = fit(images, labels, margins, key)
            open_gates = indicator(margins)
            charged = cost(open_gates)
            shared = decay + multiplier * tf.math.log(charged)
            loss = entropy / global_batch_size + shared / num_micro_batches
        told = {"weight_decay": decay, cost.name: charged, "cost_lambda": multiplier}
        told |= {also.name: also(open_gates) for also in reported}
        told |= {f"gate/{name}": margin for name, margin in zip(names, tf.unstack(margins), strict=True)}
        share = 1 / num_micro_batches
        return loss, metrics | {name: (value * share, share) for name, value in told.items()}

    return objective
