"""Datasets handed to the replicas, by hand: nothing is sharded or padded behind the caller's back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from autonl_tf import signals
from autonl_tf.errors import UserError


def distribute(strategy: tf.distribute.Strategy, make_dataset: Callable[[int, int], tf.data.Dataset]):
    """A distributed dataset, for training (endless) and evaluation (finite) alike.

    `make_dataset(shard, num_shards)` gives what one input pipeline (one process) reads: batches whose every
    part has the same static length B, the global batch being B * num_shards; finite ones as many batches in
    every shard. Local replica r of R takes rows r*B/R to (r+1)*B/R of each batch, so that the same images
    make up a step on any number of devices, and no replica runs out of data before another.

    Raises:
      UserError: B is not static, or the local replicas do not divide it.
    """

    def pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
        dataset = make_dataset(context.input_pipeline_id, context.num_input_pipelines)
        replicas = strategy.num_replicas_in_sync // context.num_input_pipelines
        batch = tf.nest.flatten(dataset.element_spec)[0].shape[0]
        if batch is None or batch % replicas:
            raise UserError(f"a batch of {batch} images cannot be split evenly over {replicas} replicas")
        return dataset if replicas == 1 else dataset.rebatch(batch // replicas, drop_remainder=True)

    return strategy.distribute_datasets_from_function(pipeline)


def each(batches: Iterable) -> Iterator:
    """Batch after batch; what is done with each is a stretch of its own, which in a cluster waits for all."""
    left = iter(batches)
    while True:
        with signals.stretch():
            batch = next(left, None)
            if batch is None:
                return
            yield batch
