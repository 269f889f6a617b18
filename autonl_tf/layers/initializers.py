"""Initialisers as the release has them."""

from __future__ import annotations

import functools
import random

import tensorflow as tf
import tf_keras as keras

from autonl_tf.layers.registering import registered


def _seeded(draw, seed: int | None) -> tf.Tensor:
    """`draw(seed=seed)`; where TensorFlow is to be deterministic and was given no seed, with one of Python's generator,
    as Keras' own initialisers do."""
    try:
        return draw(seed=seed)
    except RuntimeError:
        if seed is not None:
            raise
        return draw(seed=random.getrandbits(31))


@registered
class FanOutNormal(keras.initializers.Initializer):
    """Normal with mean 0 and stddev sqrt(2 / fan_out), fan_out = kh * kw * (last axis of the kernel).

    For a depthwise kernel [kh, kw, C, 1] the fan-out is therefore kh * kw. Source: the AutoNL release.

    Args:
      seed: an integer for the same values at every call, or None.
    """

    def __init__(self, seed: int | None = None):
        self.seed = seed

    def __call__(self, shape, dtype=None, **kwargs):
        draw = functools.partial(tf.random.normal, shape, 0.0, fan_out_stddev(shape), dtype or tf.float32)
        return _seeded(draw, self.seed)

    def get_config(self):
        return {"seed": self.seed}


def fan_out_stddev(shape) -> float:
    """sqrt(2 / (kh * kw * last axis)) of a kernel shape [kh, kw, in, out]."""
    height, width, _, last = shape
    return (2.0 / (height * width * last)) ** 0.5


@registered
class DenseUniform(keras.initializers.Initializer):
    """Uniform in +-1 / sqrt(max(units, 1000)), units the last axis of the kernel.

    Source: the AutoNL release, whose networks have 1000 units. Deviation: by its +-1 / sqrt(units) a network of few
    classes starts far worse than chance (six classes: a cross-entropy of 3.4 nats in place of 1.8), and large gradients
    spend the first steps of a short run on undoing that (`docs/fidelity.md`).
    """

    def __call__(self, shape, dtype=None, **kwargs):
        limit = max(shape[-1], 1000) ** -0.5
        return _seeded(functools.partial(tf.random.uniform, shape, -limit, limit, dtype or tf.float32), None)

    def get_config(self):
        return {}


def light_nl_depthwise() -> keras.initializers.Initializer:
    """Glorot uniform: on LightNL's 3x3 depthwise kernel [3, 3, C, 1] its limit is sqrt(6 / (9C + 9)).

    The release names another initialiser, under an argument that TF 1.14's depthwise layer ignores.
    """
    return keras.initializers.GlorotUniform()
