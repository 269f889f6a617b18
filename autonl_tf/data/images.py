"""Decoding, cropping and resizing of one image, and normalisation.

Every function takes and gives tensors and runs eagerly, inside `tf.data` and inside a saved graph.

Source: the input pipeline of the published evaluation (TensorFlow release) and of the training recipe it
inherits (TPU MnasNet). Both resize with TensorFlow 1's bicubic kernel (Keys a = -0.75, corners not
aligned, pixel centres at integers), which `tf.image.resize` no longer offers, and keep its overshoot beyond
[0, 255]. A JPEG is decoded inside its crop only; that is part of the definition, for libjpeg upsamples chroma
a little differently at the border of a crop than in the middle of an image.

A centre crop of no pixel is an error, as in the source: see `least_side`.

Deviations:
1. Images that are not JPEG (PNG, GIF, BMP, WebP, whatever the file is called) are decoded whole, then cut.
2. Where a training crop is the whole image, the source compares the channels too and so misses grayscale and CMYK
   files, which it then squeezes to a square; here they get the centre crop like all others.
An orientation in a file's EXIF data is not applied, as in the source.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from autonl_tf.arch.spec import Normalization

CROP_PADDING = 32  # the evaluation crop leaves this many pixels, at the network's scale, outside
_ASPECT_RATIOS = (3.0 / 4.0, 4.0 / 3.0)
_MIN_OBJECT_COVERED = 0.1  # of a box that is the whole image, so crops of less than 10% are never taken
_CROP_ATTEMPTS = 10

# A crop: top, left, height, width in pixels, int32 [4].
_ChooseCrop = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# (image uint8 [side, side, 3], seed: integers [2]) -> the image changed.
_Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
_AUGMENT_STREAM = 1  # keeps its random numbers apart from the crop's and the flip's


def decode(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes an encoded image (string scalar) to uint8 [height, width, 3] RGB.

    The format is told by the bytes: JPEG (grayscale and CMYK too), PNG (alpha dropped, 16 bits reduced to 8),
    GIF (first frame), BMP, WebP. Raises `tf.errors.InvalidArgumentError` on anything else and on truncated
    data.
    """
    image = tf.io.decode_image(image_bytes, channels=3, dtype=tf.uint8, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


def preprocess_for_eval(image_bytes: tf.Tensor, image_size: int, crop_padding: int = CROP_PADDING) -> tf.Tensor:
    """Centre crop and resize: string scalar -> float32 [image_size, image_size, 3], about [0, 255].

    The crop is a square of `int(image_size / (image_size + crop_padding) * min(height, width))` pixels, computed in
    float32, at offset `(side - crop + 1) // 2`. The release's 32 suits 224 px; small images lose much by it.
    """
    return _crop_and_resize(image_bytes, _centre_crop(image_size, crop_padding), image_size)


def preprocess_for_train(
    image_bytes: tf.Tensor,
    image_size: int,
    seed: tf.Tensor,
    min_crop_area: float = 0.08,
    crop_padding: int = CROP_PADDING,
    augment: _Augment | None = None,
) -> tf.Tensor:
    """Random crop, resize, random horizontal flip: string scalar -> float32 [image_size, image_size, 3].

    The crop has an area of `min_crop_area` to 1 of the image's and an aspect ratio of 3/4 to 4/3; where ten
    attempts find none, or the crop is the whole image, the centre crop of the evaluation is taken. `augment` then
    gets the image kept to 0 .. 255 and cut off to uint8, as in the source, and gives one such. All that is random
    follows from `seed` (integers [2]) alone, the crop and the flip whether there is an `augment` or not.
    """
    crop_seed, flip_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    image = _crop_and_resize(image_bytes, random_crop(crop_seed, image_size, min_crop_area, crop_padding), image_size)
    flip = tf.random.stateless_uniform([], flip_seed) < 0.5
    image = tf.cond(flip, lambda: tf.reverse(image, axis=[1]), lambda: image)
    if augment is None:
        return image
    pixels = tf.cast(tf.clip_by_value(image, 0.0, 255.0), tf.uint8)
    return tf.cast(augment(pixels, tf.random.experimental.stateless_fold_in(seed, _AUGMENT_STREAM)), tf.float32)


def random_crop(seed: tf.Tensor, image_size: int, min_crop_area: float, crop_padding: int) -> _ChooseCrop:
    """The training crop of `seed`: (height, width) -> int32 [top, left, height, width]."""

    def choose(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.stack([height, width, 3]),
            bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
            seed=seed,
            min_object_covered=_MIN_OBJECT_COVERED,
            aspect_ratio_range=_ASPECT_RATIOS,
            area_range=(min_crop_area, 1.0),
            max_attempts=_CROP_ATTEMPTS,
        )
        box = tf.concat([begin[:2], size[:2]], axis=0)
        whole = tf.reduce_all(size[:2] == tf.stack([height, width]))
        return tf.where(whole, _centre_crop(image_size, crop_padding)(height, width), box)

    return choose


def least_side(image_size: int, crop_padding: int = CROP_PADDING) -> int:
    """The length in pixels of the shortest side that leaves the centre crop one pixel: 2 for the release's sizes."""
    ratio, side = np.float32(image_size / (image_size + crop_padding)), 1
    while int(ratio * np.float32(side)) < 1:
        side += 1
    return side


def normalize(images: tf.Tensor, normalization: Normalization) -> tf.Tensor:
    """`(images - mean) / stddev` on the last axis, of float32 [..., 3] in the scale of 0 to 255."""
    return (images - tf.constant(normalization.mean, tf.float32)) / tf.constant(normalization.stddev, tf.float32)


def displayable(images: np.ndarray, normalization: Normalization) -> np.ndarray:
    """What `normalize` was given, as a picture: normalised images [..., 3] back to shares of 255, cut to 0 .. 1."""
    return np.clip((images * normalization.stddev + normalization.mean) / 255, 0, 1)


def normalizer(image_size: int, normalization: Normalization) -> Callable[[tf.Tensor], tf.Tensor]:
    """`normalize` for images [..., image_size, image_size, 3], the same bits faster.

    Broadcasting along an axis of three is slow, in TensorFlow as on a phone: here the mean and the deviation have the
    shape of a row of pixels.
    """
    mean, deviation = (
        tf.constant(np.tile(np.array(values, np.float32), [image_size, 1]))
        for values in (normalization.mean, normalization.stddev)
    )
    return lambda images: (images - mean) / deviation


def _centre_crop(image_size: int, crop_padding: int) -> _ChooseCrop:
    def choose(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        ratio = tf.constant(image_size / (image_size + crop_padding), tf.float32)
        crop = tf.cast(ratio * tf.cast(tf.minimum(height, width), tf.float32), tf.int32)
        return tf.stack([(height - crop + 1) // 2, (width - crop + 1) // 2, crop, crop])

    return choose


def _crop_and_resize(image_bytes: tf.Tensor, choose_crop: _ChooseCrop, image_size: int) -> tf.Tensor:
    def from_jpeg() -> tf.Tensor:
        shape = tf.image.extract_jpeg_shape(image_bytes)
        return tf.image.decode_and_crop_jpeg(image_bytes, choose_crop(shape[0], shape[1]), channels=3)

    def from_other() -> tf.Tensor:
        image = decode(image_bytes)
        shape = tf.shape(image)
        top, left, height, width = tf.unstack(choose_crop(shape[0], shape[1]))
        return image[top : top + height, left : left + width]

    image = tf.cond(tf.io.is_jpeg(image_bytes), from_jpeg, from_other)
    resized = tf.raw_ops.ResizeBicubic(
        images=image[tf.newaxis], size=[image_size, image_size], align_corners=False, half_pixel_centers=False
    )
    return tf.ensure_shape(resized[0], [image_size, image_size, 3])
