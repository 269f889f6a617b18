from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from autonl_tf.arch.spec import Normalization
from autonl_tf.data import images

GOLDEN = ["landscape", "portrait", "square", "small", "thin", "odd"]


@pytest.mark.parametrize("size", [224, 160])
@pytest.mark.parametrize("name", GOLDEN)
def test_evaluation_preprocessing_is_bit_equal_to_the_release(preprocess_dir, name, size):
    expected = np.load(preprocess_dir / "eval.npz")[f"{name}_{size}"]
    data = (preprocess_dir / f"{name}.jpg").read_bytes()
    eager = images.preprocess_for_eval(tf.constant(data), size).numpy()
    assert eager.shape == (size, size, 3) and eager.dtype == np.float32
    np.testing.assert_array_equal(eager[::5, ::5], expected)
    mapped = tf.data.Dataset.from_tensors(data).map(lambda b: images.preprocess_for_eval(b, size))
    np.testing.assert_array_equal(mapped.get_single_element().numpy(), eager)


def test_preprocessing_works_inside_a_saved_model(tmp_path, preprocess_dir):
    class Serving(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, data):
            spec = tf.TensorSpec([32, 32, 3], tf.float32)
            return tf.map_fn(lambda b: images.preprocess_for_eval(b, 32), data, fn_output_signature=spec)

    tf.saved_model.save(Serving(), str(tmp_path))
    data = tf.constant([(preprocess_dir / f"{name}.jpg").read_bytes() for name in ("small", "odd")])
    served = tf.saved_model.load(str(tmp_path))(data)
    for i in range(2):
        np.testing.assert_array_equal(served[i], images.preprocess_for_eval(data[i], 32))


@pytest.mark.parametrize(
    ("file_format", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("PNG", "RGB", {}),
        ("PNG", "L", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "I;16", {}),
        ("GIF", "RGB", {}),
        ("BMP", "RGB", {}),
    ],
)
def test_every_format_gives_the_same_picture_in_three_channels(encode, file_format, mode, options):
    data = tf.constant(encode(5, 48, 80, file_format, mode, **options))
    decoded = images.decode(data).numpy()
    assert decoded.shape == (48, 80, 3) and decoded.dtype == np.uint8
    reference = images.decode(tf.constant(encode(5, 48, 80, "PNG", "RGB"))).numpy().astype(float)
    if mode in ("L", "I;16"):
        reference = np.repeat((reference @ [0.299, 0.587, 0.114])[..., None], 3, axis=-1)
    assert np.abs(decoded - reference).mean() < 8
    for make in (
        lambda b: images.preprocess_for_eval(b, 32),
        lambda b: images.preprocess_for_train(b, 32, tf.constant([1, 2])),
    ):
        image = make(data).numpy()
        assert image.shape == (32, 32, 3) and np.isfinite(image).all()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 9), (3, 2)])
def test_images_that_leave_a_crop_of_one_pixel_work(encode, height, width, file_format):
    assert images.least_side(224) == 2  # int(0.875 * 2) = 1
    data = tf.constant(encode(1, height, width, file_format))
    image = images.preprocess_for_eval(data, 224).numpy()
    assert np.ptp(image, axis=(0, 1)).max() < 1e-3  # one colour all over
    for seed in range(5):
        assert images.preprocess_for_train(data, 224, tf.constant([seed, 0])).shape == (224, 224, 3)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize(("size", "padding"), [(224, 32), (24, 32), (32, 0), (64, 300), (8, 4096)])
def test_the_least_side_is_the_shortest_that_works(encode, size, padding, file_format):
    least = images.least_side(size, padding)
    assert images.preprocess_for_eval(tf.constant(encode(1, least, least + 3, file_format)), size, padding) is not None
    if least == 1:
        assert padding == 0
    else:
        short = tf.constant(encode(1, least - 1, least + 3, file_format))
        with pytest.raises(tf.errors.InvalidArgumentError):
            images.preprocess_for_eval(short, size, padding)


