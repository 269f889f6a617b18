"""A replica's gradient, in one go or over micro-batches one after the other."""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from autonl_tf.engine.batch_norm import forward_state
from autonl_tf.engine.names import name_of
from autonl_tf.layers.draws import drawing


def replica_gradient(learner, objective: Callable, *, micro_batches: int, seed: int, scaled: Callable) -> Callable:
    """`(images [B, S, S, 3], labels [B], step) -> (loss, metrics, gradients)` of one replica, in replica context.

    With M micro-batches the objective is called on each, and losses, metrics and gradients are summed: only B / M
    images are held at a time. The result is that of M times as many replicas, each with batch-norm statistics of its
    own: what the forward pass writes (variables that every replica keeps for itself: moving statistics, measured
    distances) starts from the same value for every micro-batch, and ends as the mean of what they made of it, which is
    the mean over such replicas, since all these updates are linear in what was measured.

    Args:
      learner: gives the model and the variables to differentiate by.
      objective: see `learner.make_train_function`; called M times, so its loss is to be a share of 1 / (R * M).
      scaled: the loss -> what is differentiated in its place.

    Raises:
      ValueError: while tracing, when the loss does not depend on a variable.
    """

    def of_one(images, labels, step, index=0):
        variables = learner.moved_variables
        context = tf.distribute.get_replica_context()
        micro_batch = tf.cast(context.replica_id_in_sync_group, tf.int32) * micro_batches + index
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            with drawing(seed, step, micro_batch, context.num_replicas_in_sync * micro_batches):
                loss, metrics = objective(images, labels, step)
            to_differentiate = scaled(loss)
        gradients = tape.gradient(to_differentiate, variables)
        unmoved = [name_of(v) for v, g in zip(variables, gradients, strict=True) if g is None]
        if unmoved:
            raise ValueError(f"the objective does not depend on these trainable variables: {unmoved}")
        metrics = {name: tuple(tf.cast(value, tf.float32) for value in pair) for name, pair in metrics.items()}
        return tf.cast(loss, tf.float32), metrics, gradients

    def of_all(images, labels, step):
        size = images.shape[0] // micro_batches
        written = forward_state(learner.model)
        before = [tf.identity(variable.read_value()) for variable in written]

        # Not inlined: in a loop within the loop of steps, TensorFlow's memory optimizer sums large gradients in
        # temporary variables that the last round creates and does not delete: the next step fails (AlreadyExistsError).
        @functools.partial(tf.function, autograph=False, experimental_attributes={"_noinline": True})
        def one(index):
            for variable, value in zip(written, before, strict=True):
                variable.assign(value)
            # A shape that is known while tracing: XLA needs it.
            start = index * size
            own_images = tf.slice(images, [start, 0, 0, 0], [size, *images.shape[1:]])
            result = of_one(own_images, tf.slice(labels, [start], [size]), step, index)
            return result, [tf.identity(variable.read_value()) for variable in written]

        def add(index, total):
            return index + 1, tf.nest.map_structure(tf.add, total, one(index))

        # The first one outside of the loop shows what there is to be summed.
        first = one(tf.constant(0))
        _, (result, values) = tf.while_loop(
            lambda index, _: index < micro_batches, add, (tf.constant(1), first), parallel_iterations=1
        )
        for variable, value in zip(written, values, strict=True):
            variable.assign(value / micro_batches)
        return result

    return of_one if micro_batches == 1 else of_all
