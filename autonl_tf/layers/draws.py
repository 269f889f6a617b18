"""Random numbers of training that follow from (seed, step, position in the global batch) alone.

A draw for example i of a step is the same on one device and on many, and no random state needs to be saved: a resumed
run draws what an uninterrupted one would.
"""

from __future__ import annotations

import contextlib
import threading
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf


class _Position(NamedTuple):
    seed: int
    step: tf.Tensor  # int64 scalar
    micro_batch: tf.Tensor  # int32 scalar, its number within the global batch
    num_micro_batches: int


_here = threading.local()  # replicas are traced in threads of their own


@contextlib.contextmanager
def drawing(seed: int, step: tf.Tensor, micro_batch: tf.Tensor, num_micro_batches: int) -> Iterator[None]:
    """While layers are called within: their batch is `micro_batch` of the `num_micro_batches` of the global batch.

    Args:
      micro_batch: integer scalar, from 0; replica r's m-th of M micro-batches is `r * M + m`.
      num_micro_batches: those of all replicas, all of one size.
    """
    before = getattr(_here, "position", None)
    _here.position = _Position(seed, tf.cast(step, tf.int64), tf.cast(micro_batch, tf.int32), num_micro_batches)
    try:
        yield
    finally:
        _here.position = before


def micro_batch() -> tf.Tensor:
    """Which micro-batch of the global batch is at hand: int32 scalar, 0 outside `drawing`."""
    position = getattr(_here, "position", None)
    return tf.constant(0) if position is None else position.micro_batch


def uniform(name: str, shape: tf.Tensor) -> tf.Tensor:
    """float32 in [0, 1) of `shape`, whose first axis is the batch.

    The whole global batch is drawn and this micro-batch's rows are taken: what a row gets then depends neither on how
    many there are nor on how a device orders its draws. Outside `drawing` it comes from TensorFlow's global generator.
    """
    position = getattr(_here, "position", None)
    if position is None:
        return tf.random.uniform(shape)
    key = tf.stack([tf.constant(position.seed ^ zlib.crc32(name.encode()), tf.int64), position.step])
    shape = tf.convert_to_tensor(shape)
    whole = stateless_uniform(tf.concat([shape[:1] * position.num_micro_batches, shape[1:]], 0), key)
    begin = tf.concat([[position.micro_batch * shape[0]], tf.zeros_like(shape[1:])], 0)
    return tf.slice(whole, begin, shape)


def stateless_uniform(shape: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """float32 in [0, 1) of `shape` that follow from `key` (integers [2]) alone, under XLA as well.

    The floats are those of `tf.random.stateless_uniform` on a processor, the low 23 bits as the fraction; under XLA it
    draws the same bits, but makes other floats of them.
    """
    bits = tf.random.stateless_uniform(shape, key, None, None, tf.uint32, alg="philox")
    return tf.cast(tf.bitwise.bitwise_and(bits, tf.constant(0x7FFFFF, tf.uint32)), tf.float32) * 2.0**-23
