"""Checkpoints of this program: found in a run directory, described by its `model.json`, written and read.

Layout of a run directory DIR: `DIR/checkpoints/ckpt-STEP.*`, `DIR/best/ckpt-STEP.*` with `DIR/best/best.json`, and
`DIR/model.json`. Within a checkpoint model variables are stored under `variables`, their moving averages under
`averages/shadows`, both by the variables' names (see `engine.checkpoints`).
"""

from __future__ import annotations

import dataclasses
import glob
import re
from pathlib import Path

import tensorflow as tf

from autonl_tf.arch import blockstring
from autonl_tf.checkpoint.checkpoint import Checkpoint, Chosen, Loaded
from autonl_tf.checkpoint.matching import Stored
from autonl_tf.engine.averages import MovingAverages
from autonl_tf.engine.checkpoints import check_own, fault_of, step_of, steps_saved
from autonl_tf.engine.files import write_json
from autonl_tf.engine.names import by_name
from autonl_tf.errors import UserError
from autonl_tf.reading import read_json, read_text
from autonl_tf.records import BestRecord, ModelRecord

MODEL_JSON = "model.json"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_FILE_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_ACCEPTED = "a run directory, or a prefix such as DIR/best/ckpt-100 or DIR/bestmodel.ckpt"


def open_ours(prefix: str) -> Checkpoint:
    """The checkpoint at `prefix`, as the `model.json` beside it describes it.

    Raises:
      UserError: no description, or a damaged one; the checkpoint is of another step than its name says, or of another
        run than that of its directory.
    """
    if re.fullmatch(r"ckpt-\d+", Path(prefix).name):
        check_own(Path(prefix))
    described = read_model_json(prefix)
    return Checkpoint(
        format="ours",
        where=prefix,
        spec=blockstring.parse(described.arch, f"{prefix}: {MODEL_JSON}"),
        class_names=described.class_names,
        classes_are_numbered=described.classes_are_numbered,
        image_size=described.input_image_size,
        crop_padding=described.crop_padding,
        depth_multiplier=described.depth_multiplier,
        choose=lambda model, variables, use_averages: choose(prefix, use_averages),
        qat=described.qat,
        trained_on=described.dataset,
    )


def write_model_json(directory: str | Path, description: ModelRecord) -> None:
    """Describes the network of a run directory, whole or not at all."""
    write_json(Path(directory) / MODEL_JSON, dataclasses.asdict(description))


def read_model_json(path: str | Path) -> ModelRecord:
    """The description beside a checkpoint: `path` is a run directory, or a checkpoint prefix within one.

    Raises:
      UserError: there is none, or it is damaged.
    """
    path = Path(path)
    directories = [path] if path.is_dir() else [path.parent, path.parent.parent]
    for directory in directories:
        if (directory / MODEL_JSON).exists():
            return read_json(directory / MODEL_JSON, ModelRecord, what="the description of a run's network")
    raise UserError(f"{path}: no {MODEL_JSON} beside this checkpoint (looked in {', '.join(map(str, directories))})")


def find_checkpoint(path: str | Path) -> Path:
    """The prefix that `path` means: a prefix, one of its files, a run directory (its best copy if any, else its
    latest), or a directory that itself holds a checkpoint, as a published archive does (see `_within`).

    A broken checkpoint of a run directory is passed over for an older one.

    Raises:
      UserError: nothing there, nothing readable, or several to choose from.
    """
    path = Path(path)
    if not path.is_dir():
        prefix = path.with_name(_FILE_SUFFIX.sub("", path.name))
        if not _index_of(prefix).is_file():
            data = sorted(prefix.parent.glob(glob.escape(prefix.name) + ".data-*"))
            reason = f"its {_index_of(prefix).name} is missing, {data[0].name} is there" if data else _ACCEPTED
            raise UserError(f"{path}: no checkpoint there ({reason})")
        candidates = [prefix]
    else:
        candidates = _candidates(path) or _within(path)
        if not candidates:
            raise UserError(f"{path}: no checkpoint in this directory (nor in its best/ and checkpoints/)")
    faults = []
    for prefix in candidates:
        fault = fault_of(prefix)
        if fault is None:
            return prefix
        faults.append(f"{prefix}: {fault}")
    raise UserError("cannot read the checkpoint: " + "; ".join(faults))


def _candidates(directory: Path) -> list[Path]:
    best, record = [], directory / "best" / "best.json"
    if record.is_file():
        best = [directory / "best" / f"ckpt-{read_json(record, BestRecord).step}"]
    latest = directory / "checkpoints"
    return best + [latest / f"ckpt-{step}" for step in reversed(steps_saved(latest))]


def _index_of(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _within(directory: Path) -> list[Path]:
    """The checkpoint whose files lie in `directory`: bestmodel.ckpt, else the one that TensorFlow's own note
    (`checkpoint`) names, else the only one.

    Raises:
      UserError: several, and nothing that says which.
    """
    found = sorted(index.with_suffix("") for index in directory.glob("*.index"))
    if (best := directory / "bestmodel.ckpt") in found:
        return [best]
    if len(found) > 1 and (note := directory / "checkpoint").exists():
        named = re.search(r'^model_checkpoint_path: "(?:.*/)?(.+)"$', read_text(note), re.MULTILINE)
        found = [prefix for prefix in found if named and prefix.name == named[1]] or found
    if len(found) > 1:
        raise UserError(
            f"{directory}: holds several checkpoints ({', '.join(p.name for p in found)}); name one of them"
        )
    return found


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
    stored = Stored(
        prefix,
        {name: tuple(shapes[key]) for name, key in keys.items()},
        read=lambda name: reader.get_tensor(keys[name]),
    )
    return Chosen(stored, Loaded(prefix, step_of(prefix), use_averages))


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
