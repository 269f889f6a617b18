"""Draw affinity maps: where in images the non-local blocks of a checkpoint look."""

from __future__ import annotations

import os
import pathlib

from autonl_tf.errors import UserError
from autonl_tf.pictures import SOFTWARE
from autonl_tf.settings import files
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import number_in, text

FLAGS = (
    text("query_points", "0.25:0.25,0.5:0.5,0.75:0.75").help(
        "Points whose affinities are drawn: X:Y as shares of width and height, separated by commas."
    ),
)
REQUIRED = ("images", "output")
_MOST_BYTES = 200  # of a picture's name; most file systems take 255, and it is written aside under a longer one first


def check_files(config: Config) -> Config:
    config = files.check_inputs(config, config.init_checkpoint or config.model_dir).config
    files.check_apart(config, "output")
    query_points(config.query_points)
    files.check_directory("output", config.output)
    for target in targets(config.output, files.matching(config.images)):
        if target.exists() and not _is_own(target):
            raise UserError(
                f"--output={config.output}: holds {target.name}, which AutoNL-TF did not draw; accepted: another "
                "directory"
            )
    return config


def query_points(text: str) -> list[tuple[float, float]]:
    """`0.5:0.5,0.25:0.75` to [(x, y), ...]. Raises UserError where it is not that."""
    points = []
    for part in text.split(","):
        x, _, y = part.partition(":")
        point = number_in(x), number_in(y)
        if not all(0 <= value <= 1 for value in point):
            raise UserError(f"--query_points={text}: {part!r} is not X:Y; accepted: shares from 0 to 1")
        points.append(point)
    if len(points) > 64:
        raise UserError(f"--query_points: {len(points)} points; accepted: at most 64")
    return points


def targets(directory: str, files: list[str]) -> list[pathlib.Path]:
    """Where each picture goes: images of one name in several folders get their folders' names too,
    and what is still alike a number; a long name is cut."""
    directory = pathlib.Path(directory)
    names = [pathlib.Path(file).stem for file in files]
    if len(set(names)) < len(names):
        common = os.path.commonpath([pathlib.Path(file).absolute().parent for file in files])
        names = [os.path.relpath(pathlib.Path(file).absolute(), common).replace(os.sep, "_") for file in files]
    taken: dict[str, None] = {}
    for name in names:
        if len(os.fsencode(name)) > _MOST_BYTES:
            name = os.fsencode(name)[:_MOST_BYTES].decode(errors="ignore") or "picture"
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        taken[free] = None
    return [directory / f"{name}.png" for name in taken]


def _is_own(path: pathlib.Path) -> bool:
    from PIL import Image  # which --help does without

    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == SOFTWARE
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
