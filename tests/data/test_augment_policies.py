from __future__ import annotations

import collections

import numpy as np
import pytest
import tensorflow as tf

from autonl_tf.data.augment import color, geometry, policies

IMAGE = np.random.default_rng(0).integers(0, 256, [24, 24, 3]).astype(np.uint8)
NAMED = {
    "AutoContrast": color.autocontrast,
    "Equalize": color.equalize,
    "Invert": color.invert,
    "Posterize": color.posterize,
    "Solarize": color.solarize,
    "SolarizeAdd": color.solarize_add,
    "Color": color.color,
    "Contrast": color.contrast,
    "Brightness": color.brightness,
    "Sharpness": color.sharpness,
    "Rotate": geometry.rotate,
    "ShearX": geometry.shear_x,
    "ShearY": geometry.shear_y,
    "TranslateX": geometry.translate_x,
    "TranslateY": geometry.translate_y,
}
SIGNED = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")
WITHOUT_ARGUMENT = ("AutoContrast", "Equalize", "Invert")


def possible(image: np.ndarray, name: str, argument: float) -> list[np.ndarray]:
    """What an operation may give: one image, or one for each sign."""
    operation = NAMED[name]
    if name in WITHOUT_ARGUMENT:
        return [np.asarray(operation(image))]
    signs = (1, -1) if name in SIGNED else (1,)
    return [operation(image, np.float32(sign * argument)).numpy() for sign in signs]


def outcomes(row, pixels) -> dict[bytes, float]:
    """Every image that a sub-policy may give, with its probability."""
    found = {IMAGE.tobytes(): 1.0}
    for name, probability, level in row:
        after: dict[bytes, float] = collections.defaultdict(float)
        for data, share in found.items():
            after[data] += share * (1 - probability)
            changed = possible(np.frombuffer(data, np.uint8).reshape(IMAGE.shape), name, argument(name, level, pixels))
            for image in changed:
                after[image.tobytes()] += share * probability / len(changed)
        found = {data: share for data, share in after.items() if share > 1e-9}
    return found


def argument(name, level, pixels):
    return policies.argument_of(name, level, pixels)


def eagerly(augment, count: int, seed: int = 5) -> list[bytes]:
    return [augment(tf.constant(IMAGE), tf.constant([seed, i])).numpy().tobytes() for i in range(count)]


def augmented(augment, count: int, seed: int = 5) -> list[bytes]:
    seeds = tf.stack([tf.fill([count], seed), tf.range(count)], axis=1)
    images = tf.data.Dataset.from_tensor_slices(seeds).map(lambda s: augment(tf.constant(IMAGE), s))
    return [image.tobytes() for image in images.as_numpy_iterator()]


@pytest.mark.parametrize("number", range(25))
def test_each_sub_policy_gives_what_its_operations_and_probabilities_say(number):
    row = policies.AUTOAUGMENT_V0[number]
    expected = outcomes(row, policies._AUTOAUGMENT_PIXELS)
    count = 60
    found = collections.Counter(eagerly(policies.autoaugment([row]), count))
    assert set(found) <= set(expected)
    for data, share in expected.items():
        spread = (count * share * (1 - share)) ** 0.5
        assert abs(found[data] - count * share) <= 4.5 * spread + 1e-6


def test_there_are_25_sub_policies_of_two_operations_at_levels_0_to_10():
    assert len(policies.AUTOAUGMENT_V0) == 25
    for row in policies.AUTOAUGMENT_V0:
        assert len(row) == 2
        for name, probability, level in row:
            assert name in policies.OPERATIONS and 0 <= probability <= 1 and level in range(11)
    assert len(policies.OPERATIONS) == 16


@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [
        ("Rotate", 7, 21),
        ("ShearX", 9, 0.27),
        ("TranslateY", 9, 225),
        ("Color", 0, 0.1),
        ("Color", 10, 1.9),
        ("Sharpness", 5, 1.0),
        ("Solarize", 3, 76),
        ("Solarize", 10, 256),
        ("SolarizeAdd", 7, 77),
        ("Posterize", 6, 2),
        ("Posterize", 2, 0),
        ("Cutout", 4, 40),
        ("Equalize", 8, 0),
    ],
)
def test_levels_are_tenths_of_the_strongest(name, level, expected):
    assert argument(name, level, policies._AUTOAUGMENT_PIXELS) == pytest.approx(expected, abs=1e-9)


def test_randaugment_measures_pixels_in_smaller_steps():
    pixels = policies._RANDAUGMENT_PIXELS
    assert (argument("TranslateX", 10, pixels), argument("Cutout", 10, pixels)) == (100, 40)
    assert argument("Solarize", 28, pixels) == 716


def test_autoaugment_draws_all_its_sub_policies():
    marked = [[("SolarizeAdd", 1.0, level), ("Equalize", 0.0, 0)] for level in range(1, 11)]
    dark = np.zeros_like(IMAGE)
    augment = policies.autoaugment(marked)
    drawn = collections.Counter(int(augment(dark, tf.constant([1, i])).numpy()[0, 0, 0]) for i in range(200))
    assert set(drawn) == {11 * level for level in range(1, 11)} and max(drawn.values()) < 45


def test_one_layer_of_randaugment_is_one_of_the_sixteen_operations():
    pixels = policies._RANDAUGMENT_PIXELS
    expected = {}
    for name in NAMED:
        for image in possible(IMAGE, name, argument(name, 1, pixels)):
            expected[image.tobytes()] = name
    found = augmented(policies.randaugment(1, 1), 160)
    names = collections.Counter(expected.get(data, "Cutout") for data in found)
    assert set(names) == {*NAMED, "Cutout"} and max(names.values()) < 30
    for data in found:
        if data not in expected:
            image = np.frombuffer(data, np.uint8).reshape(IMAGE.shape)
            assert ((image == IMAGE) | (image == 128)).all()


def test_layers_follow_each_other_and_strong_magnitudes_work():
    twice = augmented(policies.randaugment(2, 9), 40)
    once = set(augmented(policies.randaugment(1, 9), 160))
    assert sum(data in once for data in twice) < 20
    assert len(augmented(policies.randaugment(3, 30), 20)) == 20


@pytest.mark.parametrize("name", ["autoaugment", "randaugment"])
def test_the_seed_decides_eagerly_and_inside_tf_data(name):
    augment = policies.by_name(name)
    tf.random.set_seed(3)
    mapped = augmented(augment, 12)
    tf.random.set_seed(4)
    assert mapped == eagerly(augment, 12) and len(set(mapped)) > 6
    assert augmented(augment, 12, seed=6) != mapped


def test_none_is_no_augmentation():
    assert policies.by_name("none") is None
