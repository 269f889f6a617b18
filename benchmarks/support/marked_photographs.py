"""A class folder of pictures whose label relates two distant parts of them: which of two photographs is marked.

A picture of 64 px shows two photographs of different classes, in frames of different colours, and far from both a disc.
The label is the class of the photograph whose frame has the disc's colour. These are the scenes of the built-in data
(`autonl_tf/data/demo_scene.py`), with photographs in place of textures: squares of 20 px, drawn anew for each picture,
those to train on from `train/` alone, those to validate on from `val/` or `test/`. The first eight classes are taken.

    python benchmarks/support/marked_photographs.py --photographs=photos --output=marked [--train=12000] [--val=3000]
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

import numpy as np
from PIL import Image

from autonl_tf.data.demo_scene import TEXTURES, Scene, SceneSettings, compose, paint

PHOTOGRAPH, FRAME = 20, 3  # sides in pixels
SETTINGS = SceneSettings(patch_size=PHOTOGRAPH + 2 * FRAME, border=2, cue_wander=2)
SOLID = TEXTURES.index("solid")  # what becomes the frame


def square(path: pathlib.Path) -> np.ndarray:
    """A photograph's middle square, uint8 [20, 20, 3]."""
    with Image.open(path) as image:
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        cut = image.convert("RGB").crop((left, top, left + side, top + side))
        return np.asarray(cut.resize((PHOTOGRAPH, PHOTOGRAPH), Image.Resampling.LANCZOS))


def scene_of(rng: np.random.Generator, classes: int, label: int) -> Scene:
    """A scene whose patches stand for photographs of these classes."""
    scene = compose(rng, label, SETTINGS)
    while any(patch.texture >= classes for patch in scene.patches):
        scene = compose(rng, label, SETTINGS)
    return scene


def picture(rng: np.random.Generator, photographs: list[np.ndarray], label: int) -> np.ndarray:
    """uint8 [64, 64, 3]. `photographs` are those of each class, [N, 20, 20, 3]."""
    scene = scene_of(rng, len(photographs), label)
    frames = tuple(dataclasses.replace(patch, texture=SOLID) for patch in scene.patches)
    canvas = paint(rng, dataclasses.replace(scene, patches=frames), SETTINGS)
    for patch in scene.patches:
        top, left = (centre - PHOTOGRAPH // 2 for centre in patch.centre)
        own = photographs[patch.texture]
        canvas[top : top + PHOTOGRAPH, left : left + PHOTOGRAPH] = own[rng.integers(len(own))]
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=pathlib.Path, required=True, help="class folders in train/ and val/")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--train", type=int, default=12_000)
    parser.add_argument("--val", type=int, default=3_000)
    options = parser.parse_args()
    if options.output.exists():
        parser.error(f"--output={options.output}: is there already")
    held_out = "val" if (options.photographs / "val").is_dir() else "test"
    splits = (("train", "train", options.train), ("val", held_out, options.val))
    for number, (split, source, count) in enumerate(splits):
        folders = sorted(path for path in (options.photographs / source).iterdir() if path.is_dir())[: len(TEXTURES)]
        photographs = [np.stack([square(path) for path in sorted(folder.iterdir())]) for folder in folders]
        for folder in folders:
            (options.output / split / folder.name).mkdir(parents=True)
        for index in range(count):
            label = index % len(folders)
            made = picture(np.random.default_rng([number, index]), photographs, label)
            path = options.output / split / folders[label].name / f"{index:06}.jpg"
            Image.fromarray(made).save(path, quality=95, subsampling=0)


if __name__ == "__main__":
    main()
