"""What a run's memory comes to, told before its first step, and into how many micro-batches a batch is cut to fit."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Iterator

import tensorflow as tf

from autonl_tf import host_memory
from autonl_tf.arch import peak_memory
from autonl_tf.arch.parts import frozen_from_the_front
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.checkpoint.blocks import Block
from autonl_tf.engine import rundir
from autonl_tf.engine.strategy import of_all, per_replica_batch_size
from autonl_tf.errors import UserError
from autonl_tf.files import exists
from autonl_tf.reading import read_json
from autonl_tf.records import RunRecord
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import AUTO
from autonl_tf.settings.recipe import check_micro_batches
from autonl_tf.streams import say

_GPU = "the GPU"  # whose memory it is
SHARE = 0.8  # of the memory there is, which `--micro_batches=auto` plans to use at most, because estimates err


def fitted(
    config: Config, strategy: tf.distribute.Strategy, spec: NetworkSpec, added: Collection[Block] = ()
) -> Config:
    """The resolved config with a number as `--micro_batches`; says on standard error what the run will take.

    A run that goes on keeps the number that it began with.

    Args:
      spec: the network that is trained, its filters scaled, or the largest member of the space that is searched.
      added: its non-local blocks that trained weights lack, which are trained whatever `--freeze` says.

    Raises:
      UserError: it does not fit, with a number of micro-batches that does.
    """
    wanted, plan = config.micro_batches, _Plan(config, strategy, spec, added)
    count = wanted
    if wanted == AUTO:
        count = _began_with(config.model_dir) or plan.fewest() or 1
        count = max(of_all(strategy, count))
    config = config.replaced(micro_batches=count)
    check_micro_batches(config, strategy.num_replicas_in_sync)
    plan.check(count)
    say(plan.told(count, chosen=wanted == AUTO and count > 1))
    return config


class _Plan:
    """What a run takes by the number of its micro-batches, and what there is."""

    def __init__(self, config: Config, strategy: tf.distribute.Strategy, spec: NetworkSpec, added: Collection[Block]):
        self._config, self._spec = config, spec
        self._batch = per_replica_batch_size(strategy, config.train_batch_size, "train_batch_size")
        self._replicas = strategy.num_replicas_in_sync
        self._here = len(strategy.extended.worker_devices)
        self._there_is = _of_devices(strategy)
        # Counted in the order stem, block 0, block 1, ...
        frozen = frozen_from_the_front(config.freeze, len(spec.singles()))
        self._frozen = min([frozen, *(index + 1 for index, _ in added)])
        self._whole = config.sync_batch_norm or config.qat or bool(config.search_split)

    def fewest(self) -> int | None:
        """The fewest that fit with some room; None where none do."""
        if self._there_is is None or self._whole:
            return 1
        planned = SHARE * self._there_is.total
        fits = (count for most in (min(planned, self._there_is.free), planned) for count in self._fitting(most))
        return next(fits, None)

    def check(self, count: int) -> None:
        there_is = self._there_is
        if there_is is None or self._bytes(count) <= there_is.total:
            return
        config, size = self._config, self._config.input_image_size
        told = f"--train_batch_size={config.train_batch_size}" + (f" --micro_batches={count}" if count > 1 else "")
        fitting = None if self._whole else next(iter(self._fitting(SHARE * there_is.total)), None)
        if fitting:
            accepted = f"--micro_batches={fitting} ({_gigabytes(self._bytes(fitting))}), or auto"
        elif batch := self._largest_batch():
            accepted = f"--train_batch_size={batch}"
        else:
            accepted = "a smaller --input_image_size, --eval_batch_size or network"
        raise UserError(
            f"{told}: about {_gigabytes(self._bytes(count))} at {size} px, and {there_is.owner} has "
            f"{_gigabytes(there_is.total)}; accepted: {accepted}"
        )

    def told(self, count: int, chosen: bool) -> str:
        there_is, peak = self._there_is, self._peak(count)
        text = f"memory: about {_gigabytes(self._bytes(count))} at the peak"
        if there_is is not None:
            text += f" of the {_gigabytes(there_is.total)} of {there_is.owner}"
        text += f" ({_gigabytes(peak.activations)} of activations, {_gigabytes(peak.variables)} of variables)"
        if chosen:
            text += f"; with --micro_batches={count}, each of {self._batch // count} images: all at once would take "
            text += _gigabytes(self._bytes(1))
        if there_is is not None and self._bytes(count) > there_is.free:
            text += f"\nnote: only {_gigabytes(there_is.free)} of it are free now"
        return text

    def _fitting(self, most: float) -> Iterator[int]:
        """Into how many micro-batches the batch can be cut so that a run takes at most so many bytes, fewest first."""
        return (m for m in range(1, self._batch + 1) if self._batch % m == 0 and self._bytes(m) <= most)

    def _largest_batch(self) -> int | None:
        sizes = (self._batch >> halvings for halvings in range(1, self._batch.bit_length()))
        fits = (size for size in sizes if self._bytes(1, size) <= SHARE * self._there_is.total)
        return self._replicas * size if (size := next(fits, None)) else None

    def _bytes(self, count: int, batch: int | None = None) -> float:
        peak = self._peak(count, batch)
        on_host = self._there_is is None or self._there_is.owner != _GPU
        return self._here * peak.device + peak.program if on_host else peak.device

    def _peak(self, count: int, batch: int | None = None) -> peak_memory.Memory:
        config = self._config
        return peak_memory.peak(
            self._spec,
            mode=config.mode,
            image_size=config.input_image_size,
            num_classes=config.num_label_classes,
            batch=batch or self._batch,
            micro_batches=count,
            eval_batch=-(-config.eval_batch_size // self._replicas) if config.mode == "train" else 0,
            frozen=self._frozen,
            held_out=bool(config.search_split),
            compute_bytes=peak_memory.FLOAT if config.precision == "float32" else peak_memory.FLOAT // 2,
        )


def _of_devices(strategy: tf.distribute.Strategy) -> host_memory.Capacity | None:
    """The memory of the smallest GPU that a replica computes on, or of the host; None for TPUs, which do not say."""
    kinds = {tf.DeviceSpec.from_string(name).device_type for name in strategy.extended.worker_devices}
    if kinds == {"CPU"}:
        return host_memory.there_is()
    if kinds != {"GPU"}:
        return None
    from tensorflow.python.client import device_lib

    least = min(device.memory_limit for device in device_lib.list_local_devices() if device.device_type == "GPU")
    return host_memory.Capacity(least, least, _GPU)


def _began_with(model_dir: str) -> int | None:
    """The number that the run of this directory was started with."""
    path = pathlib.Path(model_dir) / rundir.CONFIG
    if not exists(path):
        return None
    return read_json(path, RunRecord, what="what a run is started with").comparable.get("micro_batches")


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
