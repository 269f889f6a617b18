"""Checkpoints of a run: the last three, the best one, and what to do about a broken one.

Layout of a run directory DIR: `DIR/checkpoints/ckpt-STEP.*`, `DIR/best/ckpt-STEP.*` with `DIR/best/best.json`,
`DIR/saved.json`, which lists what must be there, and `DIR/model.json` (see `checkpoint.description`). A checkpoint
holds the model's variables under `variables` and their moving averages under `averages/shadows`, both by the variables'
names, and under `run` the identity of the run, which is that of `DIR/config.json`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import tensorflow as tf

from autonl_tf import signals
from autonl_tf.engine.bundle_index import fault_of_index
from autonl_tf.engine.learner import Learner
from autonl_tf.engine.names import by_name
from autonl_tf.engine.rundir import CONFIG, KeptDirectory
from autonl_tf.engine.saved import BEST, FOLDERS, SAVED, check_present, steps_saved
from autonl_tf.engine.strategy import is_chief, task_name
from autonl_tf.errors import UserError, failure_line, first_line, listed, system_failure
from autonl_tf.files import exists
from autonl_tf.reading import read_json
from autonl_tf.records import BestRecord, Identity, SavedRecord
from autonl_tf.strict_json import write_json

KEPT = 3
STEP_KEY, RUN_KEY = "step/.ATTRIBUTES/VARIABLE_VALUE", "run/.ATTRIBUTES/VARIABLE_VALUE"


def fault_of(prefix: str | Path) -> str | None:
    """What is wrong with the checkpoint at `prefix`, or None: every tensor is read and checked.

    Raises:
      UserError: it may well be whole, but the system does not let it be read.
    """
    try:
        if os.path.isfile(f"{prefix}.index") and (fault := fault_of_index(prefix)):
            return fault
        reader = tf.train.load_checkpoint(str(prefix))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except Exception as error:  # the reader has many ways to fail on bytes that are not what it wrote
        if signals.replaced():
            raise
        failure = system_failure(error)
        if failure is not None and failure[1] != os.strerror(errno.ENOENT):
            raise UserError(f"{failure[0] or prefix}: cannot be read: {failure[1]}") from error
        return first_line(error)
    return None


def step_of(prefix: str | Path) -> int | None:
    """The step that a readable checkpoint was made at, by what is in it; None where it says none."""
    reader = tf.train.load_checkpoint(str(prefix))
    if not reader.has_tensor(STEP_KEY):
        return None
    step = reader.get_tensor(STEP_KEY)
    return int(step) if step.ndim == 0 and step.dtype.kind == "i" else None


def run_of(prefix: str | Path) -> str | None:
    """The identity of the run that saved a readable checkpoint; None: it had none."""
    reader = tf.train.load_checkpoint(str(prefix))
    run = reader.get_tensor(RUN_KEY) if reader.has_tensor(RUN_KEY) else None
    return run.decode(errors="replace") if isinstance(run, bytes) else None


def identity(directory: Path) -> str | None:
    """The identity of the run in `directory`, by its config.json; None: it has none."""
    path = directory / CONFIG
    return read_json(path, Identity, what="what a run is started with").run if exists(path) else None


def check_own(prefix: Path) -> None:
    """Raises UserError where a readable checkpoint ckpt-STEP is of another step, or lies in the directory of another
    run than the one that saved it. A run without an identity, and a checkpoint of another name, are not checked."""
    if not re.fullmatch(r"ckpt-\d+", prefix.name):
        return
    if f"ckpt-{(step := step_of(prefix))}" != prefix.name:
        raise UserError(
            f"{prefix}: is the checkpoint of step {step}, of another run perhaps; remove it, and the run goes on "
            "from the one before"
        )
    run, directory = run_of(prefix), prefix.parent.parent
    if run and prefix.parent.name in FOLDERS and identity(directory) not in (None, run):
        raise UserError(
            f"{prefix}: was saved by another run than that of {directory / CONFIG}; put back this run's own, or choose "
            "another --model_dir"
        )


def delete(prefix: Path) -> None:
    """Removes a checkpoint's files, the index first: without it the rest is no checkpoint any more."""
    for path in [prefix.with_name(prefix.name + ".index"), *prefix.parent.glob(prefix.name + ".data-*")]:
        path.unlink(missing_ok=True)


