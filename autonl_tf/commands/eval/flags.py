"""Score a checkpoint on the validation images of a dataset."""

from __future__ import annotations

from autonl_tf.settings import files
from autonl_tf.settings.config import Config

FLAGS = ()
REQUIRED = ("dataset",)


def check_files(config: Config) -> Config:
    config = files.check_inputs(config, config.init_checkpoint or config.model_dir).config
    if config.output:
        files.check_apart(config, "output")
        files.check_directory("output", config.output)
    return config