@pytest.mark.parametrize("data", [b"", b"<html></html>", b"\xff\xd8\xff\xe0 no more"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        images.decode(tf.constant(data))
    with pytest.raises(tf.errors.InvalidArgumentError):
        images.preprocess_for_eval(tf.constant(data), 32)


@pytest.mark.parametrize(("size", "side", "crop"), [(35, 201, 105), (35, 335, 175), (224, 375, 328)])
def test_the_crop_size_is_computed_in_float32(size, side, crop):
    # In float64 the first two come out one less, 104 and 174.
    offset = (side - crop + 1) // 2
    found = images._centre_crop(size, 32)(tf.constant(side), tf.constant(side + 10))
    assert found.numpy().tolist() == [offset, (side + 10 - crop + 1) // 2, crop, crop]


def test_normalize_subtracts_the_mean_and_divides_by_the_deviation():
    pixels = np.array([[Normalization().mean, [255.0, 255.0, 255.0]]], np.float32)
    out = images.normalize(tf.constant(pixels), Normalization()).numpy()
    np.testing.assert_allclose(out[0, 0], 0, atol=1e-6)
    np.testing.assert_allclose(out[0, 1], [2.2489083, 2.4285715, 2.64], rtol=1e-6)


@pytest.mark.parametrize("places", [(24,), (24, 24)])
def test_normalizing_one_image_gives_the_same_bits(places):
    image = tf.constant(np.random.default_rng(0).uniform(-20, 280, [24, 24, 3]).astype(np.float32))
    np.testing.assert_array_equal(
        images.normalizer(places, Normalization())(image), images.normalize(image, Normalization())
    )


def test_an_augmentation_gets_the_cropped_and_flipped_image_as_uint8(encode):
    data, seed = tf.constant(encode(4, 60, 90)), tf.constant([3, 4])
    plain = images.preprocess_for_train(data, 32, seed).numpy()
    seeds = []

    def invert(image, seed):
        assert image.dtype == tf.uint8 and image.shape == (32, 32, 3)
        seeds.append(tuple(seed.numpy()))
        return 255 - image

    changed = images.preprocess_for_train(data, 32, seed, augment=invert).numpy()
    np.testing.assert_array_equal(changed, 255 - np.trunc(np.clip(plain, 0, 255)))
    images.preprocess_for_train(data, 32, tf.constant([3, 5]), augment=invert)
    assert len(set(seeds)) == 2


def _ramp_jpeg() -> bytes:
    """A picture whose red grows with the column and green with the row, so that a crop can be read off it."""
    columns, rows = np.meshgrid(np.arange(200), np.arange(160))
    picture = np.stack([columns, rows, np.full_like(rows, 128)], axis=-1).astype(np.uint8)
    return tf.io.encode_png(picture).numpy()


RAMP = _ramp_jpeg()


def _crop_read_off(image: np.ndarray) -> tuple[float, float, bool]:
    """Height and width of the crop in pixels, from the slopes of the ramps; whether it was flipped."""
    size = image.shape[0]
    middle = image[size // 4 : -size // 4, size // 4 : -size // 4]
    by_column = np.diff(middle[..., 0], axis=1).mean()
    by_row = np.diff(middle[..., 1], axis=0).mean()
    return by_row * size, abs(by_column) * size, by_column < 0


@settings(max_examples=25)
@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.sampled_from([0.08, 0.5, 0.8]))
def test_crops_keep_to_area_and_aspect_and_follow_the_seed(a, b, min_area):
    seed = tf.constant([a, b])
    image = images.preprocess_for_train(tf.constant(RAMP), 64, seed, min_area).numpy()
    again = images.preprocess_for_train(tf.constant(RAMP), 64, seed, min_area).numpy()
    np.testing.assert_array_equal(image, again)
    height, width, _ = _crop_read_off(image)
    area = height * width / (200 * 160)
    assert max(min_area, 0.1) * 0.93 <= area <= 1.03
    centre = 160 * 64 / 96  # the fallback's side, where ten attempts found no crop
    fallback = abs(height - centre) < 3 and abs(width - centre) < 3
    assert fallback or 0.72 <= width / height <= 1.37


def test_crops_and_flips_vary_with_the_seed():
    crops = [
        _crop_read_off(images.preprocess_for_train(tf.constant(RAMP), 64, tf.constant([7, i])).numpy())
        for i in range(80)
    ]
    assert 20 <= sum(flipped for _, _, flipped in crops) <= 60
    areas = np.array([height * width / (200 * 160) for height, width, _ in crops])
    assert areas.min() < 0.25 and areas.max() > 0.8


def test_a_crop_of_the_whole_image_falls_back_to_the_centre_crop(encode):
    # No crop of aspect 3/4 to 4/3 covers 99% of a strip.
    strip = tf.constant(encode(3, 20, 200, "PNG"))
    expected = images.preprocess_for_eval(strip, 32).numpy()
    found = [images.preprocess_for_train(strip, 32, tf.constant([0, i]), 0.99).numpy() for i in range(8)]
    for image in found:
        assert np.array_equal(image, expected) or np.array_equal(image, expected[:, ::-1])
    assert len({image.tobytes() for image in found}) == 2


def test_without_padding_evaluation_takes_the_whole_shorter_side():
    picture = np.random.default_rng(0).integers(0, 256, [48, 65, 3]).astype(np.uint8)
    got = images.preprocess_for_eval(tf.io.encode_png(picture), 48, crop_padding=0)
    np.testing.assert_array_equal(got, picture[:, 9:57])
