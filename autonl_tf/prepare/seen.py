"""The manifest of a run directory: its images are those it began with, and those seen before are not decoded again."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import PIL

from autonl_tf.data import images, manifest
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.data.reading import Reading
from autonl_tf.engine.rundir import versions
from autonl_tf.errors import first_line
from autonl_tf.files import write_text
from autonl_tf.settings.config import Config
from autonl_tf.settings.shared import FIT
from autonl_tf.streams import say


def known_faults(
    config: Config, dataset: ImageDataset, splits: Sequence[str], least_side: int
) -> dict[tuple[str, int, int], str]:
    """What the manifest of `--model_dir` knows of images, for `ImageDataset.check`; nothing with --check_images=full.

    Raises:
      UserError: a run that goes on there began with other files.
    """
    record = _read(config.model_dir)
    if record is None:
        return {}
    if config.mode in FIT:
        before, now = [entry for entry in record.entries if entry.split in splits], dataset.listed(*splits)
        manifest.check_same(config.model_dir, before, now)
        times = {entry.name: entry.time for entry in before}
        if touched := [entry.name for entry in now if entry.time != times[entry.name]]:
            say(f"images written since the run began, their sizes as before: {len(touched)}, {touched[0]} first")
    return record.faults(_checked_by(least_side, dataset.reading)) if config.check_images == "new" else {}


def write(config: Config, dataset: ImageDataset, splits: Sequence[str], directory: pathlib.Path) -> None:
    """Writes the manifest of a run of a resolved config into its directory."""
    least_side = images.least_side(config.input_image_size, config.crop_padding)
    record = manifest.Manifest(tuple(dataset.entries(*splits)), _checked_by(least_side, dataset.reading))
    write_text(directory / manifest.NAME, record.text())


def _checked_by(least_side: int, reading: Reading) -> dict[str, Any]:
    """What the faults that are found depend on."""
    made_by = versions()
    programs = {name: made_by[name] for name in ("autonl_tf", "tensorflow")} | {"pillow": PIL.__version__}
    return {**programs, "least_side": least_side, **dataclasses.asdict(reading)}


def _read(directory: str | None) -> manifest.Manifest | None:
    """A run directory's record of its images; a damaged one is told, and is none."""
    try:
        return manifest.read(directory)
    except ValueError as error:
        say(f"{directory}/{manifest.NAME}: damaged ({first_line(error)}): all images are checked anew")
        return None
