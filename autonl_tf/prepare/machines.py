"""The machines that a run works on: its devices, and others that it may wait for."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
import tf_keras as keras

from autonl_tf.engine.loop import losing_workers
from autonl_tf.engine.strategy import is_cluster, make_strategy
from autonl_tf.settings.config import Config


def on_devices(config: Config, work: Callable[[tf.distribute.Strategy], None]) -> None:
    """Does `work` with the strategy the flags ask for, initial weights seeded. A worker of the cluster may be lost at
    any time of it, not in a step alone: the first values of variables, say, come from one process to the others."""
    keras.utils.set_random_seed(config.seed)
    strategy = make_strategy(
        config.strategy,
        tpu=config.tpu,
        tpu_zone=config.tpu_zone,
        gcp_project=config.gcp_project,
        wait_seconds=config.wait_seconds,
    )
    with losing_workers(strategy, lambda: f"in --mode={config.mode}"):
        work(strategy)


def others(config: Config, strategy: tf.distribute.Strategy) -> str | None:
    """The other machines that a step may wait for, in words."""
    if config.data_service:
        return f"the data service at {config.data_service}"
    return "other workers of TF_CONFIG" if is_cluster(strategy) else None
