"""Classify images with a checkpoint."""

from __future__ import annotations

import os
import pathlib

from autonl_tf.errors import UserError
from autonl_tf.settings import files
from autonl_tf.settings.config import Config

FLAGS = ()
REQUIRED = ("images",)


def check(config: Config) -> Config:
    if config.output and pathlib.Path(config.output).suffix not in (".npz", ".csv"):
        raise UserError(f"--output={config.output}: must end in .npz or .csv")
    return config


def check_files(config: Config) -> Config:
    config = files.check_inputs(config, config.init_checkpoint or config.model_dir).config
    if path := config.output:
        folder = pathlib.Path(path).parent
        if not folder.is_dir():
            raise UserError(f"--output={path}: its directory does not exist")
        if pathlib.Path(path).is_dir():
            raise UserError(f"--output={path}: is a directory; accepted: the path of a file to write")
        if not os.access(folder, os.W_OK):
            raise UserError(f"--output={path}: its directory cannot be written")
    return config
