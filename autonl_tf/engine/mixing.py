"""Mixup, CutMix and random erasing of a batch, on the device.

Everything random follows from (seed, step, micro-batch), so a resumed run mixes as an uninterrupted one
would, and N devices with M micro-batches as N * M devices do. With another product of the two it mixes otherwise, since
a micro-batch's images are mixed among themselves. Sources: Zhang et al., mixup, ICLR 2018; Yun et al., CutMix, ICCV
2019; Zhong et al., Random Erasing, AAAI 2020.

Deviations:
1. One share a micro-batch, and image i is mixed with image B - 1 - i.
2. Erased pixels are 0 after normalisation, the mean colour, where the source offers noise too.
3. Where both mixup and CutMix are on, a coin at every step takes one of them.
"""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from autonl_tf.layers.draws import micro_batch, stateless_uniform

_ERASED_AREA, _ERASED_ASPECT = (0.02, 0.33), (0.3, 3.3)


@dataclasses.dataclass(frozen=True)
class Mixing:
    """What is mixed: Beta parameters of mixup and CutMix (0: off), probability of erasing, the run's seed."""

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    random_erasing: float = 0.0
    seed: int = 0

    @property
    def mixes(self) -> bool:
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    def __call__(self, images: tf.Tensor, labels: tf.Tensor, step: tf.Tensor):
        """Mixes a micro-batch: which one, `draws.drawing` tells, and outside of it it is the first.

        Args:
          images: [B, H, W, 3], normalised.
          labels: int [B].

        Returns:
          images of the same shape, the other labels [B], and the share of the first labels, a scalar in [0, 1]: the
          loss is share * loss(labels) + (1 - share) * loss(others).
        """
        seed = tf.stack([tf.cast(step, tf.int32), tf.constant(self.seed ^ 0x5EED, tf.int32)])
        seed = tf.random.experimental.stateless_fold_in(seed, micro_batch(), alg="philox")
        seeds = tf.random.experimental.stateless_split(seed, 4, alg="philox")
        coin, share_seed, box_seed, erase_seed = tf.unstack(seeds)
        share, others = tf.constant(1.0), labels
        if self.mixes:
            others = tf.reverse(labels, [0])
            images, share = self._mix(images, coin, share_seed, box_seed)
        if self.random_erasing > 0:
            images = _erase(images, self.random_erasing, erase_seed)
        return images, others, share

    def _mix(self, images, coin, share_seed, box_seed):
        def mixup():
            share = _beta(self.mixup_alpha, stateless_uniform([2], share_seed))
            weight = tf.cast(share, images.dtype)
            return weight * images + (1 - weight) * tf.reverse(images, [0]), share

        def cutmix():
            return _cutmix(images, _beta(self.cutmix_alpha, stateless_uniform([2], share_seed)), box_seed)

        if not self.cutmix_alpha:
            return mixup()
        if not self.mixup_alpha:
            return cutmix()
        return tf.cond(stateless_uniform([], coin) < 0.5, mixup, cutmix)


def _beta(alpha: float, draws: tf.Tensor) -> tf.Tensor:
    """Draws of Beta(alpha, alpha) of uniform ones, [2, ...] -> [...].

    With t of Student's distribution of 2 alpha degrees of freedom, (1 + t / sqrt(2 alpha + t^2)) / 2 is such a draw,
    and t = sqrt(2 alpha (u^(-1 / alpha) - 1)) cos(2 pi v) (Bailey, Polar Generation of Random Variates with the
    t-Distribution, 1994). No gamma variates, which XLA cannot draw.
    """
    log, cosine = tf.math.log(draws[0]) / alpha, tf.cos(2 * math.pi * draws[1])
    inverse = tf.exp(log) / -tf.math.expm1(log)  # 1 / (u^(-1 / alpha) - 1), also where the power would overflow
    share = 0.5 * (1 + cosine / tf.sqrt(cosine**2 + tf.maximum(inverse, 1e-30)))
    return tf.clip_by_value(share, 0.0, 1.0)


def _cutmix(images: tf.Tensor, share: tf.Tensor, seed: tf.Tensor):
    """The rectangle has 1 - share of the area before it is cut at the border; the share is what then is left."""
    _, height, width, _ = images.shape
    side = tf.sqrt(1 - share)
    centre = stateless_uniform([2], seed)
    inside = _inside(height, width, centre[0], centre[1], side, side)[tf.newaxis, :, :, tf.newaxis]
    mixed = tf.where(inside, tf.reverse(images, [0]), images)
    return mixed, 1 - tf.reduce_mean(tf.cast(inside, tf.float32))


def _erase(images: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Each image by itself: with `probability`, a rectangle that lies within it becomes 0."""
    count, (_, height, width, _) = tf.shape(images)[0], images.shape
    draws = stateless_uniform([5, count], seed)
    area = _ERASED_AREA[0] + draws[0] * (_ERASED_AREA[1] - _ERASED_AREA[0])
    low, high = (tf.math.log(bound) for bound in _ERASED_ASPECT)
    aspect = tf.exp(low + draws[1] * (high - low))
    tall, wide = tf.minimum(tf.sqrt(area * aspect), 1.0), tf.minimum(tf.sqrt(area / aspect), 1.0)
    top, left = draws[2] * (1 - tall), draws[3] * (1 - wide)
    inside = _inside(height, width, top + tall / 2, left + wide / 2, tall, wide)
    erased = inside & (draws[4] < probability)[:, tf.newaxis, tf.newaxis]
    return tf.where(erased[..., tf.newaxis], tf.zeros_like(images), images)


def _inside(height: int, width: int, y, x, tall, wide) -> tf.Tensor:
    """Which pixels' centres lie in rectangles given by centre and size as shares: bool [..., H, W]."""
    y, x, tall, wide = (tf.convert_to_tensor(value)[..., tf.newaxis] for value in (y, x, tall, wide))
    rows = (tf.range(height, dtype=tf.float32) + 0.5) / height
    columns = (tf.range(width, dtype=tf.float32) + 0.5) / width
    in_rows, in_columns = tf.abs(rows - y) < tall / 2, tf.abs(columns - x) < wide / 2
    return in_rows[..., :, tf.newaxis] & in_columns[..., tf.newaxis, :]
