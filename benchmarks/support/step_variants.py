"""The training step as it is and without gradients of our own, each in a process that makes its steps when told to."""

from __future__ import annotations

import json
import subprocess
import sys
import time


def _swish_by_tensorflow() -> None:
    import tensorflow as tf

    from autonl_tf.layers import activations

    activations._swish = tf.nn.silu


def _depthwise_by_tensorflow() -> None:
    import tf_keras as keras

    from autonl_tf.layers import depthwise

    depthwise.DepthwiseConv2D.call = keras.layers.DepthwiseConv2D.call


VARIANTS = {
    "as_it_is": (),
    "tensorflows_gradients": (_swish_by_tensorflow, _depthwise_by_tensorflow),
    "tensorflows_swish": (_swish_by_tensorflow,),
    "tensorflows_depthwise": (_depthwise_by_tensorflow,),
}


def serve(name: str, network: str, batch: int, size: int, classes: int) -> None:
    """Ready after three steps; then a number of steps a line in, wall and processor seconds a step a line out."""
    for replace in VARIANTS[name]:
        replace()
    from support import training_step

    from autonl_tf.arch import presets

    spec, iterator = presets.load(network), training_step.batches(size, batch, classes)
    function = training_step.train_function(spec, image_size=size, batch=batch, classes=classes)
    function(iterator, 1)
    function(iterator, 2)
    print("ready", flush=True)
    for line in sys.stdin:
        steps = int(line)
        began, processor = time.perf_counter(), time.process_time()
        function(iterator, steps)
        wall, processor = time.perf_counter() - began, time.process_time() - processor
        print(json.dumps([wall / steps, processor / steps]), flush=True)


class Server:
    """A variant's process. `command` starts the script that calls `serve`."""

    def __init__(self, name: str, command: list[str]):
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit(f"{name}: ended while it was being made ready")

    def __call__(self, steps: int) -> list[float]:
        """Wall and processor seconds of a step."""
        print(steps, file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
