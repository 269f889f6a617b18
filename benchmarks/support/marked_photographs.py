"""A class folder of pictures whose label relates two distant parts of them: which of two photographs is marked.

A picture of 64 px shows two photographs of different classes, in frames of different colours, and far from both a disc.
The label is the class of the photograph whose frame has the disc's colour. These are the scenes of the built-in data
(`autonl_tf/data/demo_scene.py`), with photographs in place of textures: squares of 20 px, drawn anew for each picture,
those to train on and those to validate on from splits of their own. The first eight classes are taken.

    python benchmarks/support/marked_photographs.py --photographs=photos --output=marked [--train=12000] [--val=3000]
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from autonl_tf.data.demo_scene import TEXTURES, Scene, SceneSettings, compose, paint
from autonl_tf.data.folder import LabelledFile, list_folder
from autonl_tf.errors import UserError
from autonl_tf.files import directory_in_place

PHOTOGRAPH, FRAME = 20, 3  # sides in pixels
SETTINGS = SceneSettings(patch_size=PHOTOGRAPH + 2 * FRAME, border=2, cue_wander=2)
SOLID = TEXTURES.index("solid")  # what becomes the frame


def square(path: str) -> np.ndarray:
    """A photograph's middle square, uint8 [20, 20, 3]."""
    with Image.open(path) as image:
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        cut = image.convert("RGB").crop((left, top, left + side, top + side))
        return np.asarray(cut.resize((PHOTOGRAPH, PHOTOGRAPH), Image.Resampling.LANCZOS))


def scene_of(rng: np.random.Generator, classes: int, label: int) -> Scene:
    """A scene whose patches stand for photographs of these classes."""
    scene = compose(rng, label, SETTINGS)
    while any(patch.pattern >= classes for patch in scene.patches):
        scene = compose(rng, label, SETTINGS)
    return scene


def picture(rng: np.random.Generator, photographs: list[np.ndarray], label: int) -> np.ndarray:
    """uint8 [64, 64, 3]. `photographs` are those of each class, [N, 20, 20, 3]."""
    scene = scene_of(rng, len(photographs), label)
    frames = tuple(dataclasses.replace(patch, pattern=SOLID) for patch in scene.patches)
    canvas = paint(rng, dataclasses.replace(scene, patches=frames), SETTINGS)
    for patch in scene.patches:
        top, left = (centre - PHOTOGRAPH // 2 for centre in patch.centre)
        own = photographs[patch.pattern]
        canvas[top : top + PHOTOGRAPH, left : left + PHOTOGRAPH] = own[rng.integers(len(own))]
    return canvas


def squares(files: Iterable[LabelledFile], name: str, label: int) -> np.ndarray:
    """The photographs of a class, uint8 [N, 20, 20, 3]. Raises UserError where there are none, or one is damaged."""
    paths = [file.path for file in files if file.label == label]
    if not paths:
        raise UserError(f"class {name!r} has no photographs to validate on")
    found = []
    for path in paths:
        try:
            found.append(square(path))
        except (OSError, SyntaxError) as error:  # SyntaxError: a broken PNG
            raise UserError(f"{path}: cannot be decoded: {error}") from None
    return np.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", required=True, help="class folders, as main.py takes them")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--train", type=int, default=12_000)
    parser.add_argument("--val", type=int, default=3_000)
    options = parser.parse_args()
    if min(options.train, options.val) < 1:
        parser.error("--train and --val: accepted: whole numbers from 1")
    if options.output.exists():
        parser.error(f"--output={options.output}: is there already")
    splits = (("train", "train", options.train), ("val", "validation", options.val))
    try:
        listing = list_folder(options.photographs)
        names = listing.class_names[: len(TEXTURES)]
        with directory_in_place(options.output) as aside:
            for number, (split, kind, count) in enumerate(splits):
                photographs = [squares(listing.splits[kind], name, label) for label, name in enumerate(names)]
                for name in names:
                    (aside / split / name).mkdir(parents=True)
                for index in range(count):
                    label = index % len(names)
                    made = picture(np.random.default_rng([number, index]), photographs, label)
                    path = aside / split / names[label] / f"{index:06}.jpg"
                    Image.fromarray(made).save(path, quality=95, subsampling=0)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
