"""The outer loop: resumes, logs, evaluates, saves, and stops when told or when the numbers go bad."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from autonl_tf.engine.checkpoints import Checkpoints
from autonl_tf.engine.learner import TROUBLES, Learner, Metrics
from autonl_tf.engine.runlog import RunLog
from autonl_tf.errors import UserError, first_line
from autonl_tf.records import BestRecord

EXIT_PREEMPTED = 42  # also what tf.distribute's PreemptionCheckpointHandler exits with
EXIT_WORKER_LOST = 43


class Preempted(SystemExit):
    """SIGTERM came, the run is saved; the process ends with code 42 and the same command goes on."""

    def __init__(self, step: int):
        super().__init__(EXIT_PREEMPTED)
        self.step = step


class WorkerLost(SystemExit):
    """Another process of the cluster is gone, and TensorFlow takes none back: this one ends too, with code 43. All
    started again by the same commands go on from the last checkpoint."""

    def __init__(self):
        super().__init__(EXIT_WORKER_LOST)


# What a collective operation fails with when a process that takes part has died or cannot be reached.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)


@dataclass(frozen=True)
class TrainingResult:
    """The `step` reached, and the `best` copy as `Checkpoints.best` gives it."""

    step: int
    best: BestRecord | None


@dataclass(frozen=True)
class _Rhythm:
    total: int
    loop: int
    evaluate: int  # 0: never
    save: int
    extra: tuple[int, ...] = ()

    def next_stop(self, step: int) -> int:
        """The next multiple of a period: the host stops at the same steps, interrupted before or not."""
        periods = [period for period in (self.loop, self.evaluate, self.save) if period]
        extra = (stop for stop in self.extra if stop > step)
        return min(self.total, *((step // period + 1) * period for period in periods), *extra)

    def due(self, period: int, step: int) -> bool:
        return period > 0 and (step % period == 0 or step == self.total)


def run_training(
    strategy: tf.distribute.Strategy,
    learner: Learner,
    train_function: Callable[..., Metrics],
    make_batches: Callable[[int], object],
    *,
    total_steps: int,
    steps_per_loop: int,
    log: RunLog,
    checkpoints: Checkpoints,
    evaluate: Callable[[], dict[str, float]] | None = None,
    evaluate_every: int | None = None,
    save_every: int,
    max_skipped: int = 0,
    on_loop: Callable[[int, dict[str, float]], dict[str, float] | None] | None = None,
    stops: tuple[int, ...] = (),
) -> TrainingResult:
    """Trains up to `total_steps`, from the newest checkpoint if there is one.

    Args:
      train_function: of `learner.make_train_function`.
      make_batches: step -> iterator over a distributed dataset (`inputs.distribute`) that goes on as an
        uninterrupted run's would from that step.
      steps_per_loop: steps the device makes between two visits of the host.
      evaluate: scores the model, and swaps the averages in itself if they are to be scored; called every
        `evaluate_every` steps and at the end. Its `top1` decides on the best copy, if all it gives is finite.
      save_every: steps between checkpoints; one is saved at the end too.
      max_skipped: where the learner's guard skips updates: how many it may before the run stops.
      on_loop: `(step, mean values of the loop)`, after every loop, before its line is logged and before any
        save; may assign to the learner's variables, and returns further values to log, or None.
      stops: further steps at which the host takes over.

    Raises:
      UserError: a loss or gradient that is not finite (more than `max_skipped` of them), a checkpoint that cannot
        be saved, periods out of range, a run directory that is further than `total_steps`, or one that the processes
        of a cluster do not share.
      Preempted: SIGTERM came (to any process of a cluster); saved, exit code 42.
      WorkerLost: a process of the cluster is gone; exit code 43.
    """
    if min(total_steps, steps_per_loop, save_every) < 1 or (evaluate is not None and not (evaluate_every or 0) > 0):
        raise UserError("steps in all, per loop, between checkpoints and between evaluations must be at least 1")
    rhythm = _Rhythm(total_steps, steps_per_loop, evaluate_every if evaluate else 0, save_every, stops)
    start = checkpoints.restore_latest()
    if start > total_steps:
        raise UserError(f"{checkpoints.latest}: the run is at step {start} already, beyond the {total_steps} asked for")
    step = start
    try:
        _check_agreement(strategy, start, checkpoints)
        log.resume(start)
        if start:
            log.message(f"resumed at step {start} from {checkpoints.latest}")
        with _Sigterm() as sigterm:
            iterator = make_batches(start) if start < total_steps else None
            while step < total_steps:
                stop = rhythm.next_stop(step)
                _train(learner, train_function, iterator, step, stop, log, checkpoints, max_skipped, on_loop)
                step = stop
                # Not where it is evaluated alone, which must not change what training goes on with.
                if rhythm.due(steps_per_loop, step) or rhythm.due(save_every, step):
                    learner.merge_replicas()
                if rhythm.due(rhythm.evaluate, step):
                    with learner.merged():
                        _evaluate(evaluate, step, log, checkpoints)
                stopping = _on_any_process(strategy, sigterm.received)
                if stopping and step < total_steps:
                    learner.merge_replicas()
                if stopping or rhythm.due(save_every, step):
                    saved = checkpoints.save(step)
                if stopping and step < total_steps:
                    # A barrier: launchers end the others when the first ends, and the chief may still be saving.
                    _on_any_process(strategy, True)
                    log.message(f"stopped by SIGTERM at step {step}, saved as {saved}: the same command goes on")
                    raise Preempted(step)
    except _LOST as error:
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise
        reason = first_line(error)[:200]
        print(
            f"a worker of the cluster is lost, after step {step}; the last checkpoint is "
            f"{checkpoints.latest or 'none'}: start all workers again with the same commands ({reason})",
            file=sys.stderr,
            flush=True,
        )
        raise WorkerLost from error
    finally:
        log.close()
    return TrainingResult(step, checkpoints.best)


def _train(learner, train_function, iterator, step, stop, log, checkpoints, max_skipped, on_loop) -> None:
    began = time.monotonic()
    metrics = train_function(iterator, stop - step)
    seconds = time.monotonic() - began
    _check_finite(learner, metrics, checkpoints, log, max_skipped)
    if learner.current_step != stop:
        raise RuntimeError(f"the train function went to step {learner.current_step}, not {stop}")
    values = {name: total / weight if weight else math.nan for name, (total, weight) in metrics.items()}
    if on_loop is not None:
        values.update(on_loop(stop, dict(values)) or {})
    log.write("train", stop, values)
    shown = {name: values[name] for name in ("cross_entropy", "top1", "macs") if name in values}
    log.progress(stop, seconds, stop - step, shown)


def _check_finite(learner, metrics, checkpoints, log, max_skipped) -> None:
    """Stops at numbers that were not finite, or tells of updates that were skipped for them."""
    found = {name: metrics.pop(name) for name in TROUBLES if name in metrics}
    if learner.guard.skip:
        metrics["skipped_updates"] = (float(learner.skipped_updates), 1.0)
    if not found:
        return
    name = min(found, key=lambda name: found[name][0])
    what = f"the {name.removeprefix('non_finite_')} is not finite at step {int(found[name][0])}"
    advice = (
        f"the last good checkpoint is {checkpoints.latest or 'none'}; a lower learning rate, a longer warm-up, "
        "--clip_gradient_norm or a larger batch may help: start again in another run directory with such settings"
    )
    if not learner.guard.skip:
        raise UserError(f"{what}; {advice}, or go on in this one with --on_nan=skip")
    total = learner.skipped_updates
    if total > max_skipped:
        raise UserError(f"{what}: {total} updates skipped, more than --max_skipped_updates={max_skipped}; {advice}")
    log.message(f"{what}: update skipped ({total} so far, --max_skipped_updates={max_skipped})")


def _evaluate(evaluate, step, log, checkpoints) -> None:
    values = dict(evaluate())
    log.write("validation", step, values)
    listed = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    note = ""
    if not all(map(math.isfinite, values.values())):
        note = " (not finite: not kept as best)"
    elif "top1" in values and checkpoints.save_best(step, values["top1"]):
        note = " (best so far)"
    log.message(f"step {step}: validation {listed}{note}")


def _check_agreement(strategy, start: int, checkpoints: Checkpoints) -> None:
    """Raises UserError, on every process of a cluster, where they have restored different steps."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    mine = strategy.experimental_distribute_values_from_function(lambda _: tf.constant([start], tf.int64))
    steps = sorted({int(step) for step in strategy.gather(mine, axis=0)})
    if len(steps) > 1:
        raise UserError(
            f"{checkpoints.directory}: the workers found checkpoints of different steps there, {steps}, this one "
            f"{start}; --model_dir must be on a disk that all of them share"
        )


def _on_any_process(strategy, flag: bool) -> bool:
    """Whether `flag` holds on any process: all of a cluster must save at the same step."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return flag
    flags = strategy.experimental_distribute_values_from_function(lambda _: tf.constant(int(flag)))
    return int(strategy.reduce(tf.distribute.ReduceOp.SUM, flags, axis=None)) > 0


class _Sigterm:
    """Notes SIGTERM instead of dying, within the context; only a program's main thread may."""

    def __init__(self):
        self.received = False
        self._before = None

    def __enter__(self) -> _Sigterm:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def _note(self, number, frame) -> None:
        self.received = True

    def __exit__(self, *exception) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
