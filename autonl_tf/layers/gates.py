"""Gates: hard in the forward pass, soft in the backward pass; and the options they choose among.

I(z) = 1(z >= 0) with the gradient of sigmoid(z). Source: Single-Path NAS, which the paper's search extends.
"""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow as tf


@tf.custom_gradient
def explored_gate(z: tf.Tensor, flip: tf.Tensor) -> tf.Tensor:
    """1(z >= 0), or its opposite where `flip` is 1; gradient to z: upstream * sigmoid'(z).

    Args:
      z: margins, any shape.
      flip: 0 or 1, same shape.
    """
    hard = tf.cast(z >= 0, z.dtype)

    def gradient(upstream):
        sigmoid = tf.sigmoid(z)
        slope = sigmoid * (1 - sigmoid)  # as TensorFlow differentiates a sigmoid, its rounding included
        return upstream * slope, None

    return hard + flip * (1 - 2 * hard), gradient


def indicator(z: tf.Tensor) -> tf.Tensor:
    """I(z): 1(z >= 0), gradient of sigmoid(z)."""
    return explored_gate(z, tf.zeros_like(z))


def cumulative_masks(gates: list[tf.Tensor]) -> list[tf.Tensor]:
    """Running products m_1 = g_1, m_2 = g_1 g_2, ...: whether option j or a later one is chosen.

    Written out, since the gradient of a cumulative product divides by its factors.
    """
    masks: list[tf.Tensor] = []
    for gate in gates:
        masks.append(gate if not masks else masks[-1] * gate)
    return masks


def option_weights(gates: list[tf.Tensor]) -> list[tf.Tensor]:
    """One weight an option, the differences of the masks: exactly one is 1 where every gate is 0 or 1."""
    masks = [1.0, *cumulative_masks(gates), 0.0]
    return [here - after for here, after in itertools.pairwise(masks)]


def channel_mask(groups: list[int], gates: list[tf.Tensor]) -> tf.Tensor:
    """A mask over sum(groups) channels: the first group is always on, group j where gates 1 to j are open."""
    masks = tf.stack([1.0, *cumulative_masks(gates)])
    belongs = np.repeat(np.eye(len(groups), dtype=np.float32), groups, axis=1)  # [groups, channels]
    return tf.reduce_sum(masks[:, None] * belongs, 0)
