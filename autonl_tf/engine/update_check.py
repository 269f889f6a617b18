"""Updates that are checked before they are made: clipping, loss scaling, and values that are not finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

# As `keras.mixed_precision.LossScaleOptimizer`, which cannot be used here: the search has two optimizers for one loss.
FIRST_LOSS_SCALE = 2.0**15
STEPS_TO_GROW = 2000


class CheckedUpdate(NamedTuple):
    """What one step came to, scalar tensors equal on every replica.

    Attributes:
      norm: of the gradient that may be clipped, summed over replicas, before it is.
      bad_loss, bad_gradient: whether the loss or the gradient is not finite. A gradient that overflows because of the
        loss scale does not count: the scale is halved and the next step tries again.
    """

    norm: tf.Tensor
    bad_loss: tf.Tensor
    bad_gradient: tf.Tensor


class UpdateCheck(tf.Module):
    """Create it inside the strategy's scope; its `state` belongs into the run's checkpoint.

    Args:
      clip_norm: the whole gradient (all variables whose optimizers depend on its scale, summed over replicas) is scaled
        down to this norm where it is longer; None: never.
      skip: leaves out an update whose loss or gradient norm is not finite. Otherwise it is made, and reported.
      scale_loss: multiplies the loss by a factor that float16 gradients do not underflow with, and divides the
        gradients by it. The factor is halved when they overflow, which also leaves out the update, and doubled after
        2000 good ones.

    With a skipped update weights, optimizer slots and batch-norm statistics stay as they were; step counters, random
    state and moving averages go on.
    """

    def __init__(self, *, clip_norm: float | None = None, skip: bool = False, scale_loss: bool = False):
        super().__init__(name="update_check")
        self.clip_norm, self.skip, self.scale_loss = clip_norm, skip, scale_loss
        self.skipped = local(0, tf.int64, "skipped")
        self.state = {"skipped_updates": self.skipped}
        if scale_loss:
            self.scale, self.good_steps = local(FIRST_LOSS_SCALE, tf.float32, "scale"), local(0, tf.int64, "good")
            self.state |= {"loss_scale": self.scale, "loss_scale_good_steps": self.good_steps}

    @property
    def may_skip(self) -> bool:
        return self.skip or self.scale_loss

    def scaled(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss to differentiate."""
        return loss * tf.cast(self.scale.read_value(), loss.dtype) if self.scale_loss else loss

    def keep(self, model) -> list[tuple[tf.Variable, tf.Tensor]]:
        """Before the forward pass: what that writes (batch-norm statistics, the search's distances) and its values."""
        if not self.may_skip:
            return []
        return [(v, tf.identity(v.read_value())) for v in model.non_trainable_variables if v.dtype.is_floating]

    def update(
        self,
        loss: tf.Tensor,
        gradients: Sequence[tf.Tensor],
        apply: Callable,
        pass_over: Callable,
        kept,
        clipped: Sequence[bool],
    ) -> CheckedUpdate:
        """Sums `gradients` of the scaled loss over replicas, and makes or leaves out the update; in replica context.

        Args:
          loss: this replica's, unscaled.
          apply: makes an update of gradients summed over replicas.
          pass_over: what is to be done in its place.
          kept: of `keep`.
          clipped: which gradients the norm is taken of, and are clipped.
        """
        context = tf.distribute.get_replica_context()
        loss, *gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, [loss, *gradients])
        if self.scale_loss:
            inverse = 1.0 / self.scale.read_value()
            gradients = [gradient * tf.cast(inverse, gradient.dtype) for gradient in gradients]
        measured = [gradient for gradient, counts in zip(gradients, clipped, strict=True) if counts]
        norm = tf.linalg.global_norm(measured)
        whole = norm if all(clipped) else tf.linalg.global_norm(gradients)
        finite_loss, finite_norm = tf.math.is_finite(loss), tf.math.is_finite(whole)
        good = finite_loss & finite_norm
        if self.clip_norm is not None:
            shorter = iter(tf.clip_by_global_norm(measured, self.clip_norm, use_norm=norm)[0])
            gradients = [next(shorter) if counts else g for g, counts in zip(gradients, clipped, strict=True)]
        if not self.may_skip:
            apply(gradients)
            return CheckedUpdate(norm, ~finite_loss, finite_loss & ~finite_norm)
        _apply_if(good, gradients, apply, pass_over)
        for variable, value in kept:
            variable.assign(tf.where(good, variable.read_value(), value))
        excused = self._rescale(good) if self.scale_loss else tf.constant(False)
        bad_gradient = finite_loss & ~finite_norm & ~excused
        self.skipped.assign_add(tf.cast(~finite_loss | bad_gradient, tf.int64))
        return CheckedUpdate(norm, ~finite_loss, bad_gradient)

    def _rescale(self, good: tf.Tensor) -> tf.Tensor:
        """Adapts the scale; returns whether a bad step may be blamed on it."""
        scale, steps = self.scale.read_value(), self.good_steps.read_value() + 1
        grow = good & (steps >= STEPS_TO_GROW)
        kept = tf.where(grow, scale * 2, scale)
        kept = tf.where(tf.math.is_finite(kept), kept, scale)
        self.scale.assign(tf.where(good, kept, tf.maximum(scale / 2, 1.0)))
        self.good_steps.assign(tf.where(good & ~grow, steps, 0))
        return scale > 1


def local(value, dtype, name: str, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA) -> tf.Variable:
    """A variable of which every replica keeps its own, by default by what is the same on all: no communication."""
    own = tf.VariableSynchronization.ON_READ
    return tf.Variable(value, trainable=False, dtype=dtype, name=name, synchronization=own, aggregation=aggregation)


def alike(value, name: str) -> tf.Variable:
    """A variable of the run, not of the network, that is the same on every replica."""
    return tf.Variable(value, trainable=False, name=name, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)


def _apply_if(good: tf.Tensor, gradients: list[tf.Tensor], apply: Callable, pass_over: Callable) -> None:
    """A conditional update in replica context, where optimizers may have to merge replicas, which no branch may do."""
    if tf.__internal__.distribute.strategy_supports_no_merge_call():
        tf.cond(good, lambda: _nothing(apply, gradients), lambda: _nothing(pass_over))
        return

    def merged(strategy, good, gradients):
        run = strategy.extended.call_for_each_replica
        tf.cond(
            strategy.experimental_local_results(good)[0],
            lambda: _nothing(run, apply, args=(gradients,)),
            lambda: _nothing(run, pass_over),
        )

    tf.distribute.get_replica_context().merge_call(merged, args=(good, gradients))


def _nothing(function: Callable, *args, **kwargs) -> tf.Tensor:
    """Calls it for its effects: both branches of a condition must return alike."""
    function(*args, **kwargs)
    return tf.constant(0)
