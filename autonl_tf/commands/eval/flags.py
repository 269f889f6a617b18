"""Score a checkpoint on the validation images of a dataset."""

from __future__ import annotations

import pathlib

from autonl_tf.errors import UserError
from autonl_tf.settings import files
from autonl_tf.settings.config import Config

FLAGS = ()
REQUIRED = ("dataset",)

# What --output holds, and what the first of the files begins with.
FILES = ("classes.csv", "confusion.csv", "confusion.png", "mistakes.png")
HEADING = ("class", "images", "accuracy", "precision", "most often taken for", "times")


def check_files(config: Config) -> Config:
    config = files.check_inputs(config, config.init_checkpoint or config.model_dir).config
    if config.output:
        files.check_apart(config, "output")
        files.check_directory("output", config.output)
        _check_report(pathlib.Path(config.output))
    return config


def _check_report(directory: pathlib.Path) -> None:
    """Raises UserError where a report would take the place of a file that none wrote."""
    held = [name for name in FILES if (directory / name).exists()]
    if held and not _is_report(directory / FILES[0]):
        raise UserError(
            f"--output={directory}: holds {held[0]}, which no report wrote; accepted: another directory, or one with "
            "an earlier report"
        )


def _is_report(path: pathlib.Path) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip() == ",".join(HEADING)
    except (OSError, ValueError):
        return False
