"""How a train step is made, by the flags: replicas, micro-batches, compilation, checks of the update."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from autonl_tf.engine.learner import Learner, TrainFunction, make_train_function
from autonl_tf.engine.strategy import per_replica_batch_size
from autonl_tf.engine.update_check import UpdateCheck
from autonl_tf.errors import UserError
from autonl_tf.settings.config import Config
from autonl_tf.settings.recipe import check_micro_batches


def check_batches(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Raises UserError where the training batch, if it is known, cannot be split over the replicas and their
    micro-batches."""
    if config.train_batch_size is None:
        return
    per_replica_batch_size(strategy, config.train_batch_size, "train_batch_size")
    check_micro_batches(config, strategy.num_replicas_in_sync)


def check_mixing(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Raises UserError where images are to be mixed with others and each micro-batch holds one alone."""
    given = [f"--{name}" for name in ("mixup_alpha", "cutmix_alpha") if config.values[name]]
    if given and config.train_batch_size <= num_micro_batches(config, strategy):
        raise UserError(
            f"{given[0]}: a micro-batch of one image has no other to mix it with; accepted: a larger "
            "--train_batch_size, or fewer --micro_batches"
        )


def num_micro_batches(config: Config, strategy: tf.distribute.Strategy) -> int:
    """The micro-batches of all replicas, each of which has a loss of its own."""
    return strategy.num_replicas_in_sync * config.micro_batches


def jit_compile(config: Config, strategy: tf.distribute.Strategy) -> bool:
    """`--jit_compile`, refused where the step talks to other replicas in its midst, which XLA cannot compile."""
    if config.jit_compile and strategy.num_replicas_in_sync > 1:
        raise UserError(
            f"--jit_compile: for one device, this run has {strategy.num_replicas_in_sync} replicas; leave it out"
        )
    return config.jit_compile


def update_check(config: Config) -> UpdateCheck:
    """What is done about gradients that are long or not finite; within the strategy's scope."""
    scale_loss = config.precision == "float16"
    return UpdateCheck(clip_norm=config.clip_gradient_norm, skip=config.on_nan == "skip", scale_loss=scale_loss)


def train_function(
    config: Config, strategy: tf.distribute.Strategy, learner: Learner, objective: Callable, after_update=None
) -> TrainFunction:
    """The train function with the flags that say how a step is made."""
    return make_train_function(
        strategy,
        learner,
        objective,
        after_update,
        seed=config.seed,
        micro_batches=config.micro_batches,
        jit_compile=jit_compile(config, strategy),
    )
