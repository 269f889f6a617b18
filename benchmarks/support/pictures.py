"""A made-up class folder."""

from __future__ import annotations

import pathlib

import numpy as np
from PIL import Image


def class_folder(root: pathlib.Path, counts: dict[str, int], classes: str, size: tuple[int, int]) -> pathlib.Path:
    """`root`/SPLIT/CLASS/N.jpg: `counts[SPLIT]` smooth random pictures, dealt to `classes` in turn, each of its own
    brightness; `size` is width and height. Gives `root`."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for name in classes:
            (root / split / name).mkdir(parents=True)
        for number in range(count):
            label = number % len(classes)
            pixels = rng.integers(0, 128, [8, 10, 3]) + 128 * label // len(classes)
            picture = Image.fromarray(pixels.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
            picture.save(root / split / classes[label] / f"{number}.jpg", quality=95)
    return root
