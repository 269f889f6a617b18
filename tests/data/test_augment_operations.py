"""Every augmentation operation against NumPy, and PIL where the two mean the same, eagerly and inside tf.data."""

from __future__ import annotations

import augment_reference as reference
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from autonl_tf.data.augment import color, geometry


def picture(seed: int, height: int = 37, width: int = 52) -> np.ndarray:
    """Smooth colours with noise, one channel narrow, so that histograms are uneven."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, [5, 6, 3]).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR), int)
    noisy = np.clip(smooth + rng.integers(-20, 21, smooth.shape), 0, 255)
    noisy[..., seed % 3] = 90 + noisy[..., seed % 3] // 4
    return noisy.astype(np.uint8)


PICTURES = {
    "noisy": picture(1),
    "wide": picture(2, 20, 90),
    "constant": np.full([9, 8, 3], 77, np.uint8),
    "black and white": np.array([[[0, 0, 0], [255, 255, 255]]] * 3, np.uint8),
    "all values": np.stack([np.arange(256).reshape(16, 16)] * 3, axis=-1).astype(np.uint8),
}
EVERY_PICTURE = pytest.mark.parametrize("image", PICTURES.values(), ids=PICTURES.keys())


def both_ways(operation, image, *arguments) -> np.ndarray:
    """The result, once it has been seen to be the same eagerly and inside tf.data."""
    eager = operation(tf.constant(image), *arguments).numpy()
    mapped = tf.data.Dataset.from_tensors((image, *arguments)).map(operation).get_single_element().numpy()
    np.testing.assert_array_equal(mapped, eager)
    assert eager.dtype == np.uint8 and eager.shape == image.shape
    return eager


def between(found, darker, lighter):
    assert ((found == darker) | (found == lighter)).all()


@EVERY_PICTURE
@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_stretching_operations_equal_the_reference(image, name):
    found = both_ways(getattr(color, name), image)
    np.testing.assert_array_equal(found, getattr(reference, name)(image))


@EVERY_PICTURE
def test_what_pil_has_too_comes_out_the_same(image):
    pil = Image.fromarray(image)
    for found, expected in (
        (color.equalize(image), ImageOps.equalize(pil)),
        (color.invert(image), ImageOps.invert(pil)),
        (color.solarize(image, 100), ImageOps.solarize(pil, 100)),
        (color.posterize(image, 3), ImageOps.posterize(pil, 3)),
    ):
        np.testing.assert_array_equal(found, np.asarray(expected))
    # PIL computes the same stretch in other steps: a value may fall on the other side of a whole number.
    difference = color.autocontrast(image).numpy().astype(int) - np.asarray(ImageOps.autocontrast(pil), int)
    assert np.abs(difference).max() <= 1


@EVERY_PICTURE
def test_invert_equals_the_reference(image):
    np.testing.assert_array_equal(both_ways(color.invert, image), 255 - image)


@EVERY_PICTURE
@pytest.mark.parametrize("threshold", [0, 1, 76, 128, 204, 255, 256, 700])
def test_solarize_equals_the_reference(image, threshold):
    np.testing.assert_array_equal(both_ways(color.solarize, image, threshold), reference.solarize(image, threshold))


@EVERY_PICTURE
@pytest.mark.parametrize("addition", [0, 33, 77, 110, 308])
def test_solarize_add_equals_the_reference(image, addition):
    found = both_ways(color.solarize_add, image, addition)
    np.testing.assert_array_equal(found, reference.solarize_add(image, addition))


@EVERY_PICTURE
@pytest.mark.parametrize("bits", [0, 1, 2, 4, 8, 12])
def test_posterize_equals_the_reference(image, bits):
    np.testing.assert_array_equal(both_ways(color.posterize, image, bits), reference.posterize(image, bits))


FACTORS = pytest.mark.parametrize("factor", [0.0, 0.1, 0.82, 1.0, 1.18, 1.9, 5.5])


@EVERY_PICTURE
@FACTORS
def test_brightness_and_contrast_equal_the_reference(image, factor):
    between(both_ways(color.brightness, image, factor), *reference.blend(0, image, factor))
    plane = min(image.shape[0] * image.shape[1] // 256, 255)
    between(both_ways(color.contrast, image, factor), *reference.blend(plane, image, factor))


@EVERY_PICTURE
@FACTORS
def test_color_equals_the_reference(image, factor):
    found = both_ways(color.color, image, factor).astype(int)
    (a, b), (c, d) = (reference.blend(grey, image, factor) for grey in reference.grey(image))
    assert ((found == a) | (found == b) | (found == c) | (found == d)).all()


@EVERY_PICTURE
@FACTORS
def test_sharpness_equals_the_reference_and_keeps_the_border(image, factor):
    found = both_ways(color.sharpness, image, factor)
    between(found[1:-1, 1:-1], *reference.blend(reference.smooth(image), image[1:-1, 1:-1], factor))
    border = np.ones(image.shape[:2], bool)
    border[1:-1, 1:-1] = False
    np.testing.assert_array_equal(found[border], image[border])


def test_a_factor_of_one_changes_nothing():
    image = PICTURES["noisy"]
    for operation in (color.brightness, color.contrast, color.color, color.sharpness):
        np.testing.assert_array_equal(operation(image, 1.0), image)


def test_contrast_blends_with_196_at_224_pixels():
    flat = color.contrast(np.random.default_rng(0).integers(0, 256, [224, 224, 3]).astype(np.uint8), 0.0)
    assert set(np.unique(flat)) == {196}


@EVERY_PICTURE
@pytest.mark.parametrize("amount", [-0.3, -0.12, 0.0, 0.09, 0.27])
def test_shears_equal_the_reference(image, amount):
    for operation, matrix in (
        (geometry.shear_x, [1, amount, 0, 0, 1, 0]),
        (geometry.shear_y, [1, 0, 0, amount, 1, 0]),
    ):
        expected, unsure = reference.transform(image, matrix)
        found = both_ways(operation, image, np.float32(amount))
        np.testing.assert_array_equal(found[~unsure], expected[~unsure])
        assert unsure.mean() < 0.3


@EVERY_PICTURE
@pytest.mark.parametrize("pixels", [-225.0, -3.0, 0.0, 1.0, 7.0])
def test_translations_move_by_whole_pixels_and_fill_with_128(image, pixels):
    height, width = image.shape[:2]
    by = int(pixels)
    padded = np.pad(image, [(300, 300), (300, 300), (0, 0)], constant_values=128)
    found = both_ways(geometry.translate_x, image, pixels)
    np.testing.assert_array_equal(found, padded[300 : 300 + height, 300 + by : 300 + by + width])
    found = both_ways(geometry.translate_y, image, pixels)
    np.testing.assert_array_equal(found, padded[300 + by : 300 + by + height, 300 : 300 + width])


@EVERY_PICTURE
@pytest.mark.parametrize("degrees", [-30.0, -6.0, 0.0, 15.0, 24.0])
def test_rotations_equal_the_reference(image, degrees):
    expected, unsure = reference.transform(image, reference.rotation(degrees, *image.shape[:2]))
    found = both_ways(geometry.rotate, image, degrees)
    np.testing.assert_array_equal(found[~unsure], expected[~unsure])
    assert unsure.mean() < 0.02 or image.size < 1000


SIDE = 24
IMAGES = st.integers(0, 2**31 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(0, 256, [SIDE, SIDE, 3], np.uint8)
)
A_FLOAT = st.floats(-1, 1, width=32)


@settings(max_examples=60)
@given(IMAGES, st.lists(A_FLOAT | st.sampled_from([-0.5, 0.5]), min_size=6, max_size=6), st.sampled_from([1, SIDE]))
def test_pixels_are_taken_as_the_kernel_of_tensorflow_takes_them_to_the_bit(image, matrix, scale):
    matrix[2], matrix[5] = scale * matrix[2], scale * matrix[5]
    expected = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[np.newaxis],
        transforms=tf.constant([[*matrix, 0.0, 0.0]]),
        output_shape=[SIDE, SIDE],
        fill_value=128.0,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )
    np.testing.assert_array_equal(geometry._transform(image, matrix), expected[0])


@settings(max_examples=60)
@given(IMAGES, st.floats(-2, 6, width=32))
def test_colours_change_as_by_the_kernels_of_tensorflow_to_the_bit(image, factor):
    grey = tf.cast(tf.image.rgb_to_grayscale(image), tf.float32)
    blended = grey + factor * (tf.cast(image, tf.float32) - grey)
    expected = tf.cast(tf.clip_by_value(blended, 0.0, 255.0), tf.uint8)
    np.testing.assert_array_equal(color.color(image, factor), expected)


def test_a_quarter_turn_is_counterclockwise():
    square = picture(3, 21, 21)
    np.testing.assert_array_equal(geometry.rotate(square, 90.0), np.rot90(square))


@settings(max_examples=20)
@given(st.integers(0, 2**31 - 1), st.integers(0, 40))
def test_cutout_covers_one_square_cut_off_at_the_border(seed, half):
    image = PICTURES["wide"].copy()
    image[image == 128] = 127
    found = geometry.cutout(tf.constant(image), half, tf.constant([seed, 1])).numpy()
    covered = (found == 128).all(axis=-1)
    np.testing.assert_array_equal(found[~covered], image[~covered])
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    assert covered.sum() == len(rows) * len(columns) and (half == 0) == (not covered.any())
    for places, size in ((rows, 20), (columns, 90)):
        assert len(places) <= 2 * half
        if half and len(places) < 2 * half:
            assert places[0] == 0 or places[-1] == size - 1


def test_cutouts_fall_everywhere():
    image = tf.zeros([10, 10, 3], tf.uint8)
    covered = sum(geometry.cutout(image, 1, tf.constant([0, i])).numpy()[..., 0] > 0 for i in range(300))
    assert covered[1:-1, 1:-1].min() > 0
    mapped = tf.data.Dataset.from_tensors((image, 3, [0, 7])).map(geometry.cutout).get_single_element()
    np.testing.assert_array_equal(mapped, geometry.cutout(image, 3, tf.constant([0, 7])))
