"""Zeros, and few values, in the weights of the 1x1 convolutions of a Keras network; and its TFLite files.

Pruning is by magnitude, within every layer for itself, as tensorflow-model-optimization does it.
"""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch.spec import Normalization
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.export import tflite

LEARNING_RATE = 0.0025  # of flags/demo_qat.flags: 0.01 at a batch of 256
DECAY = 0.7  # of the learning rate, every half an epoch
UPDATE_EVERY = 5  # steps, of the zeros in fine-tuning


def is_pointwise(layer) -> bool:
    return isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1)


def pointwise(model: keras.Model) -> list[keras.layers.Conv2D]:
    return [layer for layer in model.layers if is_pointwise(layer)]


def prune(model: keras.Model, share: float) -> None:
    """Makes the least `share` of every 1x1 convolution's weights zero."""
    for layer in pointwise(model):
        kernel = layer.kernel.numpy()
        flat = kernel.reshape(-1)
        flat[np.argsort(np.abs(flat), kind="stable")[: round(share * flat.size)]] = 0
        layer.kernel.assign(kernel)


def facts(model: keras.Model) -> dict:
    """Share of zeros in the 1x1 convolutions, their share of all weights, the most values that one of them has."""
    kernels = [layer.kernel.numpy() for layer in pointwise(model)]
    count = sum(kernel.size for kernel in kernels)
    return {
        "zeros": round(sum(int((kernel == 0).sum()) for kernel in kernels) / count, 4),
        "of_all_weights": round(count / model.count_params(), 4),
        "values": max(np.unique(kernel).size for kernel in kernels),
    }


def take_weights(model: keras.Model, source: keras.Model) -> None:
    """Layer by layer, by name."""
    for layer in model.layers:
        layer.set_weights(source.get_layer(layer.name).get_weights())


def clustered(model: keras.Model, clusters: int, train=None) -> keras.Model:
    """Another model of `model`'s layers whose 1x1 convolutions have at most so many values each.

    Args:
      train: does something to the wrapped model before it is stripped.
    """
    from tensorflow_model_optimization.clustering import keras as clustering

    def wrapped(layer):
        if not is_pointwise(layer) or layer.kernel.shape.num_elements() <= clusters:
            return layer
        return clustering.cluster_weights(layer, number_of_clusters=clusters)

    work = keras.models.clone_model(model, clone_function=wrapped)
    if train:
        train(work, [])
    return clustering.strip_clustering(work)


def pruned_in_training(model: keras.Model, share: float, steps: int, train) -> keras.Model:
    """Another model of `model`'s layers, trained as its zeros grow to `share` in the first half of the steps."""
    from tensorflow_model_optimization.sparsity import keras as sparsity

    schedule = sparsity.PolynomialDecay(0.0, share, 0, steps // 2, frequency=UPDATE_EVERY)

    def wrapped(layer):
        return sparsity.prune_low_magnitude(layer, schedule) if is_pointwise(layer) else layer

    work = keras.models.clone_model(model, clone_function=wrapped)
    train(work, [sparsity.UpdatePruningStep()])
    return sparsity.strip_pruning(work)


class _Optimizer(TF1RMSprop):
    """The release's, which takes dense gradients only; those of clusters' centres are not."""

    def update_step(self, gradient, variable) -> None:
        super().update_step(tf.convert_to_tensor(gradient), variable)


def fit(model: keras.Model, callbacks: list, batches: tf.data.Dataset, steps: int, classes: int) -> None:
    """Trains for so many steps: the release's optimizer, labels smoothed as there."""
    rate = keras.optimizers.schedules.ExponentialDecay(LEARNING_RATE, max(1, steps // 2), DECAY, staircase=True)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    model.compile(_Optimizer(rate), loss)
    hot = batches.map(lambda images, labels: (images, tf.one_hot(labels, classes)))
    model.fit(hot, epochs=1, steps_per_epoch=steps, callbacks=callbacks, verbose=0)


def convert(model: keras.Model, size: int, paths: dict[str, Path], images: np.ndarray | None = None) -> None:
    """Writes TFLite files by TensorFlow's converter alone.

    Args:
      paths: `dense` or `sparse` (tf.lite.Optimize.EXPERIMENTAL_SPARSITY) -> file.
      images: [N, S, S, 3] in the scale of 0 to 255; makes the files int8, ranges from these.
    """
    with tempfile.TemporaryDirectory() as folder:
        tflite._save_single(model, folder, size, Normalization())
        for kind, path in paths.items():
            converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[tflite.SIGNATURE])
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] if kind == "sparse" else []
            if images is not None:
                converter.optimizations = [*converter.optimizations, tf.lite.Optimize.DEFAULT]
                converter.representative_dataset = lambda: ([image[np.newaxis]] for image in images)
            path.write_bytes(converter.convert())


def file_facts(path: Path) -> dict:
    """Bytes, bytes by gzip, pieces for the CPU delegate, whether one is the whole graph."""
    found = tflite.graph_facts(path)
    return {
        "bytes": path.stat().st_size,
        "gzip_bytes": len(gzip.compress(path.read_bytes(), 9, mtime=0)),
        "pieces": found.xnnpack_partitions,
        "whole": found.xnnpack_whole,
    }
