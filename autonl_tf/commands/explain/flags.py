"""Draw affinity maps: where in images the non-local blocks of a checkpoint look."""

from __future__ import annotations

from autonl_tf.errors import UserError
from autonl_tf.settings import files
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import number_in, text

FLAGS = (
    text("query_points", "0.25:0.25,0.5:0.5,0.75:0.75").help(
        "Points whose affinities are drawn: X:Y as shares of width and height, separated by commas."
    ),
)
REQUIRED = ("images", "output")


def check_files(config: Config) -> Config:
    config = files.check_inputs(config, config.init_checkpoint or config.model_dir).config
    files.check_apart(config, "output")
    query_points(config.query_points)
    files.check_directory("output", config.output)
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
