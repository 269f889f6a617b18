"""The pictures of the built-in data set: textured patches and a coloured cue on a cluttered background.

In a scene of kind `far` a disc (the cue) near one corner has one of four colours, and two patches of different
colours and textures lie far from it; the label is the texture of the patch whose colour is the cue's. Knowing
which textures are there, and the cue's colour, without relating the two, is enough for about three in four:
half of the scenes take the cue's colour from the label, and colours are not equally frequent. Those hints make
a network notice colours at all; the last quarter needs two distant parts to be related. In a scene of kind
`texture` all patches have one texture, which is the label, and the cue means nothing. Every texture is its own
mirror image (up to a shift), so that a horizontal flip keeps the label.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

IMAGE_SIZE = 64  # the side of the built-in set's images
TEXTURES = ("checkerboard", "cross", "dots", "grid", "horizontal", "rings", "solid", "vertical")
COLOURS = ((225, 50, 45), (45, 195, 75), (65, 95, 235), (235, 205, 40))  # red, green, blue, yellow

_ATTEMPTS = 200
_FAINT = 0.25  # brightness of a patch's colour between the strokes of its texture


@dataclass(frozen=True)
class SceneSettings:
    """What a scene looks like; lengths in pixels, brightness on the scale of 0 to 255."""

    kind: str = "far"  # or 'texture'
    image_size: int = IMAGE_SIZE
    cue_diameter: int = 12
    patch_size: int = 16
    num_patches: int = 2  # at most as many as there are colours
    hinted: float = 0.5  # share of `far` scenes whose cue has the colour that goes with the label
    colour_frequency: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)  # of the cue's colour in the others
    min_distance: float = 28.0  # from the cue's centre to a patch's
    border: int = 5  # free of cue and patches, so that a crop rarely cuts them
    cue_wander: int = 4  # how far the cue may lie from its corner's innermost position
    clutter: int = 6  # grey bars
    noise: float = 6.0  # standard deviation of each pixel's noise


@dataclass(frozen=True)
class Patch:
    """A textured square; centre (row, column), indices into COLOURS and TEXTURES."""

    centre: tuple[int, int]
    colour: int
    texture: int


@dataclass(frozen=True)
class Scene:
    """What is in a picture."""

    label: int
    cue_centre: tuple[int, int]
    cue_colour: int
    patches: tuple[Patch, ...]


def usual_colour(label: int) -> int:
    """The cue's colour in hinted scenes: two textures share one."""
    return label * len(COLOURS) // len(TEXTURES)


def compose(rng: np.random.Generator, label: int, settings: SceneSettings) -> Scene:
    """Draws the positions, colours and textures of a scene with a given label."""
    for _ in range(_ATTEMPTS):
        cue_centre = _cue_centre(rng, settings)
        centres = _patch_centres(rng, cue_centre, settings)
        if centres is not None:
            break
    else:
        raise ValueError(f"no room for the patches of {settings}")
    # The first position is drawn with the most room: it must not always be the labelled patch's.
    centres = [centres[i] for i in rng.permutation(len(centres))]
    cue_colour = int(rng.choice(len(COLOURS), p=settings.colour_frequency))
    if settings.kind == "far":
        if rng.random() < settings.hinted:
            cue_colour = usual_colour(label)
        other_colours = rng.permutation([c for c in range(len(COLOURS)) if c != cue_colour])
        colours = [cue_colour, *other_colours][: settings.num_patches]
        others = rng.permutation([t for t in range(len(TEXTURES)) if t != label])
        textures = [label, *others][: settings.num_patches]
    else:
        colours = rng.permutation(len(COLOURS))[: settings.num_patches]
        textures = [label] * settings.num_patches
    rows = zip(centres, colours, textures, strict=True)
    patches = tuple(Patch(centre, int(colour), int(texture)) for centre, colour, texture in rows)
    return Scene(label, cue_centre, cue_colour, patches)


