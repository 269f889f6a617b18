"""AutoAugment (the ImageNet policy) and RandAugment: which operation, when, how strong.

Source: AutoAugment (Cubuk et al., CVPR 2019) and RandAugment (Cubuk et al., 2020) as the TPU EfficientNet and MnasNet
code runs them: policy v0, strengths as levels out of 10, each level turned into the operation's argument, and the sign
of a shear, translation or rotation drawn evenly.

Deviations (those of the operations themselves: see `color`):
1. All randomness follows from one seed, so that a run can be repeated and resumed. The source draws from a generator.
2. Translations and cutouts are in pixels of the network's input, whatever its size, as in the source: level 9 of
   AutoAugment's TranslateY moves 225 pixels, out of a 224 px image. At far smaller sizes RandAugment suits better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from autonl_tf.data.augment import color, geometry

MAX_LEVEL = 10

# (image uint8 [height, width, 3], seed: integers [2]) -> the image changed.
Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class _Pixels(NamedTuple):
    """What a policy counts in pixels: half a cutout's side, and a translation, at level 10."""

    cutout: int
    translation: int


_AUTOAUGMENT_PIXELS = _Pixels(cutout=100, translation=250)
_RANDAUGMENT_PIXELS = _Pixels(cutout=40, translation=100)

# Sub-policies: two operations, each with its probability and level.
AUTOAUGMENT_V0 = (
    (("Equalize", 0.8, 1), ("ShearY", 0.8, 4)),
    (("Color", 0.4, 9), ("Equalize", 0.6, 3)),
    (("Color", 0.4, 1), ("Rotate", 0.6, 8)),
    (("Solarize", 0.8, 3), ("Equalize", 0.4, 7)),
    (("Solarize", 0.4, 2), ("Solarize", 0.6, 2)),
    (("Color", 0.2, 0), ("Equalize", 0.8, 8)),
    (("Equalize", 0.4, 8), ("SolarizeAdd", 0.8, 3)),
    (("ShearX", 0.2, 9), ("Rotate", 0.6, 8)),
    (("Color", 0.6, 1), ("Equalize", 1.0, 2)),
    (("Invert", 0.4, 9), ("Rotate", 0.6, 0)),
    (("Equalize", 1.0, 9), ("ShearY", 0.6, 3)),
    (("Color", 0.4, 7), ("Equalize", 0.6, 0)),
    (("Posterize", 0.4, 6), ("AutoContrast", 0.4, 7)),
    (("Solarize", 0.6, 8), ("Color", 0.6, 9)),
    (("Solarize", 0.2, 4), ("Rotate", 0.8, 9)),
    (("Rotate", 1.0, 7), ("TranslateY", 0.8, 9)),
    (("ShearX", 0.0, 0), ("Solarize", 0.8, 4)),
    (("ShearY", 0.8, 0), ("Color", 0.6, 4)),
    (("Color", 1.0, 0), ("Rotate", 0.6, 2)),
    (("Equalize", 0.8, 4), ("Equalize", 0.0, 8)),
    (("Equalize", 1.0, 4), ("AutoContrast", 0.6, 2)),
    (("ShearY", 0.4, 7), ("SolarizeAdd", 0.6, 7)),
    (("Posterize", 0.8, 2), ("Solarize", 0.6, 10)),
    (("Solarize", 0.6, 8), ("Equalize", 0.6, 1)),
    (("Color", 0.8, 6), ("Rotate", 0.4, 5)),
)

# Every operation as (image, argument, seed) -> image, in the order in which RandAugment draws them.
_OPERATIONS = {
    "AutoContrast": lambda image, argument, seed: color.autocontrast(image),
    "Equalize": lambda image, argument, seed: color.equalize(image),
    "Invert": lambda image, argument, seed: color.invert(image),
    "Rotate": lambda image, argument, seed: geometry.rotate(image, _either_sign(argument, seed)),
    "Posterize": lambda image, argument, seed: color.posterize(image, argument),
    "Solarize": lambda image, argument, seed: color.solarize(image, argument),
    "Color": lambda image, argument, seed: color.color(image, argument),
    "Contrast": lambda image, argument, seed: color.contrast(image, argument),
    "Brightness": lambda image, argument, seed: color.brightness(image, argument),
    "Sharpness": lambda image, argument, seed: color.sharpness(image, argument),
    "ShearX": lambda image, argument, seed: geometry.shear_x(image, _either_sign(argument, seed)),
    "ShearY": lambda image, argument, seed: geometry.shear_y(image, _either_sign(argument, seed)),
    "TranslateX": lambda image, argument, seed: geometry.translate_x(image, _either_sign(argument, seed)),
    "TranslateY": lambda image, argument, seed: geometry.translate_y(image, _either_sign(argument, seed)),
    "Cutout": geometry.cutout,
    "SolarizeAdd": lambda image, argument, seed: color.solarize_add(image, argument),
}
OPERATIONS = tuple(_OPERATIONS)
_UNCHANGED = len(OPERATIONS)
_MOVING = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


