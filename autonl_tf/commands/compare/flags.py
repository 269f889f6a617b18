"""Compare several networks block by block."""

from __future__ import annotations

from autonl_tf.errors import UserError
from autonl_tf.settings import files
from autonl_tf.settings.config import Config

check_files = files.check_output
FLAGS = ()
REQUIRED = ("arch",)


def check(config: Config) -> Config:
    if not all(config.arch.split(",")):
        raise UserError(f"--arch={config.arch}: an empty name between commas")
    if "," not in config.arch:
        raise UserError(f"--arch={config.arch}: --mode=compare takes two networks or more")
    return config
