"""Augmentation operations that move pixels, or cover them.

All take and give uint8 [height, width, 3], eagerly and inside `tf.data`. An output pixel (x, y) takes the value of the
input pixel nearest to where it is mapped, and (128, 128, 128) where that lies outside.

Source: the augmentation code of TPU EfficientNet and MnasNet. It marks what lies outside by a fourth channel; here the
transform itself fills it, which comes to the same.
"""

from __future__ import annotations

import math

import tensorflow as tf

_Scalar = tf.Tensor | float

FILL = 128


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
    shape = tf.shape(image)
    row_seed, column_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    covered = [
        _between(tf.range(size), centre - half, centre + half)
        for size, centre in (
            (shape[0], tf.random.stateless_uniform([], row_seed, 0, shape[0], tf.int32)),
            (shape[1], tf.random.stateless_uniform([], column_seed, 0, shape[1], tf.int32)),
        )
    ]
    square = covered[0][:, tf.newaxis, tf.newaxis] & covered[1][:, tf.newaxis]
    return tf.where(square, tf.constant(FILL, tf.uint8), image)


def _between(positions: tf.Tensor, first: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    return (positions >= first) & (positions < end)


def _transform(image: tf.Tensor, matrix: list[_Scalar]) -> tf.Tensor:
    """(x, y) is taken from (m0 x + m1 y + m2, m3 x + m4 y + m5)."""
    numbers = [tf.cast(number, tf.float32) for number in (*matrix, 0.0, 0.0)]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=tf.stack(numbers)[tf.newaxis],
        output_shape=tf.shape(image)[:2],
        fill_value=float(FILL),
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(moved[0], image.shape)
