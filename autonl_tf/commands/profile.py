"""Measure the latency of what a search space may choose, on this machine or by a phone's results."""

from __future__ import annotations

import os

from autonl_tf.errors import UserError
from autonl_tf.settings import files
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import path, whole
from autonl_tf.space import space as space_lib

FLAGS = (
    whole("profile_threads", 1, (1, 256)).help("Threads of the runtime."),
    whole("profile_runs", 50, (3, 100_000)).help("Measured runs of each file; the median counts."),
    whole("profile_networks", 12, (0, 1000)).help(
        "Whole networks to measure, which calibrate the sum of their pieces: the largest, the smallest and random ones."
    ),
    path("benchmark_output").help(
        "Directory that phone.sh brought back: the table is made from it, and nothing is measured here."
    ),
)
REQUIRED = ("model_dir",)


def check(config: Config) -> Config:
    return config


def check_files(config: Config) -> Config:
    space_lib.load(config.search_space)
    if config.benchmark_output and not os.path.isdir(config.benchmark_output):
        raise UserError(f"--benchmark_output={config.benchmark_output}: no such directory")
    files.check_directory("model_dir", config.model_dir, parents=True)
    if not config.benchmark_output:
        files.check_same_settings(config)
    return config
