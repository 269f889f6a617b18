"""Whether an export can be made: where it may go, and with what; found without TensorFlow."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from autonl_tf.errors import UserError
from autonl_tf.reading import Unreadable, read_json
from autonl_tf.records import CARD_JSON, CardRecord

QUANTIZER_NEEDED = "--formats=tflite_int8 needs ai-edge-quantizer: python -m pip install 'autonl-tf[export]'"


def check_export_dir(export_dir: str | Path) -> None:
    """Raises UserError unless an export may go there: missing, empty, or an earlier export, and no mount point."""
    path = Path(export_dir)
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f"--output={export_dir}: is a file; accepted: a new or empty directory, or an earlier export")
    if path.resolve().is_mount():
        raise UserError(
            f"--output={export_dir}: is a mount point, which an export cannot replace as a whole; "
            "accepted: a directory below it"
        )
    present = files_in(path)
    if not present:
        return
    try:
        known = {CARD_JSON, *read_json(path / CARD_JSON, CardRecord).files}
    except Unreadable:  # no card of ours
        known = set()
    strangers = [name for name in present if name not in known]
    if strangers:
        raise UserError(
            f"--output={export_dir}: holds {strangers[0]}, which no export wrote; "
            "accepted: a new or empty directory, or an earlier export"
        )


def files_in(directory: Path) -> list[str]:
    """Every file below `directory`, sorted, as relative paths with forward slashes; directories left out."""
    found = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(directory).as_posix() for path in found)


def check_quantizer() -> None:
    """Raises UserError where the package that quantizes to int8 is not there."""
    if importlib.util.find_spec("ai_edge_quantizer") is None:
        raise UserError(QUANTIZER_NEEDED)
