"""What kind of weights lies at a path, by the names and the first bytes of its files: without TensorFlow."""

from __future__ import annotations

import glob
import os
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from autonl_tf.data import imagenet
from autonl_tf.engine.saved import best_of, steps_saved
from autonl_tf.errors import UserError
from autonl_tf.files import exists
from autonl_tf.reading import read_ends, read_text
from autonl_tf.records import CARD_JSON

MODEL_JSON = "model.json"  # of a run directory: its network
SPACE = "searched_space.json"  # of a search's
HDF5 = b"\x89HDF\r\n\x1a\n"
_PYTORCH = (".pth", ".pt", ".tar", ".safetensors")
_KERAS = (".h5", ".hdf5", ".keras")
_FILE_SUFFIX = re.compile(r"(?<=[^.])\.(index|meta|data-\d{5}-of-\d{5})$")
_ACCEPTED = "a run directory, or a prefix such as DIR/best/ckpt-100 or DIR/bestmodel.ckpt"


class Location(NamedTuple):
    """`kind` is `imagenet`, `export`, `keras` or `prefixes`. `prefixes` are TensorFlow checkpoints; the first complete
    one is used."""

    kind: str
    path: Path
    prefixes: tuple[Path, ...] = ()


def location_of(path: str) -> Location:
    """What is meant by a path of weights.

    Raises:
      UserError: nothing is there, several checkpoints are, or a file that is read by `--mode=convert` alone.
      OSError: what is there cannot be looked at.
    """
    location = Path(path)
    if path == imagenet.NAME:
        return Location("imagenet", location)
    is_file = exists(location) and location.is_file()
    if is_file and location.suffix in _PYTORCH:
        raise UserError(
            f"{path}: is a PyTorch file, whose networks pad differently; convert it with --mode=convert "
            "--from=pytorch, and give the run directory that this writes"
        )
    if (location / CARD_JSON).is_file():
        return Location("export", location)
    if is_file and (location.suffix in _KERAS or start_of(location) == HDF5):
        if start_of(location) != HDF5 and not zipfile.is_zipfile(location):
            raise UserError(f"{path}: is not a Keras file: neither HDF5 nor a .keras archive")
        return Location("keras", location)
    if (location / "saved_model.pb").is_file():
        return Location("keras", location)
    return Location("prefixes", location, tuple(prefixes_of(location)))


def check_pytorch(path: str) -> None:
    """Raises UserError for what is not a PyTorch file by its first bytes, or is not there."""
    try:
        start, _ = read_ends(path, 9)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; accepted: {', '.join(_PYTORCH)}") from None
    if start[:4] != b"PK\x03\x04" and start[:1] != b"\x80" and start[8:] != b"{":
        raise UserError(f"{path}: is not a PyTorch file: neither a pickle, an archive of one, nor safetensors")


def start_of(path: Path) -> bytes:
    """As many bytes of a file as tell HDF5."""
    return read_ends(path, len(HDF5))[0]


def prefixes_of(path: Path) -> list[Path]:
    """The checkpoints that `path` may mean, the first that is whole: a prefix, one of its files, a run directory (its
    best copy if it ever had one, else its latest ones), or a directory that itself holds a checkpoint, as a published
    archive does.

    Raises:
      UserError: there is none, several to choose from, or the best copy of a run is gone.
    """
    if path.is_dir():
        found = _of_run(path) or _within(path)
        if not found:
            raise UserError(
                f"{path}: no checkpoint in this directory (nor in its best/ and checkpoints/); accepted: {_ACCEPTED}"
            )
        return found
    prefix = path.with_name(_FILE_SUFFIX.sub("", path.name))
    if not _index_of(prefix).is_file():
        data = sorted(prefix.parent.glob(glob.escape(prefix.name) + ".data-*"))
        reason = f"its {_index_of(prefix).name} is missing, {data[0].name} is there" if data else _ACCEPTED
        raise UserError(f"{path}: no checkpoint there ({reason})")
    return [prefix]


def _of_run(directory: Path) -> list[Path]:
    if best := best_of(directory):
        return [best]
    latest = directory / "checkpoints"
    return [latest / f"ckpt-{step}" for step in reversed(steps_saved(latest))]


def _index_of(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _within(directory: Path) -> list[Path]:
    """The checkpoint whose files lie in `directory`: bestmodel.ckpt, else the one that TensorFlow's own note
    (`checkpoint`) names, else the only one.

    Raises:
      UserError: several, and nothing that says which.
    """
    names = sorted(os.listdir(directory))
    found = [directory / name.removesuffix(".index") for name in names if name.endswith(".index")]
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
