"""Compare several networks block by block."""

from __future__ import annotations

from autonl_tf.errors import UserError
from autonl_tf.settings.config import Config

FLAGS = ()
REQUIRED = ("arch",)


def check(config: Config) -> Config:
    if not all(config.arch.split(",")):
        raise UserError(f"--arch={config.arch}: an empty name between commas")
    return config


def check_files(config: Config) -> Config:
    return config
