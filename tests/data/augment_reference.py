"""The augmentation operations once more, in NumPy, written from their definitions: what the tests compare with."""

from __future__ import annotations

import numpy as np

FILL = 128


def autocontrast(image):
    out = image.copy()
    for c in range(3):
        low, high = int(image[..., c].min()), int(image[..., c].max())
        if high > low:
            scale = np.float32(255) / np.float32(high - low)
            stretched = image[..., c].astype(np.float32) * scale + np.float32(-low) * scale
            out[..., c] = np.clip(stretched, 0, 255).astype(np.uint8)
    return out


def equalize(image):
    out = image.copy()
    for c in range(3):
        counts = [int((image[..., c] == v).sum()) for v in range(256)]
        filled = [n for n in counts if n]
        step = (sum(filled) - filled[-1]) // 255
        if step:
            table, below = [], step // 2
            for count in counts:
                table.append(min(below // step, 255))
                below += count
            out[..., c] = np.array(table, np.uint8)[image[..., c]]
    return out


def solarize(image, threshold):
    return np.where(image.astype(int) < threshold, image, 255 - image)


def solarize_add(image, addition):
    return np.where(image < 128, np.clip(image.astype(int) + addition, 0, 255), image).astype(np.uint8)


def posterize(image, bits):
    keep = 2 ** (8 - min(max(bits, 1), 8))
    return (image // keep * keep).astype(np.uint8)


def blend(start, image, factor):
    """(darker, lighter): the same but where the exact value is so close to a whole number that float32 may miss it.

    In factors of 0 and 1 nothing is rounded.
    """
    exact = start + factor * (image.astype(float) - start)
    errors = (0, 0) if factor in (0, 1) else (-1e-4, 1e-4)
    return tuple(np.clip(np.trunc(exact + error), 0, 255).astype(np.uint8) for error in errors)


def grey(image):
    """The grey plane [height, width, 1]: both neighbours where float32 may fall on either."""
    exact = 255.5 * (image.astype(float) / 255) @ np.array([0.2989, 0.5870, 0.1140])
    return [np.trunc(exact + error)[..., np.newaxis] for error in (-1e-3, 1e-3)]


def smooth(image):
    """The inner pixels smoothed: integers, without their fraction."""
    wide = image.astype(int)
    height, width = image.shape[:2]
    total = 4 * wide[1:-1, 1:-1]
    for y in range(3):
        for x in range(3):
            total = total + wide[y : height - 2 + y, x : width - 2 + x]
    return total // 13


def transform(image, matrix):
    """Nearest neighbour of the mapped places, and where rounding in float32 may choose another."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(float)
    from_x = matrix[0] * x + matrix[1] * y + matrix[2]
    from_y = matrix[3] * x + matrix[4] * y + matrix[5]
    column, row = (np.where(v >= 0, np.floor(v + 0.5), np.ceil(v - 0.5)).astype(int) for v in (from_x, from_y))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    out = np.full_like(image, FILL)
    out[inside] = image[row[inside], column[inside]]
    unsure = np.zeros_like(inside)
    for v in (from_x, from_y):
        unsure |= np.abs(v - np.floor(v) - 0.5) < 1e-3
    return out, unsure


def rotation(degrees, height, width):
    a = np.deg2rad(degrees)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    c, s = np.cos(a), np.sin(a)
    return [c, -s, cx - c * cx + s * cy, s, c, cy - s * cx - c * cy]
