"""Where the non-local blocks of a network look: their affinities at chosen points."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from autonl_tf.layers.embedded_nl import EmbeddedProduct
from autonl_tf.layers.light_nl import LightNLProduct, flatten_positions, subsample


@dataclasses.dataclass(frozen=True)
class BlockAffinity:
    """One block's affinities: `maps` [B, Q, H', W'] of Q query points over the positions that its values come from.

    LightNL: a(q, p) = theta(q) . phi(p), of either sign, so that its product is y(q) = sum_p a(q, p) g(p) / (H * W).
    The conventional block: the softmax of that, y(q) = sum_p a(q, p) g(p).
    """

    name: str
    maps: np.ndarray


def affinities(model: keras.Model, images, points: Sequence[tuple[float, float]]) -> list[BlockAffinity]:
    """The affinities of every non-local block of a network, in order.

    Args:
      model: of `network.build_network`.
      images: normalised, float32 [B, H, W, 3].
      points: queries as (x, y), shares of width and height from the top left, each in [0, 1].
    """
    layers = [layer for layer in model.layers if isinstance(layer, LightNLProduct | EmbeddedProduct)]
    if not layers:
        return []
    taken = [tf.nest.flatten(layer.input) for layer in layers]
    found = keras.Model(model.input, [tensor for tensors in taken for tensor in tensors])(images, training=False)
    inputs = tf.nest.pack_sequence_as(taken, tf.nest.flatten(found))
    return [_of(layer, tensors, points) for layer, tensors in zip(layers, inputs, strict=True)]


def _of(layer, tensors: list[tf.Tensor], points: Sequence[tuple[float, float]]) -> BlockAffinity:
    x = tf.cast(tensors[0], tf.float32)
    _, height, width, _ = x.shape
    if isinstance(layer, LightNLProduct):
        theta, keys = x[..., : layer.reduced], subsample(x, layer.stride)[..., : layer.reduced]
    else:
        theta, keys = x, tf.cast(tensors[1], tf.float32)
    rows = [min(int(y * height), height - 1) for _, y in points]
    columns = [min(int(x * width), width - 1) for x, _ in points]
    queries = tf.stack([theta[:, row, column] for row, column in zip(rows, columns, strict=True)], axis=1)
    scores = tf.matmul(queries, flatten_positions(keys), transpose_b=True)
    if isinstance(layer, EmbeddedProduct):
        scores = tf.nn.softmax(scores, axis=-1)
    maps = tf.reshape(scores, [-1, len(points), *keys.shape[1:3]])
    return BlockAffinity(layer.name.removesuffix("_product"), maps.numpy())
