"""Augmentation operations that move pixels, or cover them.

All take and give uint8 [height, width, 3], eagerly and inside `tf.data`. An output pixel (x, y) takes the value of the
input pixel nearest to where it is mapped, and (128, 128, 128) where that lies outside.

Source: the augmentation code of TPU EfficientNet and MnasNet. It marks what lies outside by a fourth channel; here the
transform itself fills it, which comes to the same.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

_Scalar = tf.Tensor | float
# What x [width], y [height] and neither contribute to a place.
_Place = tuple[tf.Tensor, tf.Tensor, tf.Tensor]

FILL = 128
_ALMOST_HALF = np.nextafter(np.float32(0.5), np.float32(0))  # a half must not be lost in rounding just below it


def shear_x(image: tf.Tensor, level: _Scalar) -> tf.Tensor:
    """(x, y) is taken from (x + level * y, y)."""
    return _transform(image, [1.0, level, 0.0, 0.0, 1.0, 0.0])


def shear_y(image: tf.Tensor, level: _Scalar) -> tf.Tensor:
    """(x, y) is taken from (x, y + level * x)."""
    return _transform(image, [1.0, 0.0, 0.0, level, 1.0, 0.0])


def translate_x(image: tf.Tensor, pixels: _Scalar) -> tf.Tensor:
    """(x, y) is taken from (x + pixels, y)."""
    return _transform(image, [1.0, 0.0, pixels, 0.0, 1.0, 0.0])


def translate_y(image: tf.Tensor, pixels: _Scalar) -> tf.Tensor:
    """(x, y) is taken from (x, y + pixels)."""
    return _transform(image, [1.0, 0.0, 0.0, 0.0, 1.0, pixels])


def rotate(image: tf.Tensor, degrees: _Scalar) -> tf.Tensor:
    """Counterclockwise about the middle of the image.

    (x, y) is taken from (cx + cos a (x - cx) - sin a (y - cy), cy + sin a (x - cx) + cos a (y - cy)), with (cx, cy) =
    ((width - 1) / 2, (height - 1) / 2) and y downwards.
    """
    radians = tf.cast(degrees, tf.float32) * (math.pi / 180.0)
    cosine, sine = tf.cos(radians), tf.sin(radians)
    shape = tf.cast(tf.shape(image), tf.float32)
    bottom, right = shape[0] - 1.0, shape[1] - 1.0
    x_offset = (right - (cosine * right - sine * bottom)) / 2.0
    y_offset = (bottom - (sine * right + cosine * bottom)) / 2.0
    return _transform(image, [cosine, -sine, x_offset, sine, cosine, y_offset])


def cutout(image: tf.Tensor, half_side: _Scalar, seed: tf.Tensor) -> tf.Tensor:
    """Covers a square of `2 * half_side` pixels with (128, 128, 128).

    Its middle is drawn evenly from the whole image, by `seed` (integers [2]); what lies outside is cut off.
    """
    half = tf.cast(half_side, tf.int32)
    sizes, seeds = tf.unstack(tf.shape(image)[:2]), tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    covered = []
    for size, own_seed in zip(sizes, seeds, strict=True):
        centre = tf.random.stateless_uniform([], own_seed, 0, size, tf.int32)
        covered.append(_between(tf.range(size), centre - half, centre + half))
    return _covered(image, *covered)


def _between(positions: tf.Tensor, first: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    return (positions >= first) & (positions < end)


def _transform(image: tf.Tensor, matrix: list[_Scalar]) -> tf.Tensor:
    """(x, y) is taken from (m0 x + m1 y + m2, m3 x + m4 y + m5)."""
    numbers = [tf.cast(number, tf.float32) for number in matrix]
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    y, x = tf.range(height), tf.range(width)
    places = [(m[0] * x, m[1] * y, m[2]) for m in (numbers[:3], numbers[3:])]
    return _taken(image, _nearest(*places))


@tf.function(jit_compile=True, autograph=False)
def _nearest(column: _Place, row: _Place) -> tf.Tensor:
    """The number of the pixel nearest to each place, counted row by row; -1 outside: int32 [height, width]."""
    x, y = (
        tf.cast(tf.clip_by_value(tf.floor(of_x + of_y[:, tf.newaxis] + offset + _ALMOST_HALF), -1.0, 1e6), tf.int32)
        for of_x, of_y, offset in (column, row)
    )
    height, width = tf.size(row[1]), tf.size(column[0])
    return tf.where(_between(y, 0, height) & _between(x, 0, width), y * width + x, -1)


@tf.function(jit_compile=True, autograph=False)
def _taken(image: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """The pixels of some numbers, filled where they are -1."""
    found = tf.gather(tf.reshape(image, [-1, 3]), pixels)
    return tf.where(pixels[..., tf.newaxis] < 0, tf.constant(FILL, tf.uint8), found)


@tf.function(jit_compile=True, autograph=False)
def _covered(image: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """The pixels in some rows and columns (bool [height], [width]) filled."""
    return tf.where(rows[:, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis], tf.constant(FILL, tf.uint8), image)
