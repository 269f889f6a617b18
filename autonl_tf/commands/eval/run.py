"""`--mode=eval`: top-1 and top-5 of a checkpoint over a whole validation split, every image counted once."""

from __future__ import annotations

import pathlib

import tensorflow as tf

from autonl_tf import signals
from autonl_tf.commands.eval.flags import FILES as REPORT_FILES
from autonl_tf.commands.eval.report import write_report
from autonl_tf.data import imagenet
from autonl_tf.data.batches import eval_batches
from autonl_tf.engine.evaluate import Evaluator
from autonl_tf.engine.runlog import told
from autonl_tf.engine.strategy import is_chief, per_replica_batch_size
from autonl_tf.errors import WORKER_LOST
from autonl_tf.layers.precision import precision_scope
from autonl_tf.prepare import checkpointed, inputs, left_out, machines, train_step
from autonl_tf.settings import agreement
from autonl_tf.settings.config import Config
from autonl_tf.streams import say
from autonl_tf.strict_json import json_line


def run(config: Config) -> None:
    """Prints the scores, and writes the report of `--output`.

    With `--json` one object: checkpoint, step, averages, top1 and, of ten classes or more, top5 as shares, loss,
    count, and how many images of which fault were skipped.
    """
    machines.on_devices(config, lambda strategy: _evaluate(config, strategy))


def _evaluate(config: Config, strategy: tf.distribute.Strategy) -> None:
    per_replica_batch_size(strategy, config.eval_batch_size, "eval_batch_size")
    with strategy.scope(), precision_scope(config.precision):
        network = checkpointed.load(config)
    dataset = inputs.dataset_of(config)
    names = agreement.classes_with(network.checkpoint, dataset)
    inputs.check_images(config, dataset, network.image_size, network.crop_padding, "validation")
    batches = inputs.evaluation_input(config, strategy, dataset, **network.pixels)
    with (
        inputs.naming_corrupt(dataset, "validation"),
        signals.watched(machines.others(config, strategy), config.wait_seconds, WORKER_LOST),
    ):
        evaluator = Evaluator(strategy, network.model, jit_compile=train_step.jit_compile(config, strategy))
        scores = evaluator(batches, dataset.size("validation"))
    if not is_chief(strategy):
        return
    seen = left_out.seen_by_run(network.run, dataset, "validation")
    left_out.trained_on(seen, dataset, "validation")
    left_out.tell_share(config, seen, network.run, dataset)
    if directory := config.output:
        again = eval_batches(dataset, batch_size=config.eval_batch_size, **network.pixels)
        titles = [imagenet.titled(name) for name in names]
        report = write_report(directory, network.model, again, titles, network.spec.normalization)
        if count := int(report.not_finite.sum()):
            say(f"warning: the logits of {count} images are not finite: they count as misses")
        written = [name for name in REPORT_FILES if (pathlib.Path(directory) / name).exists()]
        say(f"written: {directory}/{{{','.join(written)}}}")
    if config.json:
        skipped = dataset.faults().get("validation", left_out.NONE)
        print(json_line({**network.loaded._asdict(), "dataset": dataset.name, **scores, "skipped": skipped}))
    else:
        print(f"{told(scores)} of {dataset.name}")
