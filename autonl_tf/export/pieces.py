"""Pieces of a space's networks, and whole networks, as TFLite files to be timed: random weights, batch 1, float32."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.files import in_place
from autonl_tf.networks.network import build_network, fixed_block, head_model, stem_model
from autonl_tf.space.latency import Piece


def write_piece(piece: Piece, path: Path, *, num_classes: int) -> None:
    if piece.block is not None:
        model = fixed_block(piece.block, piece.size, "block", False)
    elif piece.filters:
        model = head_model(piece.family, piece.filters, piece.size, num_classes)
    else:
        model = stem_model(piece.family, piece.size)
    _write(model, path)


def write_network(spec: NetworkSpec, path: Path, *, image_size: int, num_classes: int) -> None:
    """Writes a whole network's: normalised image in, logits out."""
    _write(build_network(spec, image_size=image_size, num_classes=num_classes), path)


def _write(model: keras.Model, path: Path) -> None:
    shape = [1, *model.input_shape[1:]]
    function = tf.function(lambda images: model(images, training=False), autograph=False)
    function = function.get_concrete_function(tf.TensorSpec(shape, tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    content = converter.convert()
    with in_place(path) as aside:
        aside.write_bytes(content)
    # Hundreds of models a run: without this each would keep its graph and its variables' names for good.
    keras.backend.clear_session()
