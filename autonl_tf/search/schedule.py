"""The search's three phases: warm-up, decision, settling.

Warm-up (5/8 by default): gates are dropped out, lambda is 0, thresholds stand where they start. Decision: thresholds
move, and lambda counts. Settling (the last tenth): decisions are held, so that weights and batch-norm statistics fit
the one network that is left.

Source: the paper's section 4.1 and Single-Path NAS (8 epochs, 5 of them warm-up, keep probability 0.6). Deviations,
and why, in `docs/search.md`:

1. Dropped gates are not scaled by 1 / 0.6, which overdrives squeeze-excite.
2. Thresholds start, and stand in warm-up, just below the values of what a block can do without and far below others'
   (`Supernet`). They have an optimizer of their own (`ThresholdAdam`) whose rate falls to 0, and no weight decay.
3. The settling phase.
4. A search that starts from trained weights starts at their network: gates that it has closed are opened half of the
   time in the warm-up, so that what they open learns, and the others are seldom dropped.
"""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf
import tf_keras as keras

OPEN_PROBABILITY = 0.5  # in the warm-up, of a gate that starts closed
MOST_NOISE = 0.5  # of a margin, beyond which a search was too short: a kernel, a width or a block starts at about 1


@dataclasses.dataclass(frozen=True)
class SearchSchedule:
    """Phases in steps, and what holds in each. Methods take the number of updates made so far, an int64 scalar.

    Attributes:
      total_steps, warmup_steps, settle_steps: lengths; the decision phase is what is left.
      keep_probability: of an open gate in warm-up.
      cost_lambda: weight of log(cost) in the decision phase and after, where no target sets it.
      threshold_travel: how far a threshold moves in all at most: if every gradient has one sign; values are about 1.
    """

    total_steps: int
    warmup_steps: int
    settle_steps: int
    keep_probability: float
    cost_lambda: float
    threshold_travel: float

    @property
    def settle_start(self) -> int:
        return self.total_steps - self.settle_steps

    @property
    def decision_steps(self) -> int:
        return self.settle_start - self.warmup_steps

    @property
    def noise(self) -> float:
        """How far a threshold wanders in the decision phase that nothing but noise moves, as a standard deviation: the
        root of the sum of the squared rates. A margin below it says little."""
        return self.threshold_travel * math.sqrt(4 / (3 * self.decision_steps))

    @property
    def close_call(self) -> float:
        """The largest margin of a decision that counts as a close call: the noise, at most `MOST_NOISE`."""
        return min(self.noise, MOST_NOISE)

    def decided_share(self, step: tf.Tensor) -> tf.Tensor:
        """Which share of the decision phase is over once this step, one of it, is made: above 0, up to 1."""
        return tf.cast(step - self.warmup_steps + 1, tf.float32) / self.decision_steps

    def flip_probability(self, step: tf.Tensor, margins: tf.Tensor) -> tf.Tensor:
        """Probability that each gate, of these margins [G], takes its other value: 0 behind the warm-up."""
        warm = tf.where(margins >= 0, 1.0 - self.keep_probability, OPEN_PROBABILITY)
        return tf.where(self.warming(step), warm, 0.0)

    def multiplier(self, step: tf.Tensor) -> tf.Tensor:
        """lambda at this step: 0 in warm-up."""
        return tf.where(self.warming(step), 0.0, self.cost_lambda)

    def warming(self, step: tf.Tensor) -> tf.Tensor:
        return step < self.warmup_steps

    def deciding(self, step: tf.Tensor) -> tf.Tensor:
        return (step >= self.warmup_steps) & ~self.settled(step)

    def settled(self, step: tf.Tensor) -> tf.Tensor:
        return step >= self.settle_start


class ThresholdRate(keras.optimizers.schedules.LearningRateSchedule):
    """0 in warm-up, then from 2 * travel / n falling linearly to 0 over the n steps of the decision phase.

    Args:
      start, stop: first step of the decision phase and of the settling phase.
      travel: the sum of the rates.
    """

    def __init__(self, start: int, stop: int, travel: float):
        self.start, self.stop, self.travel = start, stop, travel

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        length = max(self.stop - self.start, 1)
        left = (self.stop - step - 0.5) / length
        return tf.where((step >= self.start) & (left > 0), 2 * self.travel / length * left, 0.0)
