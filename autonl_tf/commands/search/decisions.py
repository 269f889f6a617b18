"""How a search takes its decisions: closing what gains too little, and flipping the closest calls to meet a target."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from autonl_tf.engine.learner import Learner
from autonl_tf.engine.strategy import is_chief
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search import measured, results
from autonl_tf.search.multiplier import TargetMultiplier
from autonl_tf.search.schedule import SearchSchedule
from autonl_tf.search.target_flips import flips_to_target
from autonl_tf.settings.config import Config
from autonl_tf.space.cost_model import CostModel
from autonl_tf.streams import say


class SearchLearner(Learner):
    """A supernet's learner, with the state of its search: the multiplier of one for a target, and which decisions were
    turned when they were taken, gates [G] that were `closed` for what they gain and gates `flipped` for the target."""

    def __init__(self, supernet: Supernet, groups: list[tuple], multiplier: TargetMultiplier | None, update_check):
        self.multiplier = multiplier
        self.closed, self.flipped = (
            tf.Variable(
                tf.zeros([len(supernet.table)]),
                trainable=False,
                name=name,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for name in ("closed", "flipped")
        )
        state = {"closed": self.closed, "flipped": self.flipped}
        if multiplier is not None:
            state |= {"multiplier_value": multiplier.value, "multiplier_integral": multiplier.integral}
        # No moving averages of the weights: decisions have averages of their own, and weights are trained anew.
        super().__init__(supernet, groups, state=state, update_check=update_check)

    def turn(self, closed: np.ndarray, flipped: np.ndarray) -> None:
        """Decides these gates, bool [G], the other way than their margins do."""
        margins = self.model.margins.numpy()
        away = np.where(margins >= 0, -np.maximum(margins, 1e-6), -margins)
        self.model.margins.assign(np.where(closed | flipped, away, margins))
        self.closed.assign(closed.astype(np.float32))
        self.flipped.assign(flipped.astype(np.float32))

    def decided(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The margins [G] that the search itself came to, and which decisions were `closed` and `flipped`, bool [G]."""
        turned = {"closed": self.closed.numpy() > 0.5, "flipped": self.flipped.numpy() > 0.5}
        margins = self.model.margins.numpy()
        return np.where(turned["closed"] | turned["flipped"], -margins, margins), turned


def deciding(
    config: Config,
    strategy: tf.distribute.Strategy,
    learner: SearchLearner,
    model: CostModel,
    schedule: SearchSchedule,
    make_batches: Callable[[int], Iterator],
):
    """Closes what gains too little when decisions are taken, then flips the closest calls to meet a target, so that
    what settles is the network that is written."""
    supernet = learner.model
    table = supernet.table

    def decide(step: int, values: dict[str, float]) -> dict[str, float]:
        if step != schedule.settle_start:
            return {}
        gains = _measured(config, strategy, supernet, model, schedule, make_batches, values["cost_lambda"])
        closed, flips = np.zeros(len(table), bool), np.zeros(len(table), bool)
        closed[[gain.gate for gain in gains if gain.closes]] = True
        told = {
            f"{key}/{table.names[gain.gate]}": getattr(gain, what)
            for gain in gains
            for what, key in results.GAIN_KEYS.items()
        }
        if learner.multiplier is not None:
            margins = np.where(closed, -np.inf, supernet.margins.numpy())
            flips = flips_to_target(table, model, margins, learner.multiplier.target, schedule.close_call)
            told["flips"] = float(flips.sum())
        learner.turn(closed, flips)
        return told

    return decide


def _measured(config, strategy, supernet, model, schedule, make_batches, multiplier) -> list[measured.Gain]:
    gates = len(measured.candidates(supernet))
    if not gates:
        return []
    count = measured.batches_to_measure(gates, config.train_batch_size, schedule.total_steps)
    if is_chief(strategy):
        images = f"{count * config.train_batch_size:,} images"
        say(f"decisions are taken: measuring what {gates} gates gain, LightNL's and squeeze-excite's, on {images}")
    iterator = make_batches(schedule.total_steps)  # the images behind those of the search
    return measured.measured_gains(
        strategy,
        supernet,
        model,
        multiplier,
        [next(iterator) for _ in range(count)],
        micro_batches=config.micro_batches,
        held_out=bool(config.search_split),
    )
