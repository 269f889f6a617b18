"""Score a checkpoint on the validation images of a dataset."""

from __future__ import annotations

from autonl_tf.settings import files
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import path
from autonl_tf.settings.shared import check_one_source

FLAGS = (
    path("report_dir").help(
        "Directory where eval writes per-class accuracy, the confusion matrix and the most confident mistakes."
    ),
)
REQUIRED = ("dataset",)


def check(config: Config) -> Config:
    check_one_source(config)
    return config


def check_files(config: Config) -> Config:
    config = files.check_inputs(config, config.init_checkpoint or config.model_dir).config
    if config.report_dir:
        files.check_apart(config, "report_dir")
        files.check_directory("report_dir", config.report_dir)
    return config
