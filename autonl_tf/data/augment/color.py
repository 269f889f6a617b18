"""Augmentation operations that change colours and leave every pixel in its place.

All take and give uint8 [height, width, 3], eagerly and inside `tf.data`; the second argument is a scalar (a number or a
tensor). Fractions are cut off, not rounded, wherever a result becomes uint8.

XLA compiles what handles every pixel by itself: TensorFlow's own kernels for `tf.where` and `tf.gather` take five times
as long. What is compiled, here and in `geometry`, adds nothing to a product: XLA may round the two once where others
round twice.

Source: the augmentation code of TPU EfficientNet and MnasNet, which follows PIL's `ImageOps` and `ImageEnhance` but for
what `contrast` says.

Deviations:
1. `posterize` to no bits keeps one, and to more than eight keeps all. (TensorFlow clamps a shift of uint8 to 7, so the
   source keeps one bit at 0 as well; its counts beyond 8 become huge unsigned shifts there.)
2. `solarize` with a threshold above 255 changes nothing, as in PIL. (The source hands 256 to a comparison of uint8; by
   the NumPy rules of TensorFlow 1's day that is 0, which inverts the whole image.)
3. `sharpness` divides an exact sum by 13; the source multiplies by a float 1/13 first and may come out one less.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_Scalar = tf.Tensor | float

_VALUES = np.arange(256, dtype=np.int32)[:, np.newaxis]
# What a value of red, green and blue adds to grey, in the steps of `tf.image.rgb_to_grayscale`: float32 [256, 3].
_SHARES = _VALUES.astype(np.float32) * np.float32(1 / 255) * np.array([0.2989, 0.5870, 0.1140], np.float32)
_SMOOTH_CENTRE, _SMOOTH_SUM = 5.0, 13.0  # a 3x3 kernel of ones but for its centre, and what it adds up to


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches each channel so that its darkest value becomes 0 and its brightest 255; constant ones stay."""
    rows = tf.cast(image, tf.float32)  # reduced along one axis after the other, which is faster
    low = tf.reduce_min(tf.reduce_min(rows, axis=0), axis=0)
    high = tf.reduce_max(tf.reduce_max(rows, axis=0), axis=0)
    scale = 255.0 / tf.maximum(high - low, 1.0)
    stretched = tf.cast(_VALUES, tf.float32) * scale + -low * scale
    return _looked_up(image, tf.where(high > low, _to_uint8(stretched), _VALUES.astype(np.uint8)))


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Spreads each channel's values so that their histogram comes out flat.

    With n(v) the number of pixels of value v, and step = (pixels - n(brightest)) // 255, value v becomes
    `min((n(0) + ... + n(v-1) + step // 2) // step, 255)`; a channel whose step is 0 stays.
    """
    places = tf.reshape(_places(image), [-1])
    counts = tf.raw_ops.Bincount(arr=places, size=_VALUES.size * 3, weights=tf.zeros([0], tf.int32))
    counts = tf.reshape(counts, [-1, 3])
    below = tf.cumsum(counts, exclusive=True)
    step = tf.reduce_max(tf.where(counts > 0, below, 0), axis=0) // 255
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    return _looked_up(image, tf.cast(tf.where(step > 0, table, _VALUES), tf.uint8))


def invert(image: tf.Tensor) -> tf.Tensor:
    """255 - v."""
    return 255 - image


def solarize(image: tf.Tensor, threshold: _Scalar) -> tf.Tensor:
    """Inverts the values that are not below `threshold`, 0 to 256."""
    return _solarized(image, tf.cast(threshold, tf.int32))


def solarize_add(image: tf.Tensor, addition: _Scalar) -> tf.Tensor:
    """Adds `addition` (a whole number) to the values below 128, up to 255."""
    return _made_brighter(image, tf.cast(addition, tf.int32))


def posterize(image: tf.Tensor, bits: _Scalar) -> tf.Tensor:
    """Keeps the upper `bits` of the eight of each value."""
    shift = 8 - tf.clip_by_value(tf.cast(bits, tf.int32), 1, 8)
    mask = tf.cast(tf.bitwise.left_shift(tf.bitwise.right_shift(255, shift), shift), tf.uint8)
    return tf.bitwise.bitwise_and(image, mask)


def color(image: tf.Tensor, factor: _Scalar) -> tf.Tensor:
    """From the grey image (0) over the image (1) to stronger colours."""
    return _changed(_grey(image), image, tf.cast(factor, tf.float32) * tf.range(-255.0, 256.0))


def contrast(image: tf.Tensor, factor: _Scalar) -> tf.Tensor:
    """From a grey plane (0) over the image (1) to stronger contrast.

    The plane's value is `height * width / 256`, at most 255 (196 at 224 px): the source sums the histogram of the grey
    image where PIL takes its mean. Kept, since networks have been trained with it.
    """
    shape = tf.shape(image)
    plane = tf.minimum(tf.cast(shape[0] * shape[1], tf.float32) / 256.0, 255.0)
    return _blend(tf.floor(plane), image, factor)


def brightness(image: tf.Tensor, factor: _Scalar) -> tf.Tensor:
    """From black (0) over the image (1) to brighter ones."""
    return _blend(0.0, image, factor)


def sharpness(image: tf.Tensor, factor: _Scalar) -> tf.Tensor:
    """From the image smoothed by 3x3 (0) over the image (1) to sharper ones; the outermost pixels stay."""
    pixels = tf.cast(image, tf.float32)
    rows = pixels[:-2] + pixels[1:-1] + pixels[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + (_SMOOTH_CENTRE - 1.0) * pixels[1:-1, 1:-1]
    smooth = tf.floor(total / _SMOOTH_SUM)
    inner = _blend(smooth, image[1:-1, 1:-1], factor)
    middle = tf.concat([image[1:-1, :1], inner, image[1:-1, -1:]], axis=1)
    return tf.concat([image[:1], middle, image[-1:]], axis=0)


def _blend(start: tf.Tensor | float, image: tf.Tensor, factor: _Scalar) -> tf.Tensor:
    """`start + factor * (image - start)`, kept to 0 .. 255."""
    start = tf.cast(start, tf.float32)
    return _to_uint8(start + tf.cast(factor, tf.float32) * (tf.cast(image, tf.float32) - start))


def _to_uint8(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)


@tf.function(jit_compile=True, autograph=False)
def _solarized(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.cast(image, tf.int32) < threshold, image, 255 - image)


@tf.function(jit_compile=True, autograph=False)
def _made_brighter(image: tf.Tensor, addition: tf.Tensor) -> tf.Tensor:
    brighter = tf.clip_by_value(tf.cast(image, tf.int32) + addition, 0, 255)
    return tf.where(image < 128, tf.cast(brighter, tf.uint8), image)


@tf.function(jit_compile=True, autograph=False)
def _places(image: tf.Tensor) -> tf.Tensor:
    """Where each value of each channel stands in a table [256, 3] that is flat: int32 [height, width, 3]."""
    return 3 * tf.cast(image, tf.int32) + tf.range(3)


@tf.function(jit_compile=True, autograph=False)
def _looked_up(image: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """What the table [256, 3] has for each value of each channel."""
    return tf.gather(tf.reshape(table, [-1]), _places(image))


@tf.function(jit_compile=True, autograph=False)
def _grey(image: tf.Tensor) -> tf.Tensor:
    """As `tf.image.rgb_to_grayscale`, of the type int32."""
    red, green, blue = tf.unstack(_looked_up(image, tf.constant(_SHARES)), axis=-1)
    return tf.cast((red + green + blue) * 255.5, tf.int32)[..., tf.newaxis]


@tf.function(jit_compile=True, autograph=False)
def _changed(start: tf.Tensor, image: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
    """`start` and what a difference of -255 to 255 to it adds (float32 [511])."""
    return _to_uint8(tf.cast(start, tf.float32) + tf.gather(changes, tf.cast(image, tf.int32) - start + 255))
