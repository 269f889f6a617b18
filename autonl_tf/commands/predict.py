"""Classify images by a checkpoint."""

from __future__ import annotations

import os
import pathlib

from autonl_tf.errors import UserError
from autonl_tf.settings import files
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import path
from autonl_tf.settings.shared import check_one_source

FLAGS = (
    path("predictions_out", written=True).help(
        "File to write: a .npz with `files` and `logits` [N, classes], or a .csv with the best classes."
    ),
)
REQUIRED = ("images",)


def check(config: Config) -> Config:
    check_one_source(config)
    if config.predictions_out and pathlib.Path(config.predictions_out).suffix not in (".npz", ".csv"):
        raise UserError(f"--predictions_out={config.predictions_out}: must end in .npz or .csv")
    return config


def check_files(config: Config) -> Config:
    files.check_inputs(config, config.init_checkpoint or config.model_dir)
    if config.predictions_out:
        check_output(config.predictions_out)
    return config


def check_output(path: str) -> None:
    """Raises UserError, before any work is done, where no file can be written."""
    folder = pathlib.Path(path).parent
    if not folder.is_dir():
        raise UserError(f"--predictions_out={path}: its directory does not exist")
    if pathlib.Path(path).is_dir():
        raise UserError(f"--predictions_out={path}: is a directory; accepted: the path of a file to write")
    if not os.access(folder, os.W_OK):
        raise UserError(f"--predictions_out={path}: its directory cannot be written")
