"""Which devices a run uses: one tf.distribute.Strategy per kind, every failure a `UserError`."""

from __future__ import annotations

import functools
import os

import tensorflow as tf

from autonl_tf import cluster, signals
from autonl_tf.errors import UserError, first_line
from autonl_tf.streams import say

_CONNECT_SECONDS = 10.0


def make_strategy(
    kind: str,
    *,
    tpu: str | None = None,
    tpu_zone: str | None = None,
    gcp_project: str | None = None,
    wait_seconds: float = 1800.0,
) -> tf.distribute.Strategy:
    """The strategy of `kind`, of `flag_values.STRATEGIES`; `tpu` needs a TPU, and nothing else takes its options.

    `auto`: `tpu` when a TPU is named, else `multiworker` when TF_CONFIG is set, else `mirrored` with more
    than one GPU, else the one device there is. `cpu`: one device, the processor, whatever else is there.
    `mirrored`: all GPUs of this machine, or all logical CPU devices where there is none.

    It waits up to `wait_seconds` for the other processes of a cluster, and says so on standard error.

    Raises:
      UserError: a TPU that is not reached; `multiworker` without a usable TF_CONFIG, or processes of the cluster that
        do not come.
    """
    if kind == "auto":
        kind = _choose(tpu)
    if kind == "tpu":
        return _tpu_strategy(tpu, tpu_zone, gcp_project, wait_seconds)
    if kind == "multiworker":
        cluster.wait_for_others(cluster.from_environment(), wait_seconds, say)
        try:
            with signals.deadly(wait_seconds):
                return tf.distribute.MultiWorkerMirroredStrategy()
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            raise UserError(f"--strategy=multiworker: cannot join the cluster: {first_line(error)[:200]}") from error
    gpus = tf.config.list_logical_devices("GPU")
    if kind == "mirrored":
        devices = gpus or tf.config.list_logical_devices("CPU")
        return _mirrored(tuple(device.name for device in devices))
    return tf.distribute.OneDeviceStrategy(gpus[0].name if gpus and kind == "one" else "/device:CPU:0")


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    # One for the process: two of them on the same CPU devices mistake each other's collective operations.
    return tf.distribute.MirroredStrategy(devices)


def _choose(tpu: str | None) -> str:
    if tpu:
        return "tpu"
    if "TF_CONFIG" in os.environ:
        return "multiworker"
    return "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "one"


def _tpu_strategy(tpu, tpu_zone, gcp_project, wait_seconds) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu, zone=tpu_zone, project=gcp_project)
        if tpu != "local":
            # TensorFlow waits for it without an end, and no signal reaches the process then.
            address = resolver.master().removeprefix("grpc://")
            if fault := cluster.fault_of(address, _CONNECT_SECONDS):
                raise UserError(f"--tpu={tpu}: no TPU can be reached at {address}: {fault}")
            say(f"connecting to the TPU at {address}; giving up after {wait_seconds:g} s (--wait_seconds)")
        with signals.deadly(wait_seconds):
            if tpu != "local":
                tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            return tf.distribute.TPUStrategy(resolver)
    except UserError:
        raise
    except Exception as error:  # the resolver raises whatever its HTTP client, gRPC or the runtime raise
        raise UserError(f"--tpu={tpu}: no TPU can be reached there: {first_line(error)[:200]}") from error


def is_cluster(strategy: tf.distribute.Strategy) -> bool:
    """Whether several processes work together, those of TF_CONFIG."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes what one process alone may write (metrics, pictures, configuration)."""
    task_type, task_id, cluster = _task(strategy)
    if task_type is None:
        return True
    return task_type == "chief" or (task_type == "worker" and task_id == 0 and "chief" not in cluster)


def task_name(strategy: tf.distribute.Strategy) -> str:
    """This process's name among its peers, such as `worker-1`; `chief-0` where there is but one process."""
    task_type, task_id, _ = _task(strategy)
    return "chief-0" if task_type is None else f"{task_type}-{task_id}"


def _task(strategy):
    resolver = strategy.cluster_resolver
    if not is_cluster(strategy) or resolver is None:
        return None, None, {}
    return resolver.task_type, resolver.task_id, resolver.cluster_spec().as_dict()


def per_replica_batch_size(strategy: tf.distribute.Strategy, batch_size: int, flag: str) -> int:
    """`batch_size` images over all replicas -> images per replica.

    Raises:
      UserError: naming `flag`, when the replicas do not divide the batch.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size < 1 or batch_size % replicas:
        raise UserError(f"--{flag}={batch_size}: must be a positive multiple of the number of replicas, {replicas}")
    return batch_size // replicas


def of_all(strategy: tf.distribute.Strategy, number: int) -> set[int]:
    """The numbers that the processes of a cluster come with; one that is in none has its own alone."""
    if not is_cluster(strategy):
        return {number}
    own = strategy.experimental_distribute_values_from_function(lambda _: tf.constant([number], tf.int64))
    return set(strategy.gather(own, axis=0).numpy().tolist())
