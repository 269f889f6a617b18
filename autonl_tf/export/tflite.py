"""A network as a TFLite file of built-in ops: float32, or with float16 weights; what `int8` starts from.

Signature `classify`: `images` [1, S, S, 3], RGB in the scale of 0 to 255, normalised inside, to `probabilities`
float32 [1, K]. Files are converted with float32 images; `rewrite.take_uint8` makes a file take uint8.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch.spec import Normalization
from autonl_tf.data import images as image_ops

SIGNATURE = "classify"
INPUT = "images"
OUTPUT = "probabilities"
NORMALIZATION = "input_normalization"


def convert_fp32(model: keras.Model, path: str | Path, *, normalization: Normalization) -> None:
    """Converts the network, weights in float32, and writes it to `path`.

    The converter reads a SavedModel of its own, written beside `path` and removed: conversion from concrete
    functions would lose the signature, and from Keras it would trace the layers anew.

    Args:
      model: normalised images [B, S, S, 3] to logits [B, K].
      normalization: what the model's images were normalised by.
    """
    _convert(model, path, normalization)


def convert_fp16(model: keras.Model, path: str | Path, *, normalization: Normalization) -> None:
    """As `convert_fp32`, weights in float16, half the size; the arithmetic stays float32 on a CPU."""
    _convert(model, path, normalization, optimizations=[tf.lite.Optimize.DEFAULT], float16=True)


def convert_simulated(model: keras.Model, path: str | Path, *, normalization: Normalization) -> None:
    """As `convert_fp32`, of a network with simulated int8: where values have ranges, the file is int8."""
    _convert(model, path, normalization, optimizations=[tf.lite.Optimize.DEFAULT])


def _convert(
    model: keras.Model, path: str | Path, normalization: Normalization, optimizations=(), float16: bool = False
) -> None:
    path, image_size = Path(path), model.input_shape[1]

    # The batch is 1 so that every shape is static.
    @tf.function(
        input_signature=[tf.TensorSpec([1, image_size, image_size, 3], tf.float32, name=INPUT)],
        autograph=False,
    )
    def classify(images):
        with tf.name_scope(NORMALIZATION):  # the scope by which `int8` leaves it alone
            images = image_ops.normalizer((image_size,), normalization)(images)
        logits = model(images, training=False)
        return {OUTPUT: tf.nn.softmax(tf.cast(logits, tf.float32))}

    archive = tf.Module(name="autonl")
    archive.weights = list(model.variables)
    archive.classify = classify
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tflite_") as folder:
        tf.saved_model.save(archive, folder, signatures={SIGNATURE: classify})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.optimizations = list(optimizations)
        if float16:
            converter.target_spec.supported_types = [tf.float16]
        path.write_bytes(converter.convert())
