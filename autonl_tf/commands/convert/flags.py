"""Convert a checkpoint of the official release, or of its PyTorch port, to a run directory."""

from __future__ import annotations

import pathlib

from autonl_tf.checkpoint.location import check_pytorch
from autonl_tf.errors import UserError
from autonl_tf.settings import files
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import choice
from autonl_tf.settings.shared import refuse

FLAGS = (
    choice("from", "official", ("official", "pytorch")).help(
        "Kind of --init_checkpoint: a checkpoint of the official release, or a state dictionary of its PyTorch port "
        "(.pt, .pth, .safetensors), which needs --arch, and --input_image_size if the size is not 224."
    ),
)
REQUIRED = ("init_checkpoint", "model_dir")


def check(config: Config) -> Config:
    if config.from_ == "pytorch":
        if not config.arch:
            raise UserError("--from=pytorch needs --arch: a state dictionary does not say its architecture")
        if config.depth_multiplier not in (None, 1.0):
            raise UserError(f"--depth_multiplier={config.depth_multiplier}: not with --from=pytorch")
        refuse(config, "does not go with --from=pytorch: such a file holds one set of weights", "use_averages")
    return config


def check_files(config: Config) -> Config:
    ported = config.from_ == "pytorch"
    files.check_inputs(config, None if ported else config.init_checkpoint)
    if ported:
        check_pytorch(config.init_checkpoint)
    files.check_replaced("model_dir", config.model_dir)
    files.check_directory("model_dir", config.model_dir, parents=True)
    check_free(config.model_dir)
    return config


def check_free(directory: str) -> None:
    """Raises UserError if `--model_dir` of convert, a directory or absent, holds something."""
    target = pathlib.Path(directory)
    if target.is_dir() and (held := sorted(child.name for child in target.iterdir())):
        raise UserError(f"--model_dir={directory}: holds {held[0]}; convert writes a new or an empty directory")