def paint(rng: np.random.Generator, scene: Scene, settings: SceneSettings) -> np.ndarray:
    """The picture of a scene, uint8 [image_size, image_size, 3]."""
    canvas = _background(rng, settings)
    grid = np.arange(settings.image_size)
    rows, columns = grid[:, None] - scene.cue_centre[0], grid[None, :] - scene.cue_centre[1]
    disc = rows**2 + columns**2 <= (settings.cue_diameter / 2) ** 2
    canvas[disc] = _shade(rng, scene.cue_colour)
    for patch in scene.patches:
        top, left = (c - settings.patch_size // 2 for c in patch.centre)
        strokes = _texture(patch.texture, settings.patch_size, int(rng.integers(4)))
        brightness = np.where(strokes, 1.0, _FAINT).astype(np.float32)[..., None]
        square = canvas[top : top + settings.patch_size, left : left + settings.patch_size]
        square[...] = brightness * _shade(rng, patch.colour)
    canvas += settings.noise * rng.standard_normal(canvas.shape, dtype=np.float32)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _cue_centre(rng: np.random.Generator, settings: SceneSettings) -> tuple[int, int]:
    margin = settings.border + settings.cue_diameter // 2
    offsets = margin + rng.integers(settings.cue_wander + 1, size=2)
    far_side = rng.integers(2, size=2)
    row, column = np.where(far_side, settings.image_size - 1 - offsets, offsets)
    return int(row), int(column)


def _patch_centres(
    rng: np.random.Generator, cue: tuple[int, int], settings: SceneSettings
) -> list[tuple[int, int]] | None:
    """Centres of the patches, apart from the cue and each other; None where no space is left for one."""
    half = settings.patch_size // 2
    span = np.arange(settings.border + half, settings.image_size - settings.border - half + 1)
    rows, columns = (axis.ravel() for axis in np.meshgrid(span, span, indexing="ij"))
    free = (rows - cue[0]) ** 2 + (columns - cue[1]) ** 2 >= settings.min_distance**2
    centres = []
    for _ in range(settings.num_patches):
        positions = np.flatnonzero(free)
        if not positions.size:
            return None
        position = positions[rng.integers(positions.size)]
        centres.append((int(rows[position]), int(columns[position])))
        apart = np.maximum(np.abs(rows - rows[position]), np.abs(columns - columns[position]))
        free &= apart >= settings.patch_size + 1
    return centres


def _background(rng: np.random.Generator, settings: SceneSettings) -> np.ndarray:
    size = settings.image_size
    coarse = rng.uniform(50, 190, size=(8, 8, 1)) + rng.uniform(-20, 20, size=(8, 8, 3))
    weights = _interpolation(size)
    canvas = np.einsum("ri,ijc,sj->rsc", weights, coarse, weights, optimize=True).astype(np.float32)
    for _ in range(settings.clutter):
        height, width = rng.integers(2, 8, size=2)
        top, left = rng.integers(0, size - 8, size=2)
        canvas[top : top + height, left : left + width] = rng.integers(30, 220)
    return canvas


@functools.lru_cache(maxsize=4)
def _interpolation(size: int) -> np.ndarray:
    """Linear interpolation from 8 points to `size`, [size, 8]."""
    position = np.linspace(0, 7, size)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(8)[None, :]))


def _shade(rng: np.random.Generator, colour: int) -> np.ndarray:
    return np.asarray(COLOURS[colour], np.float32) + rng.uniform(-18, 18, size=3).astype(np.float32)


@functools.lru_cache(maxsize=256)
def _texture(texture: int, size: int, phase: int) -> np.ndarray:
    """Where a texture has strokes, bool [size, size]; `phase` 0..3 shifts the periodic ones."""
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    middle = (size - 1) / 2
    shapes = {
        "checkerboard": lambda: ((y + phase) // 4 + (x + phase) // 4) % 2 == 0,
        "cross": lambda: (np.abs(y - x) <= 2) | (np.abs(y + x - (size - 1)) <= 2),
        "dots": lambda: ((y + phase) % 8 - 3.5) ** 2 + ((x + phase) % 8 - 3.5) ** 2 <= 7,
        "grid": lambda: ((y + phase) % 5 == 0) | ((x + phase) % 5 == 0),
        "horizontal": lambda: (y + phase) % 4 < 2,
        "rings": lambda: np.hypot(y - middle, x - middle).astype(int) // 2 % 2 == phase % 2,
        "solid": lambda: np.ones((size, size), bool),
        "vertical": lambda: (x + phase) % 4 < 2,
    }
    return shapes[TEXTURES[texture]]()
