"""lambda as a controller: it adapts during the search until the cost meets a target."""

from __future__ import annotations

import math

import tensorflow as tf

PROPORTIONAL = 1.0
INTEGRAL = 6.0  # over the whole decision phase, for an error of 1
SHARPNESS = 8.0  # of the gates that the controller looks at


class TargetMultiplier(tf.Module):
    """lambda = kp e + ki sum(e) / n, e = log(cost / target) / span, summed over the n steps of the decision phase.

    It may go negative, which opens gates: below its target a search is paid for cost. `span`, the logarithm of the
    dearest member's cost over the cheapest one's, makes an error mean the same in every space: it is at most 1, and so
    is the sum's share, which cannot wind up without bound while thresholds of kernels, widths and blocks, that have to
    travel about 1 before the first of them closes, cannot answer yet.

    The cost to give it is that of soft gates (`soft_gates`): it falls before a gate closes, so that the controller lets
    go in time. On the cost of hard gates it went on pushing until the first one closed, and all closed at once: the
    demo ended at 9.3M for a target of 11M. A gate at its fence, as LightNL's at the start, counts as a half.

    Create it in the strategy's scope; `integral`, a scalar, belongs in the checkpoint; every replica has the same.

    Args:
      target: in the cost's unit.
      reach: cost of the cheapest and of the dearest member.
      decision_steps: n.
    """

    def __init__(self, target: float, reach: tuple[float, float], decision_steps: int):
        super().__init__(name="multiplier")
        self.target = float(target)
        self._span = math.log(reach[1] / reach[0]) or 1.0  # where all members cost the same there is no error either
        self._rate = 1.0 / decision_steps
        self.integral = tf.Variable(
            0.0,
            trainable=False,
            name="multiplier_integral",
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def value(self, cost: tf.Tensor) -> tf.Tensor:
        """lambda at a `cost`, a scalar without gradient."""
        return PROPORTIONAL * self._error(cost) + INTEGRAL * self.integral

    def update(self, cost: tf.Tensor, active: tf.Tensor) -> None:
        """Once a step, behind the optimizers: the sum grows by the error at `cost` where `active`."""
        self.integral.assign(self.integral + tf.where(active, self._error(cost) * self._rate, 0.0))

    def _error(self, cost: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(tf.math.log(cost / self.target)) / self._span


def soft_gates(margins: tf.Tensor) -> tf.Tensor:
    """Gates [G] between 0 and 1 that the controller looks at: sigmoid(8 * margin), without gradient."""
    return tf.sigmoid(SHARPNESS * tf.stop_gradient(margins))
