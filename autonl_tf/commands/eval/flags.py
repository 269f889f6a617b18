"""Score a checkpoint on the validation images of a dataset."""

from __future__ import annotations

from autonl_tf.settings import files
from autonl_tf.settings.config import Config
from autonl_tf.settings.shared import check_one_source

FLAGS = ()
REQUIRED = ("dataset",)


def check(config: Config) -> Config:
    check_one_source(config)
    return config


def check_files(config: Config) -> Config:
    config = files.check_inputs(config, config.init_checkpoint or config.model_dir).config
    if config.output:
        files.check_apart(config, "output")
        files.check_directory("output", config.output)
    return config
