"""What training minimizes and counts: cross-entropy, weight decay, top-k."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import tensorflow as tf

from autonl_tf.engine.batch_norm import decayed_variables, light_nl_gammas
from autonl_tf.engine.mixing import Mixing


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """Softmax cross-entropy per example: logits [B, K], labels int [B] -> float32 [B].

    With smoothing a the target is `(1 - a) * onehot + a / K` over K classes.
    """
    logits = tf.cast(logits, tf.float32)
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, 1.0 - label_smoothing + label_smoothing / classes, label_smoothing / classes)
    return tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits)


def weight_decay(variables: Iterable[tf.Variable], rate: float) -> tf.Tensor:
    """`rate * sum(v^2) / 2` over all elements of `variables`: scalar float32."""
    halves = [tf.nn.l2_loss(tf.cast(variable, tf.float32)) for variable in variables]
    return rate * tf.add_n(halves) if halves else tf.constant(0.0)


def hits(logits: tf.Tensor, labels: tf.Tensor, k: int) -> tf.Tensor:
    """Whether the label is among the k best: logits [B, K], labels int [B] -> bool [B].

    A k above K counts as K. Equal logits rank by class number, so that a network with constant output does
    not score 100%; a row with a value that is not finite is never a hit.
    """
    logits = tf.cast(logits, tf.float32)
    classes = logits.shape[-1]
    is_label = tf.one_hot(labels, classes, on_value=True, off_value=False, dtype=tf.bool)
    own = tf.reduce_sum(tf.where(is_label, logits, 0.0), axis=-1, keepdims=True)  # [B, 1]
    before = tf.range(classes) < tf.cast(labels, tf.int32)[:, tf.newaxis]  # [B, K]
    ahead = (logits > own) | ((logits == own) & before)
    rank = tf.reduce_sum(tf.cast(ahead, tf.int32), axis=-1)
    return (rank < min(k, classes)) & tf.reduce_all(tf.math.is_finite(logits), axis=-1)


def classification_terms(logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float):
    """Logits [B, K], labels int [B] -> the sum over the batch of the cross-entropy, and the metrics cross_entropy,
    top1 and top5 as (sum, weight)."""
    entropy = tf.reduce_sum(cross_entropy(logits, labels, label_smoothing))
    count = tf.cast(tf.shape(labels)[0], tf.float32)
    metrics = {"cross_entropy": (entropy, count)}
    for k in (1, 5):
        metrics[f"top{k}"] = (tf.reduce_sum(tf.cast(hits(logits, labels, k), tf.float32)), count)
    return entropy, metrics


def _weighted(values: tf.Tensor, labels: tf.Tensor, class_weights: Sequence[float] | None) -> tf.Tensor:
    return values if class_weights is None else values * tf.gather(tf.constant(class_weights, tf.float32), labels)


def classification_objective(
    model,
    *,
    global_batch_size: int,
    num_micro_batches: int,
    label_smoothing: float = 0.0,
    weight_decay_rate: float = 0.0,
    light_nl_decay: float = 0.0,
    class_weights: Sequence[float] | None = None,
    mixing: Mixing | None = None,
) -> Callable:
    """The objective `(images [B, S, S, 3], labels [B], step) -> (loss, metrics)` of plain training.

    The SUM of the loss over the `num_micro_batches` of all replicas is: cross-entropy averaged over all
    `global_batch_size` examples, plus weight decay over every trainable variable that is not batch norm, and
    `light_nl_decay * sum(gamma^2) / 2` over the scales of LightNL's batch norms. Metrics are pairs (sum, weight) whose
    sums over micro-batches and steps divide to the mean: cross_entropy, weight_decay (both decays), top1, top5. With
    mixed images, top1 and top5 count the label of which there is more.

    Args:
      class_weights: [K], what an example's cross-entropy counts by its label; None: 1.
      mixing: what is done to a micro-batch; None: nothing.
    """
    decayed = decayed_variables(model)
    gammas = light_nl_gammas(model) if light_nl_decay else []

    def objective(images, labels, step):
        main, parts = labels, [(labels, tf.constant(1.0))]
        if mixing is not None:
            images, others, share = mixing(images, labels, step)
            if mixing.mixes:
                main, parts = tf.where(share >= 0.5, labels, others), [(labels, share), (others, 1 - share)]
        logits = model(images, training=True)
        entropy, metrics = classification_terms(logits, main, label_smoothing)
        if len(parts) > 1 or class_weights is not None:
            terms = [part * _weighted(cross_entropy(logits, k, label_smoothing), k, class_weights) for k, part in parts]
            entropy = tf.reduce_sum(tf.add_n(terms))
            metrics["cross_entropy"] = (entropy, metrics["cross_entropy"][1])
        decay = weight_decay(decayed, weight_decay_rate)
        if gammas:
            decay += weight_decay(gammas, light_nl_decay)
        share = decay / num_micro_batches
        metrics["weight_decay"] = (share, 1 / num_micro_batches)
        return entropy / global_batch_size + share, metrics

    return objective