def by_name(name: str, layers: int = 2, magnitude: int = 9) -> Augmentation | None:
    """The augmentation called `name`, of `flag_values.AUGMENTATIONS`; None for 'none'. The rest is `randaugment`'s."""
    if name == "none":
        return None
    return autoaugment() if name == "autoaugment" else randaugment(layers, magnitude)


def autoaugment(policy: Sequence = AUTOAUGMENT_V0) -> Augmentation:
    """One sub-policy of `policy`, drawn evenly; then each of its operations in turn with its probability."""
    numbers = tf.constant([[_number(name, level) for name, _, level in row] for row in policy], tf.int32)
    probabilities = tf.constant([[probability for _, probability, _ in row] for row in policy], tf.float32)
    arguments = tf.constant(
        [[argument_of(name, level, _AUTOAUGMENT_PIXELS) for name, _, level in row] for row in policy]
    )

    def augment(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        depth = numbers.shape[1]
        seeds = tf.random.experimental.stateless_split(seed, depth + 2)
        row = tf.random.stateless_uniform([], seeds[0], 0, len(policy), tf.int32)
        draws = tf.random.stateless_uniform([depth], seeds[1])
        # u + p >= 1: always at p = 1, never at p = 0, for u in [0, 1).
        chosen = tf.where(draws + probabilities[row] >= 1.0, numbers[row], _UNCHANGED)
        for index in range(depth):
            image = apply(image, chosen[index], arguments[row, index], seeds[index + 2])
        return image

    return augment


def randaugment(layers: int, magnitude: int) -> Augmentation:
    """`layers` operations in turn, each drawn evenly from all 16, all at level `magnitude` (10 and beyond allowed)."""
    arguments = tf.constant([argument_of(name, magnitude, _RANDAUGMENT_PIXELS) for name in OPERATIONS])

    def augment(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seeds = tf.random.experimental.stateless_split(seed, layers + 1)
        chosen = tf.random.stateless_uniform([layers], seeds[0], 0, len(OPERATIONS), tf.int32)
        for index in range(layers):
            image = apply(image, chosen[index], arguments[chosen[index]], seeds[index + 1])
        return image

    return augment


def apply(image: tf.Tensor, number: tf.Tensor, argument: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Operation `number` of `OPERATIONS` on uint8 [height, width, 3]; one past their end leaves the image as it is."""
    branches = [lambda f=operation: f(image, argument, seed) for operation in _OPERATIONS.values()]
    return tf.switch_case(number, [*branches, lambda: tf.identity(image)])


def argument_of(name: str, level: float, pixels: _Pixels) -> float:
    """What an operation takes at a level; whole numbers are cut off, not rounded. 0 for those that take nothing."""
    share = level / MAX_LEVEL
    if name in ("Color", "Contrast", "Brightness", "Sharpness"):
        return share * 1.8 + 0.1
    return {
        "Rotate": share * 30.0,
        "Posterize": float(int(share * 4)),
        "Solarize": float(int(share * 256)),
        "SolarizeAdd": float(int(share * 110)),
        "ShearX": share * 0.3,
        "ShearY": share * 0.3,
        "TranslateX": share * float(pixels.translation),
        "TranslateY": share * float(pixels.translation),
        "Cutout": float(int(share * pixels.cutout)),
    }.get(name, 0.0)


def _number(name: str, level: float) -> int:
    """That of an operation; of one that moves nothing, that of leaving the image as it is."""
    return _UNCHANGED if level == 0 and name in _MOVING else OPERATIONS.index(name)


def _either_sign(argument: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.random.stateless_uniform([], seed) < 0.5, argument, -argument)
