"""lambda as a controller: it adapts during the search, so that the cost comes down to a target."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from autonl_tf.engine.update_check import alike
from autonl_tf.networks.gate_table import GateCost
from autonl_tf.search.schedule import SearchSchedule

PROPORTIONAL = 4.0
INTEGRAL = 4.0  # over the whole decision phase, for an error of 1
SHARPNESS = (2.0, 30.0)  # of the gates that the controller looks at, at the decision phase's start and end
REACHED = 0.7  # of the decision phase, when the budget is the target


class TargetMultiplier(tf.Module):
    """lambda = max(0, 4 e + 4 sum(e) / n), e = log(soft cost / budget) / span, over the n steps of the decision phase.

    The budget comes down from the cost at the start to the target, evenly in its logarithm over 0.7 of the phase. The
    gates therefore close one after the other, the one that gains least for its cost first. Against the target itself
    lambda rose until all went at once, thresholds having to travel about 1 before the first can close, and could not be
    undone: a search of photographs for 12.2M fell from 28.3M to 10.6M within 90 of 212 steps, and ended at 9.5M.

    The cost looked at is that of soft gates, sigmoid(s margin), which falls before a gate closes. s grows from 2 to 30:
    at first gates are seen coming from afar, in the end the cost is that of the network. Neither lambda nor the sum may
    fall below 0: a search is not paid for cost, and has nothing to unwind when the budget has caught up with it.
    `span`, the logarithm of the largest member's cost over the smallest's, gives errors the same scale everywhere.

    Create it in the strategy's scope. `value` (lambda at the next step) and `integral` belong in the checkpoint; every
    replica has the same.

    Args:
      cost: of gates.
      target: in the cost's unit.
      reach: the smallest and the largest cost of a member.
      starts: margins [G] that the decision phase starts from.
      schedule: the phases.
    """

    def __init__(
        self, cost: GateCost, target: float, reach: tuple[float, float], starts: np.ndarray, schedule: SearchSchedule
    ):
        super().__init__(name="multiplier")
        self.target = float(target)
        self._cost, self._starts, self._schedule = cost, tf.constant(starts, tf.float32), schedule
        self._span = math.log(reach[1] / reach[0]) or 1.0  # where all members cost the same there is no error either
        self.value, self.integral = (alike(0.0, f"multiplier_{name}") for name in ("value", "integral"))

    def update(self, margins: tf.Tensor, step: tf.Tensor) -> None:
        """Behind the optimizers, once a step: lambda for the next one, 0 outside the decision phase.

        Args:
          margins: [G], after the update.
          step: of the update, as the objective saw it.
        """
        coming = step + 1
        active = self._schedule.deciding(coming)
        progress = self._schedule.decided_share(coming)
        error = self._error(tf.stop_gradient(margins), progress)
        summed = tf.maximum(self.integral + error / self._schedule.decision_steps, 0.0)
        self.integral.assign(tf.where(active, summed, self.integral))
        self.value.assign(tf.where(active, self._multiplier(error), 0.0))

    def at_end(self, margins: tf.Tensor) -> tf.Tensor:
        """lambda for these margins [G] where the decision phase is over, a scalar."""
        return self._multiplier(self._error(margins, tf.constant(1.0)))

    def _multiplier(self, error: tf.Tensor) -> tf.Tensor:
        return tf.maximum(PROPORTIONAL * error + INTEGRAL * self.integral, 0.0)

    def _error(self, margins: tf.Tensor, progress: tf.Tensor) -> tf.Tensor:
        """log(soft cost / budget) / span, a scalar, where `progress` of the decision phase is over."""
        first, last = SHARPNESS
        sharpness = first * (last / first) ** progress
        start, now = (tf.math.log(self._cost(tf.sigmoid(sharpness * z))) for z in (self._starts, margins))
        way = tf.minimum(progress / REACHED, 1.0)
        return (now - (start + way * (math.log(self.target) - start))) / self._span
