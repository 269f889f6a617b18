"""The outer loop: resumes, logs, evaluates, saves, and stops when told or when values are not finite."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tensorflow as tf

from autonl_tf import signals
from autonl_tf.engine.checkpoints import Checkpoints
from autonl_tf.engine.learner import TROUBLES, Learner, Metrics
from autonl_tf.engine.runlog import RunLog, told
from autonl_tf.engine.strategy import is_cluster, of_all
from autonl_tf.errors import PREEMPTED, USAGE_ERROR, WORKER_LOST, UserError, first_line
from autonl_tf.records import BestRecord
from autonl_tf.streams import say


class Preempted(SystemExit):
    """A signal came, and what there was to save is saved; the process ends with code 42 or 130, and the same command
    goes on."""


class WorkerLost(SystemExit):
    """Another process of the cluster is gone, and TensorFlow takes none back: this one ends too, with code 43. All
    started again by the same commands go on from the last checkpoint."""


MOST_SKIPPED = 10  # updates that a run with --on_nan=skip may leave out
# What a collective operation fails with when a process that takes part has died or cannot be reached.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)


@dataclass(frozen=True)
class TrainingResult:
    """The `step` reached, and the `best` copy as `Checkpoints.best` gives it."""

    step: int
    best: BestRecord | None


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
    evaluate_every: int = 0,
    save_every: int,
    max_skipped: int = MOST_SKIPPED,
    guessed_loss: float = math.inf,
    start_scores: dict[str, float] | None = None,
    on_loop: Callable[[int, dict[str, float]], dict[str, float] | None] | None = None,
    stops: tuple[int, ...] = (),
    others: str | None = None,
    wait_seconds: float = math.inf,
) -> TrainingResult:
    """Trains up to `total_steps`, from the newest checkpoint if there is one.

    Args:
      make_batches: step -> iterator over a distributed dataset (`inputs.distribute`) that goes on as an
        uninterrupted run's would from that step.
      evaluate: scores the model, and swaps the averages in itself if they are to be scored; called every
        `evaluate_every` steps, unless the end is within a quarter of that, and at the end. Its `top1`, then its `loss`,
        decides on the best copy, if all it gives is finite, no logit is beyond float16 and, in the first third of the
        run, its loss is below twice `guessed_loss`.
      save_every: steps between checkpoints; one is saved at the end too.
      max_skipped: where the learner's update check skips updates: how many it may before the run stops.
      guessed_loss: of an answer that knows nothing, the logarithm of the number of classes.
      start_scores: what weights that know the classes already score before the first step; they are the best copy until
        there is a better one.
      on_loop: `(step, mean values of the loop)`, after every loop, before its line is logged and before any
        save; may assign to the learner's variables, and returns further values to log, or None.
      others: other machines that a step may wait for, in words; None: none.
      wait_seconds: how long it may, before the process is ended (see `signals.Watch`).

    Raises:
      UserError: a loss or gradient that is not finite (more than `max_skipped` of them), a checkpoint that cannot
        be saved, a run directory that is further than `total_steps`, or one that the processes of a cluster do not
        share.
      Preempted: SIGTERM, SIGHUP or SIGINT came (to any process of a cluster); saved, exit code 42, or 130 at SIGINT.
        Before a first step there is nothing to save, and a process of no cluster ends at once, as it does at a second
        SIGINT.
      WorkerLost: a process of the cluster is gone; exit code 43.
    """
    evaluate_every = evaluate_every if evaluate else 0
    request = _Request(at_once=not is_cluster(strategy))
    start = checkpoints.restore_latest()
    if start > total_steps:
        raise UserError(f"{checkpoints.latest}: the run is at step {start} already, beyond the {total_steps} asked for")
    step = start

    def next_stop() -> int:
        """The next multiple of a period: the host stops at the same steps, interrupted before or not."""
        periods = filter(None, (steps_per_loop, evaluate_every, save_every))
        further = (stop for stop in stops if stop > step)
        return min(total_steps, *((step // period + 1) * period for period in periods), *further)

    def due(period: int) -> bool:
        return period > 0 and (step % period == 0 or step == total_steps)

    def scored() -> bool:
        """Whether this step is evaluated. An epoch is no whole number of steps, so that the last multiple of the period
        may lie shortly before the end."""
        return due(evaluate_every) and not 0 < total_steps - step < evaluate_every / 4

    def reached() -> str:
        return f"after step {step}; the last checkpoint is {checkpoints.latest or 'none'}"

    with contextlib.closing(log), losing_workers(strategy, reached):
        try:
            _check_agreement(strategy, start, checkpoints)
            log.resume(start)
            if start:
                log.message(f"resumed at step {start} from {checkpoints.latest}")
            elif start_scores:
                log.write("validation", 0, start_scores)
                log.message(f"before training: validation {told(start_scores)}{_judged(start_scores, 0, checkpoints)}")
            code = WORKER_LOST if is_cluster(strategy) else USAGE_ERROR
            with signals.watched(others, wait_seconds, code) as progress, signals.handled(request.note):
                progress.patient = not request.at_once
                progress.hurry = learner.halt

                def train(*arguments):
                    metrics = train_function(*arguments)
                    request.at_once, progress.patient = False, True
                    learner.halt(False)
                    return metrics

                if start < total_steps:
                    log.message("tracing the step; the first one takes longest")
                iterator = make_batches(start) if start < total_steps else None
                learner.halt()  # after one step: from then on there is something to save
                while step < total_steps:
                    stop = next_stop()
                    with progress.stretch():
                        _train(learner, train, iterator, step, stop, log, checkpoints, max_skipped, on_loop)
                    step = learner.current_step
                    # Not where it is evaluated alone, which must not change what training goes on with.
                    if due(steps_per_loop) or due(save_every):
                        learner.merge_replicas()
                    if scored():
                        with learner.merged():
                            most_loss = 2 * guessed_loss if 3 * step < total_steps else math.inf
                            _evaluate(evaluate, step, log, checkpoints, most_loss)
                    stopping = _on_any_process(strategy, request.number is not None)
                    if stopping and step < total_steps:
                        learner.merge_replicas()
                    if stopping or due(save_every):
                        checkpoints.save(step)
                    if stopping and step < total_steps:
                        # A barrier: launchers end the others when the first ends, and the chief may still be saving.
                        _on_any_process(strategy, True)
                        raise Preempted(request.code)
        except Preempted:
            saved = f"saved as {checkpoints.latest}" if step > start else "before a step of this start"
            log.message(f"stopped by {request.name} at step {step}, {saved}: the same command goes on")
            raise
    return TrainingResult(step, checkpoints.best)


@contextlib.contextmanager
def losing_workers(strategy: tf.distribute.Strategy, where: Callable[[], str]) -> Iterator[None]:
    """Within the block, reports that a worker of the cluster is lost, and `where`, and raises `WorkerLost`."""
    try:
        yield
    except _LOST as error:
        if not is_cluster(strategy):
            raise
        say(
            f"a worker of the cluster is lost, {where()}: start all workers again with the same commands "
            f"({first_line(error)[:200]})"
        )
        raise WorkerLost(WORKER_LOST) from error


def _train(learner, train_function, iterator, step, stop, log, checkpoints, max_skipped, on_loop) -> None:
    began = time.monotonic()
    metrics = train_function(iterator, stop - step)
    seconds = time.monotonic() - began
    _check_finite(learner, metrics, checkpoints, log, max_skipped)
    if learner.current_step < stop:  # halted: the rest of these steps tells of them all
        return
    values = {name: total / weight if weight else math.nan for name, (total, weight) in metrics.items()}
    if on_loop is not None:
        values.update(on_loop(stop, dict(values)) or {})
    log.write("train", stop, values)
    shown = {name: values[name] for name in ("cross_entropy", "top1", "macs") if name in values}
    log.progress(stop, seconds, stop - step, shown)


def _check_finite(learner, metrics, checkpoints, log, max_skipped) -> None:
    """Stops at values that were not finite, or tells of updates that were skipped for them."""
    found = {name: metrics.pop(name) for name in TROUBLES if name in metrics}
    if learner.update_check.skip:
        metrics["skipped_updates"] = (float(learner.skipped_updates), 1.0)
    if not found:
        return
    name = min(found, key=lambda name: found[name][0])
    what = f"the {name.removeprefix('non_finite_')} is not finite at step {int(found[name][0])}"
    advice = (
        f"the last good checkpoint is {checkpoints.latest or 'none'}; a lower learning rate, a longer warm-up, "
        "--clip_gradient_norm or a larger batch may help: start again in another run directory with such settings"
    )
    if not learner.update_check.skip:
        raise UserError(f"{what}; {advice}, or go on in this one with --on_nan=skip")
    total = learner.skipped_updates
    if total > max_skipped:
        raise UserError(f"{what}: {total} updates skipped, more than {max_skipped}; {advice}")
    log.message(f"{what}: update skipped ({total} so far, at most {max_skipped})")


def _evaluate(evaluate, step, log, checkpoints, most_loss) -> None:
    values = dict(evaluate())
    log.write("validation", step, values)
    log.message(f"step {step}: validation {told(values)}{_judged(values, step, checkpoints, most_loss)}")


def _judged(values: dict[str, float], step: int, checkpoints: Checkpoints, most_loss: float = math.inf) -> str:
    """Keeps the best copy if these are the best scores so far, and says so, or why it must not."""
    if not all(map(math.isfinite, values.values())):
        return " (not finite: not kept as best)"
    if values.get("loss", 0.0) >= most_loss:
        return " (batch norm's statistics still follow the weights: not kept as best)"
    if "beyond_float16" in values:
        return " (logits beyond float16: not kept as best)"
    kept = "top1" in values and checkpoints.save_best(step, values["top1"], values.get("loss"))
    return " (best so far)" if kept else ""


def _check_agreement(strategy, start: int, checkpoints: Checkpoints) -> None:
    """Raises UserError, on every process of a cluster, where they have restored different steps."""
    steps = sorted(of_all(strategy, start))
    if len(steps) > 1:
        raise UserError(
            f"{checkpoints.directory}: the workers found checkpoints of different steps there, {steps}, this one "
            f"{start}; --model_dir must be on a disk that all of them share"
        )


def _on_any_process(strategy, flag: bool) -> bool:
    """Whether `flag` holds on any process: all of a cluster must save at the same step."""
    if not is_cluster(strategy):
        return flag
    flags = strategy.experimental_distribute_values_from_function(lambda _: tf.constant(int(flag)))
    with signals.stretch():
        return int(strategy.reduce(tf.distribute.ReduceOp.SUM, flags, axis=None)) > 0


class _Request:
    """A signal to stop, noted until the run can be saved; `at_once`: there is nothing to save, it stops there."""

    def __init__(self, at_once: bool):
        self.at_once = at_once
        self.number: int | None = None

    @property
    def name(self) -> str:
        """The name of the signal; in a cluster it may have come to another process."""
        return "a signal to another process" if self.number is None else signal.Signals(self.number).name

    @property
    def code(self) -> int:
        """The exit code."""
        return 128 + signal.SIGINT if self.number == signal.SIGINT else PREEMPTED

    def note(self, number: int) -> None:
        insists = self.number == number == signal.SIGINT
        self.number = number
        if insists or (self.at_once and number == signal.SIGINT):
            raise signals.raised_for(number, KeyboardInterrupt())
        if self.at_once:
            raise signals.raised_for(number, Preempted(PREEMPTED))
