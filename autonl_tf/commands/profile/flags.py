"""Make a latency table of a search space, by measurements on this machine or on a phone."""

from __future__ import annotations

import os

from autonl_tf.errors import UserError
from autonl_tf.settings import files
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import path, whole
from autonl_tf.space import space as space_lib

FLAGS = (
    whole("profile_threads", 1, (1, 256)).help("Threads of the runtime."),
    whole("profile_runs", 50, (3, 100_000)).help("Timed runs of each file; the table takes their median."),
    whole("profile_networks", 12, (0, 1000)).help(
        "Whole networks to measure, to calibrate the sums of pieces: the largest, the smallest and random ones."
    ),
    path("benchmark_output").help(
        "Directory of results that phone.sh brought back, to make the table from instead of measuring here."
    ),
)
REQUIRED = ("model_dir",)


def check_files(config: Config) -> Config:
    space_lib.load(config.search_space)
    if config.benchmark_output and not os.path.isdir(config.benchmark_output):
        raise UserError(f"--benchmark_output={config.benchmark_output}: no such directory")
    files.check_directory("model_dir", config.model_dir, parents=True)
    if not config.benchmark_output:
        files.check_same_settings(config)
    return config
