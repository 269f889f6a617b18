"""How a search takes its decisions: it closes what is not seen to gain its price, and flips to meet a target."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from autonl_tf.engine.learner import Learner
from autonl_tf.engine.runlog import RunLog
from autonl_tf.engine.update_check import alike
from autonl_tf.networks.supernet import Supernet
from autonl_tf.search import measured
from autonl_tf.search.multiplier import TargetMultiplier
from autonl_tf.search.results import GAIN_IMAGES, GAIN_KEYS
from autonl_tf.search.schedule import SearchSchedule
from autonl_tf.search.target_flips import flips_to_target
from autonl_tf.settings.config import Config
from autonl_tf.space.cost_model import CostModel


class SearchLearner(Learner):
    """A supernet's learner with its search's state: the multiplier, if there is a target, and the decisions [G] that
    were reversed, `closed` for what the gates gain or `flipped` for the target."""

    def __init__(self, supernet: Supernet, groups: list[tuple], multiplier: TargetMultiplier | None, update_check):
        self.multiplier = multiplier
        self.closed, self.flipped = (alike(tf.zeros([len(supernet.table)]), name) for name in ("closed", "flipped"))
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
    log: RunLog,
):
    """Closes what is not seen to gain its price when decisions are taken, then flips the closest calls to meet a
    target, so that what settles is the network that is written. No flip opens what was not measured: LightNL and
    squeeze-excite are kept closed, in a block too that the thresholds dropped and a flip brings back."""
    supernet = learner.model
    table = supernet.table
    adds = np.array([gate.adds for gate in table.gates], bool)

    def decide(step: int, values: dict[str, float]) -> dict[str, float]:
        if step != schedule.settle_start:
            return {}
        margins, told = supernet.margins.numpy(), {}
        gates, closed = measured.candidates(table, margins), adds & (margins >= 0)
        if gates:
            gains, count = measure(gates)
            told = {f"{key}/{table.names[g.gate]}": getattr(g, what) for g in gains for what, key in GAIN_KEYS.items()}
            told[GAIN_IMAGES] = float(count)
            closed[[gain.gate for gain in gains if not gain.closes]] = False
        flips = np.zeros(len(table), bool)
        if learner.multiplier is not None:
            shut = closed | (adds & (margins < 0))
            target, limited = learner.multiplier.target, np.where(shut, -np.inf, margins)
            flips = flips_to_target(table, model, limited, target, schedule.close_call)
            told["flips"] = float(flips.sum())
        learner.turn(closed, flips)
        return told

    def measure(gates: list[int]) -> tuple[list[measured.Gain], int]:
        batch = config.train_batch_size
        count = measured.batches_to_measure(len(gates), batch, schedule.total_steps, config.input_image_size)
        of = f"{len(gates)} gate{'s' * (len(gates) > 1)} of LightNL and squeeze-excite"
        log.message(f"decisions are taken: measuring the gains of {of} on {count * batch:,} images")
        iterator = make_batches(schedule.total_steps)  # the images behind those of the search
        multiplier = config.cost_lambda
        if learner.multiplier is not None:
            multiplier = float(learner.multiplier.at_end(tf.convert_to_tensor(supernet.margins)))
        gains = measured.measured_gains(
            strategy,
            supernet,
            model,
            gates,
            multiplier,
            [next(iterator) for _ in range(count)],
            micro_batches=config.micro_batches,
            held_out=bool(config.search_split),
        )
        return gains, count * batch

    return decide
