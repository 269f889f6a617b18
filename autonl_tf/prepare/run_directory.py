"""The run directory of `--model_dir` and its log, by the flags."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import tensorflow as tf

from autonl_tf.data.datasets import ImageDataset
from autonl_tf.data.labels import LABELS, labels_text
from autonl_tf.engine import rundir
from autonl_tf.engine.runlog import RunLog
from autonl_tf.engine.strategy import is_chief
from autonl_tf.files import write_text
from autonl_tf.plain_text import shown
from autonl_tf.prepare import left_out
from autonl_tf.prepare.rates import Length
from autonl_tf.reading import MOST_LONG, read_text
from autonl_tf.records import located
from autonl_tf.settings.config import Config
from autonl_tf.streams import say

DATA = "data.txt"

# What may change between two starts of one run: where and on what devices it runs, and how often it saves. (Another
# number of devices splits the same batches differently, and batch norm, unless synchronized, takes the statistics of
# each replica.)
_FREE = {
    *("model_dir", "eval_batch_size", "strategy", "tpu", "tpu_zone", "gcp_project", "save_every_steps", "data_dir"),
    *("jit_compile", "data_service", "check_images", "max_pixels", "wait_seconds"),
    "on_nan",  # a run that has stopped may go on by skipping
}


def open_run(
    config: Config,
    strategy: tf.distribute.Strategy,
    dataset: ImageDataset,
    splits: Sequence[str],
    files: dict[str, str],
) -> rundir.RunDirectory:
    """The run directory, refused if it was made with other (resolved) settings, or other numbers of images in
    `splits`. Tells what else has changed."""
    files = {
        **files,
        LABELS: labels_text(dataset.class_names),
        DATA: left_out.data_text(dataset, _dataset_name(config, dataset), splits),
    }
    settings = config.read()
    comparable = located({name: value for name, value in settings.items() if name not in _FREE})
    directory = rundir.prepare(config.model_dir, config.values, comparable, files, is_chief=is_chief(strategy))
    for note in directory.notes:
        say(note)
    if is_chief(strategy):
        left_out.write_manifest(config, dataset, splits, directory.path)
        if dataset.left_out:
            write_text(directory.path / "skipped.json", left_out.skipped_text(dataset))
    return directory


def _dataset_name(config: Config, dataset: ImageDataset) -> str:
    """The first line of data.txt: as the run began, since config.json says whether it is the same path."""
    path = pathlib.Path(config.model_dir, DATA)
    if path.is_file():
        return read_text(path, MOST_LONG).partition("\n")[0]
    return shown(located({"dataset": dataset.name})["dataset"])


def run_log(config: Config, strategy: tf.distribute.Strategy, length: Length) -> RunLog:
    return RunLog(
        pathlib.Path(config.model_dir),
        length.steps,
        images_per_step=config.train_batch_size,
        steps_per_epoch=length.steps_per_epoch,
        is_chief=is_chief(strategy),
    )
