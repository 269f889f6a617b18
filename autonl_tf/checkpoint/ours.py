"""Checkpoints of this program: found in a run directory, described by its `model.json`, written and read.

Their layout, and that of a run directory, is `engine.checkpoints`' to tell.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from autonl_tf.checkpoint.checkpoint import Checkpoint, Chosen, Loaded
from autonl_tf.checkpoint.description import of_run
from autonl_tf.checkpoint.location import MODEL_JSON
from autonl_tf.checkpoint.matching import of_reader
from autonl_tf.engine.averages import MovingAverages
from autonl_tf.engine.checkpoints import check_own, fault_of, step_of
from autonl_tf.engine.names import by_name
from autonl_tf.engine.saved import other_than_best
from autonl_tf.errors import UserError
from autonl_tf.records import ModelRecord
from autonl_tf.strict_json import write_json

_log = logging.getLogger(__name__)
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def open_ours(prefix: str) -> Checkpoint:
    """The checkpoint at `prefix`, as the `model.json` beside it describes it.

    Raises:
      UserError: no description, or a damaged one; the checkpoint is of another step than its name says, or of another
        run than that of its directory.
    """
    check_own(Path(prefix))
    found = of_run(prefix)
    return Checkpoint(**vars(found), choose=lambda model, variables, use_averages: choose(prefix, use_averages))


def write_model_json(directory: str | Path, description: ModelRecord) -> None:
    """Describes the network of a run directory, whole or not at all."""
    write_json(Path(directory) / MODEL_JSON, dataclasses.asdict(description))


def first_readable(prefixes: Sequence[Path]) -> Path:
    """The first that is whole: a broken checkpoint of a run directory is passed over, and told, for an older one.

    Raises:
      UserError: there is none.
    """
    faults = []
    for prefix in prefixes:
        fault = fault_of(prefix)
        if fault is None:
            if faults:
                _log.warning("%s is taken: cannot read %s", prefix, "; ".join(faults))
            return prefix
        faults.append(f"{prefix}: {fault}")
    best = [prefix for prefix in prefixes if prefix.parent.name == "best"]
    hint = other_than_best(best[0].parent.parent) if best else ""
    raise UserError(f"cannot read the checkpoint: {'; '.join(faults)}{hint}")


def choose(prefix: str, use_averages: bool) -> Chosen:
    """The weights of a checkpoint of `engine.checkpoints`: all its plain variables.

    With `use_averages` a variable that was averaged gives its average, one that never was (a layer's own counter) its
    plain value.

    Raises:
      UserError: no averages in it.
    """
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    keys, averages = _stored(shapes, "variables/"), _stored(shapes, "averages/shadows/")
    if use_averages and not averages:
        raise UserError(f"{prefix}: holds no moving averages; load the plain variables instead (--use_averages=false)")
    if use_averages:
        keys |= averages
    return Chosen(of_reader(prefix, reader, keys), Loaded(prefix, step_of(prefix), use_averages))


def is_ours(prefix: str | Path) -> bool:
    """Whether the checkpoint at `prefix` is one of `engine.checkpoints`, by its keys."""
    shapes = tf.train.load_checkpoint(str(prefix)).get_variable_to_shape_map()
    return step_of(prefix) is not None and bool(_stored(shapes, "variables/"))


def write_weights(directory: str | Path, step: int, model, averages: MovingAverages) -> Path:
    """Writes weights without an optimizer as the checkpoint of `step` of a run directory; returns its prefix.

    No training goes on from it, but one may start from it.
    """
    prefix = Path(directory) / "checkpoints" / f"ckpt-{step}"
    prefix.parent.mkdir(parents=True, exist_ok=True)
    parts = {"step": tf.Variable(step, dtype=tf.int64), "variables": by_name(model.variables), "averages": averages}
    tf.train.Checkpoint(**parts).write(str(prefix))
    return prefix


def _stored(shapes, head: str) -> dict[str, str]:
    """Variable name -> key, for the keys under `head`; a key writes / as .S and . as two dots."""
    found = {}
    for key in shapes:
        if key.startswith(head) and key.endswith(_VALUE):
            escaped = key[len(head) : -len(_VALUE)]
            found[escaped.replace("..", "\0").replace(".S", "/").replace("\0", ".")] = key
    return found
