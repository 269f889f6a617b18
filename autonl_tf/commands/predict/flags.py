"""Classify images with a checkpoint."""

from __future__ import annotations

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
    return files.check_inputs(files.check_output(config), config.init_checkpoint or config.model_dir).config