class Checkpoints:
    """Saves and restores a `Learner`: step, weights, averages, optimizer slots, state.

    In a cluster every process must call `save`, `save_best` and `restore_latest`; only the chief's files
    stay.

    Args:
      directory: the run directory, which all processes of a cluster share.
      learner: complete (its optimizers' slots exist).
      as_evaluated: a context in which the learner's averages are what was last evaluated; best copies are saved in it.

    Attributes:
      best: the best copy so far, `best/ckpt-STEP`, or None.
    """

    def __init__(
        self,
        directory: str | Path,
        learner: Learner,
        tell: Callable[[str], None] = print,
        as_evaluated: Callable[[], AbstractContextManager] = contextlib.nullcontext,
    ):
        self.directory = Path(directory)
        self._latest_dir = self.directory / "checkpoints"
        self._best_dir = self.directory / "best"
        self._learner = learner
        self._tell, self._as_evaluated = tell, as_evaluated
        self._chief = is_chief(learner.strategy)
        self._worker_dir = self.directory / f".saving-{task_name(learner.strategy)}"
        self._kept = KeptDirectory(self.directory)
        self._parts = {
            "step": learner.step,
            "variables": by_name(learner.model.variables),
            "optimizers": learner.optimizers,
            "state": learner.state,
            "carried": learner.carried,
        }
        if learner.averages is not None:
            self._parts["averages"] = learner.averages
        self._checkpoint = self._of(identity(self.directory))
        # Kept here, not read again: the processes of a cluster must decide alike, whoever writes first.
        record = self.directory / BEST
        self.best = read_json(record, BestRecord) if exists(record) else None

    @property
    def latest(self) -> Path | None:
        """The prefix of the newest checkpoint."""
        steps = steps_saved(self._latest_dir)
        return self._latest_dir / f"ckpt-{steps[-1]}" if steps else None

    def save(self, step: int) -> Path:
        """Saves at `step`, then removes all but the newest three.

        Raises:
          UserError: a value that is not finite (nothing is written), files that cannot be written, or a run directory
            that was moved away.
        """
        self._check_state(step)
        prefix = self._write(self._latest_dir, step)
        if self._chief:
            record = SavedRecord(step, None if self.best is None else self.best.step)
            write_json(self.directory / SAVED, dataclasses.asdict(record))
            for old in steps_saved(self._latest_dir)[:-KEPT]:
                delete(self._latest_dir / f"ckpt-{old}")
        return prefix

    def save_best(self, step: int, metric: float, loss: float | None = None) -> bool:
        """Keeps a copy if `metric` is above every one before, or the same at a lower loss; returns whether it is.

        Raises:
          UserError: as `save`.
        """
        if self.best is not None and not self.best.beaten_by(metric, loss):
            return False
        self._check_state(step)
        with self._as_evaluated():
            self._write(self._best_dir, step)
        self.best = BestRecord(step, metric, loss)
        if self._chief:
            write_json(self.directory / BEST, dataclasses.asdict(self.best))
            for old in steps_saved(self._best_dir):
                if old != step:
                    delete(self._best_dir / f"ckpt-{old}")
        return True

    def restore_latest(self) -> int:
        """Restores the newest readable checkpoint and returns its step, or 0 where there is none.

        A broken one is passed over, reported and removed, so that the run goes on from the one before; so is a broken
        best copy, in whose place the best of what follows is kept.

        Raises:
          UserError: there are checkpoints but none is readable, or there must be some; or the one there is of another
            model or optimizer.
          OSError: their directory cannot be read.
        """
        check_present(self.directory)
        if self._chief:
            self._clear_leftovers()
        steps = steps_saved(self._latest_dir)
        self._check_best()
        faults = []
        for step in reversed(steps):
            prefix = self._latest_dir / f"ckpt-{step}"
            if (fault := fault_of(prefix)) is not None:
                faults.append((prefix, fault))
                continue
            self._restore(prefix)
            for broken, fault in faults:
                self._tell(f"warning: checkpoint {broken} is broken ({fault}); going on from step {step}")
                if self._chief:
                    delete(broken)
            return step
        if faults:
            told = "; ".join(f"{prefix}: {fault}" for prefix, fault in faults)
            kept = f"; its best copy, of step {self.best.step}, is whole" if self.best else ""
            raise UserError(f"no readable checkpoint: {told}{kept}; choose another --model_dir to start afresh")
        return 0

    def _check_best(self) -> None:
        if self.best is None:
            return
        prefix = self._best_dir / f"ckpt-{self.best.step}"
        if (fault := fault_of(prefix)) is None:
            check_own(prefix)
            return
        self._tell(f"warning: best copy {prefix} is broken ({fault}); the best of what follows is kept in its place")
        self.best = None
        if self._chief:
            if exists(self.directory / SAVED):  # the record before what it lists, which others may be reading
                record = read_json(self.directory / SAVED, SavedRecord)
                write_json(self.directory / SAVED, dataclasses.asdict(dataclasses.replace(record, best=None)))
            (self.directory / BEST).unlink(missing_ok=True)
            delete(prefix)

    def _restore(self, prefix: Path) -> None:
        check_own(prefix)
        try:
            self._of(run_of(prefix)).read(str(prefix)).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            said = first_line(error).removesuffix(": attributes {")  # of an object that the model has not
            raise UserError(f"{prefix}: made by another model or other settings: {said}") from error

    def _of(self, run: str | None) -> tf.train.Checkpoint:
        """The checkpoint object of a run with that identity."""
        return tf.train.Checkpoint(**self._parts, **({} if run is None else {"run": tf.Variable(run)}))

    def _write(self, directory: Path, step: int) -> Path:
        self._kept.check(f"step {step} is not saved")
        target = directory if self._chief else self._worker_dir
        prefix = target / f"ckpt-{step}"
        try:
            target.mkdir(exist_ok=True)
            with signals.stretch():
                self._checkpoint.write(str(prefix))
        except (OSError, tf.errors.OpError) as error:
            if self._chief:
                with contextlib.suppress(OSError):  # what cannot be written any more may not be removable either
                    self._clear_leftovers()  # where the disk is full, the part written takes room
            raise UserError(
                f"cannot save {prefix}: {failure_line(error)}; the same command goes on from "
                f"{self.latest or 'the beginning'}"
            ) from error
        finally:
            if not self._chief:
                shutil.rmtree(self._worker_dir, ignore_errors=True)
        return prefix

    def _check_state(self, step: int) -> None:
        if step != self._learner.current_step:
            raise ValueError(f"asked to save step {step}, the learner is at {self._learner.current_step}")
        if self._learner.averages is not None and self._learner.averages.swapped:
            raise RuntimeError("a checkpoint saved while the averages are swapped in would mix the two up")
        names = self._learner.names_not_finite()
        if names:
            raise UserError(
                f"not saved at step {step}: values that are not finite in {listed(names, 5)}; the last "
                f"good checkpoint is {self.latest or 'none'}; a lower learning rate or a longer warm-up may help"
            )

    def _clear_leftovers(self) -> None:
        """Removes what a save cut short by a kill has left: parts, and data without an index."""
        for directory in map(self.directory.joinpath, FOLDERS):
            whole = {f"ckpt-{step}" for step in steps_saved(directory)}
            for path in directory.glob("ckpt-*"):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name.split(".")[0] not in whole or "tempstate" in path.name:
                    path.unlink(missing_ok=True)
