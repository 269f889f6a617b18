"""Draw the pages and pictures of a finished search again, or compare two searches."""

from __future__ import annotations

import os

from autonl_tf.errors import UserError
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import path

FLAGS = (path("compare_with").help("Run directory of a second search, to compare with --model_dir."),)
REQUIRED = ("model_dir",)


def check_files(config: Config) -> Config:
    for name in ("model_dir", "compare_with"):
        directory = config.values[name]
        if directory and not os.path.isfile(os.path.join(directory, "search.json")):
            found = "no search.json: not the run directory of a finished search"
            raise UserError(f"--{name}={directory}: {found if os.path.isdir(directory) else 'no such directory'}")
    return config
