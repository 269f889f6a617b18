"""Show the cost of a network block by block, the size of a search space, or the contents of a TFLite file."""

from __future__ import annotations

from autonl_tf.errors import UserError
from autonl_tf.settings import files
from autonl_tf.settings.config import Config

check_files = files.check_output
FLAGS = ()
REQUIRED = ()


def check(config: Config) -> Config:
    if (config.arch is None) != ("search_space" in config.given):
        raise UserError("--mode=describe needs --arch, a network, or --search_space, a space; accepted: one of the two")
    return config
