"""Other ways to run the training step, each in a process of its own that makes its steps when it is told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Variant(NamedTuple):
    """What is set before TensorFlow is loaded, what is done after, and how the step is run."""

    environment: Mapping[str, str] = types.MappingProxyType({})
    prepare: Callable[[], None] = lambda: None
    jit_compile: bool = False
    steps_a_call: int | None = None


def _swish_by_tensorflow() -> None:
    import tensorflow as tf

    from autonl_tf.layers import activations

    activations._swish = tf.nn.silu


def _depthwise_by_tensorflow() -> None:
    import tf_keras as keras

    from autonl_tf.layers import depthwise

    depthwise.DepthwiseConv2D.call = keras.layers.DepthwiseConv2D.call


def _both_by_tensorflow() -> None:
    _swish_by_tensorflow()
    _depthwise_by_tensorflow()


def _bfloat16() -> None:
    import tf_keras as keras

    keras.mixed_precision.set_global_policy("mixed_bfloat16")


def _one_op_at_a_time() -> None:
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(1)


def _no_remapping() -> None:
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"remapping": False})


VARIANTS = {
    "as_it_is": Variant(),
    "tensorflows_gradients": Variant(prepare=_both_by_tensorflow),
    "tensorflows_swish": Variant(prepare=_swish_by_tensorflow),
    "tensorflows_depthwise": Variant(prepare=_depthwise_by_tensorflow),
    "without_onednn": Variant({"TF_ENABLE_ONEDNN_OPTS": "0"}),
    "onednn_avx2": Variant({"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "onednn_bfloat16": Variant({"TF_SET_ONEDNN_FPMATH_MODE": "BF16"}),
    "onednn_keeps_primitives": Variant({"TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE": "false"}),
    "huge_pages": Variant({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
    "bfloat16": Variant(prepare=_bfloat16),
    "one_op_at_a_time": Variant(prepare=_one_op_at_a_time),
    "no_remapping": Variant(prepare=_no_remapping),
    "one_step_a_call": Variant(steps_a_call=1),
    "xla": Variant(jit_compile=True),
    "xla_clusters": Variant({"TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"}),
}


def serve(name: str, network: str, batch: int, size: int, classes: int) -> None:
    """Ready after three steps; then a number of steps a line in, wall and processor seconds a step a line out."""
    variant = VARIANTS[name]
    variant.prepare()
    from support import training_step

    from autonl_tf.arch import presets

    spec, iterator = presets.load(network), training_step.batches(size, batch, classes)
    function = training_step.train_function(
        spec, image_size=size, batch=batch, classes=classes, jit_compile=variant.jit_compile
    )
    function(iterator, 1)
    function(iterator, 2)
    print("ready", flush=True)
    for line in sys.stdin:
        steps = int(line)
        calls = variant.steps_a_call or steps
        began, processor = time.perf_counter(), time.process_time()
        for _ in range(steps // calls):
            function(iterator, calls)
        wall, processor = time.perf_counter() - began, time.process_time() - processor
        print(json.dumps([wall / steps, processor / steps]), flush=True)


class Server:
    """A variant's process. `command` starts the script that calls `serve`."""

    def __init__(self, name: str, command: list[str]):
        environment = {**os.environ, **VARIANTS[name].environment}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit(f"{name}: ended while it was being made ready")

    def __call__(self, steps: int) -> list[float]:
        """Wall and processor seconds of a step."""
        print(steps, file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
