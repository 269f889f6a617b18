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
3. Photographs are turned as their EXIF orientation says, as viewers show them (`Reading.exif_orientation`).
4. What would be decoded to other pixels than viewers show, or to more than `Reading.max_pixels`, is an error that says
   so (see `headers`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from autonl_tf.arch.spec import Normalization
from autonl_tf.data import headers, other_kinds
from autonl_tf.data.reading import AS_SHOWN, CROP_PADDING, TOO_SMALL, Reading

_ASPECT_RATIOS = (3.0 / 4.0, 4.0 / 3.0)
_MIN_OBJECT_COVERED = 0.1  # of a box that is the whole image, so crops of less than 10% are never taken
_CROP_ATTEMPTS = 10

# A crop: top, left, height, width in pixels, int32 [4].
_ChooseCrop = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# (image uint8 [side, side, 3], seed: integers [2]) -> the image changed.
_Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
_AUGMENT_STREAM = 1  # keeps its random numbers apart from the crop's and the flip's


def decode(image_bytes: tf.Tensor, reading: Reading = AS_SHOWN) -> tf.Tensor:
    """Decodes an encoded image (string scalar) to uint8 [height, width, 3] RGB.

    The bytes tell the kind, see docs/data.md; alpha is dropped. Raises `tf.errors.InvalidArgumentError` on a kind that
    is not read, too many pixels, and damaged data.
    """
    return _cut(image_bytes, lambda height, width: tf.stack([0, 0, height, width]), reading)


def preprocess_for_eval(
    image_bytes: tf.Tensor, image_size: int, crop_padding: int = CROP_PADDING, reading: Reading = AS_SHOWN
) -> tf.Tensor:
    """Centre crop and resize: string scalar -> float32 [image_size, image_size, 3], about [0, 255].

    The crop is a square of `int(image_size / (image_size + crop_padding) * min(height, width))` pixels, computed in
    float32, at offset `(side - crop + 1) // 2`. The release's 32 suits 224 px; small images lose much by it.
    """
    return _crop_and_resize(image_bytes, _centre_crop(image_size, crop_padding), image_size, reading)


def preprocess_for_train(
    image_bytes: tf.Tensor,
    image_size: int,
    seed: tf.Tensor,
    min_crop_area: float = 0.08,
    crop_padding: int = CROP_PADDING,
    augment: _Augment | None = None,
    reading: Reading = AS_SHOWN,
) -> tf.Tensor:
    """Random crop, resize, random horizontal flip: string scalar -> float32 [image_size, image_size, 3].

    The crop has an area of `min_crop_area` to 1 of the image's and an aspect ratio of 3/4 to 4/3; where ten
    attempts find none, or the crop is the whole image, the centre crop of the evaluation is taken. `augment` then
    gets the image kept to 0 .. 255 and cut off to uint8, as in the source, and gives one such. All that is random
    follows from `seed` (integers [2]) alone, the crop and the flip whether there is an `augment` or not.
    """
    crop_seed, flip_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    choose_crop = random_crop(crop_seed, image_size, min_crop_area, crop_padding)
    image = _crop_and_resize(image_bytes, choose_crop, image_size, reading)
    if augment is not None:
        image = _to_uint8(image)
    flip = tf.random.stateless_uniform([], flip_seed) < 0.5
    image = tf.cond(flip, lambda: tf.reverse(image, axis=[1]), lambda: image)
    if augment is None:
        return image
    return tf.cast(augment(image, tf.random.experimental.stateless_fold_in(seed, _AUGMENT_STREAM)), tf.float32)


@tf.function(jit_compile=True, autograph=False)
def _to_uint8(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(image, 0.0, 255.0), tf.uint8)


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


def normalizer(places: tuple[int, ...], normalization: Normalization) -> Callable[[tf.Tensor], tf.Tensor]:
    """`normalize` for images [..., *places, 3], the same bits faster.

    Broadcasting is slow, in TensorFlow as on a phone, most of all along three channels: `places` is (width,) where the
    constants must be small, (height, width) where they need not.
    """
    mean, deviation = (
        tf.constant(np.tile(np.array(values, np.float32), [*places, 1]))
        for values in (normalization.mean, normalization.stddev)
    )
    return lambda images: (images - mean) / deviation


def _centre_crop(image_size: int, crop_padding: int) -> _ChooseCrop:
    def choose(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        ratio = tf.constant(image_size / (image_size + crop_padding), tf.float32)
        crop = tf.cast(ratio * tf.cast(tf.minimum(height, width), tf.float32), tf.int32)
        crop = checked(crop, crop >= 1, f"{TOO_SMALL}: height, width", height, width)
        return tf.stack([(height - crop + 1) // 2, (width - crop + 1) // 2, crop, crop])

    return choose


def _crop_and_resize(image_bytes: tf.Tensor, choose_crop: _ChooseCrop, image_size: int, reading: Reading) -> tf.Tensor:
    image = _cut(image_bytes, choose_crop, reading)
    resized = tf.raw_ops.ResizeBicubic(
        images=image[tf.newaxis], size=[image_size, image_size], align_corners=False, half_pixel_centers=False
    )
    return tf.ensure_shape(resized[0], [image_size, image_size, 3])


def _cut(image_bytes: tf.Tensor, choose_crop: _ChooseCrop, reading: Reading) -> tf.Tensor:
    """The crop that is chosen of an image as it is shown: string scalar -> uint8 [height, width, 3]."""
    if not reading.with_pillow:
        image_bytes = _decodable_in_graph(image_bytes, reading)
    orientation = _orientation(image_bytes) if reading.exif_orientation else tf.constant(1)

    def of_jpeg() -> tf.Tensor:
        data, height, width = jpeg(image_bytes, reading)
        return tf.image.decode_and_crop_jpeg(data, choose_crop(height, width), channels=3)

    def of_other() -> tf.Tensor:
        image = _decoder(reading)(image_bytes, orientation)
        height, width, _ = tf.unstack(tf.shape(image), 3)
        top, left, height, width = tf.unstack(choose_crop(height, width), 4)
        return image[top : top + height, left : left + width]

    is_upright_jpeg = headers.is_jpeg(image_bytes) & (orientation == 1)
    return tf.ensure_shape(tf.cond(is_upright_jpeg, of_jpeg, of_other), [None, None, 3])


# What few images need is traced once, not in every pipeline.
_IMAGE_BYTES = tf.TensorSpec([], tf.string)
_orientation = tf.function(headers.orientation, input_signature=[_IMAGE_BYTES], autograph=False)


@functools.lru_cache
def _decoder(reading: Reading) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """(encoded image, its orientation) -> the whole image as it is shown, uint8 [height, width, 3]."""

    @tf.function(input_signature=[_IMAGE_BYTES, tf.TensorSpec([], tf.int32)], autograph=False)
    def decode_whole(image_bytes: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
        is_jpeg = headers.is_jpeg(image_bytes)
        image = tf.cond(
            is_jpeg,
            lambda: tf.io.decode_jpeg(jpeg(image_bytes, reading)[0], channels=3),
            lambda: _of_other(image_bytes, reading),
        )
        image = tf.cond(orientation >= 5, lambda: _exchanged(image), lambda: image)
        reversed_axes = [tf.reduce_any(orientation == those) for those in ([3, 4, 7, 8], [2, 3, 6, 7])]
        return tf.reverse(image, tf.boolean_mask([0, 1], tf.stack(reversed_axes)))

    return decode_whole


def _exchanged(image: tf.Tensor) -> tf.Tensor:
    """Rows for columns: uint8 [H, W, 3] to [W, H, 3]. No tf.transpose: of integers, oneDNN says on standard error that
    it has none for most processors."""
    height, width, _ = tf.unstack(tf.shape(image), 3)
    indices = tf.range(width)[:, tf.newaxis] + width * tf.range(height)
    return tf.gather(tf.reshape(image, [-1, 3]), indices)


def _decodable_in_graph(image_bytes: tf.Tensor, reading: Reading) -> tf.Tensor:
    """What TensorFlow's decoders turn into what viewers show; an error that says why in other cases."""
    refusal, height, width = headers.header(image_bytes)
    height = checked(height, refusal == "", refusal, f"accepted: {reading.accepted}")
    return headers.plain(_of_few_pixels(image_bytes, height, width, reading))


def _of_few_pixels(image_bytes: tf.Tensor, height: tf.Tensor, width: tf.Tensor, reading: Reading) -> tf.Tensor:
    """The same bytes; fails, saying `reading.too_large`, where the image has more pixels."""
    few = tf.cast(height, tf.int64) * tf.cast(width, tf.int64) <= reading.max_pixels
    return checked(image_bytes, few, f"{reading.too_large}: height, width", height, width)


def after(check: tf.Operation, value: tf.Tensor) -> tf.Tensor:
    """The same value, once a check has passed."""
    with tf.control_dependencies([check]):
        return tf.identity(value)


def checked(value: tf.Tensor, condition: tf.Tensor, *told: tf.Tensor | str) -> tf.Tensor:
    """The same value; fails, saying what is `told`, unless the condition holds. As with `tf.debugging.Assert`, whose
    branches take longer to trace than all else here."""
    return after(tf.raw_ops.Assert(condition=condition, data=[tf.convert_to_tensor(part) for part in told]), value)


def jpeg(image_bytes: tf.Tensor, reading: Reading) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What the decoder is to get of a JPEG, its height and its width."""
    height, width, channels = tf.unstack(tf.image.extract_jpeg_shape(image_bytes), 3)
    image_bytes = _of_few_pixels(image_bytes, height, width, reading)
    data = tf.cond(channels == 4, lambda: headers.with_inks_inverted(image_bytes), lambda: image_bytes)
    return data, height, width


def _of_other(image_bytes: tf.Tensor, reading: Reading) -> tf.Tensor:
    def of_png() -> tf.Tensor:
        few = _of_few_pixels(image_bytes, *headers.size_of_png(image_bytes), reading)
        return tf.io.decode_png(few, channels=3)

    def of_rest() -> tf.Tensor:
        refusal, height, width = headers.of_webp(image_bytes)

        def of_webp() -> tf.Tensor:
            few = _of_few_pixels(image_bytes, height, width, reading)
            image = tf.io.decode_image(few, channels=0, expand_animations=False)
            return image[..., :3]  # where there is alpha, the decoder gives it or nothing

        return tf.cond(headers.is_webp(image_bytes) & (refusal == ""), of_webp, of_gif_or_bmp)

    def of_gif_or_bmp() -> tf.Tensor:
        bitmap = other_kinds.as_bmp(image_bytes, reading) if reading.with_pillow else image_bytes
        return tf.io.decode_image(bitmap, channels=3, expand_animations=False)

    return tf.cond(headers.is_png(image_bytes), of_png, of_rest)
