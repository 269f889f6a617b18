"""The pictures of the built-in data set: patches and a coloured cue on a cluttered background.

In a scene of kind `far` a disc (the cue) near one corner has one of four colours, and two patches of different
colours and textures lie far from it; the label is the texture of the patch whose colour is the cue's. Knowing
which textures are there, and the cue's colour, without relating the two, is enough for about three in four:
half of the scenes take the cue's colour from the label, and colours are not equally frequent. Those hints make
a network notice colours at all; the last quarter needs two distant parts to be related. In a scene of kind
`texture` all patches have one texture, which is the label, and the cue means nothing. A scene of kind `shapes`
is as of kind `far`, with shapes of one colour, turned, scaled and stretched, in place of textured squares: they
are harder to tell, so that accuracy rises with the size of the network too. Every texture and shape is its own
mirror image (up to a shift or a turn), so that a horizontal flip keeps the label.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

IMAGE_SIZE = 64  # the side of the built-in set's images
TEXTURES = ("checkerboard", "cross", "dots", "grid", "horizontal", "rings", "solid", "vertical")
SHAPES = ("circle", "hexagon", "pentagon", "square", "star4", "star5", "star6", "triangle")
COLOURS = ((225, 50, 45), (45, 195, 75), (65, 95, 235), (235, 205, 40))  # red, green, blue, yellow

_ATTEMPTS = 200
_FAINT = 0.25  # brightness of a patch's colour between the strokes of its texture
_CORNERS = {"circle": 48, "hexagon": 6, "pentagon": 5, "square": 4, "star4": 4, "star5": 5, "star6": 6, "triangle": 3}
_STAR = 0.55  # how far a star reaches between two of its points, over how far it reaches there


@dataclass(frozen=True)
class SceneSettings:
    """What a scene looks like; lengths in pixels, brightness on the scale of 0 to 255."""

    kind: str = "far"  # or 'texture', 'shapes'
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

    @property
    def class_names(self) -> tuple[str, ...]:
        return SHAPES if self.kind == "shapes" else TEXTURES


# The scenes of the built-in set, by its configurations' names.
SCENES = {
    "far": SceneSettings(),
    "texture": SceneSettings(kind="texture"),
    "shapes": SceneSettings(kind="shapes", patch_size=22),
}


@dataclass(frozen=True)
class Patch:
    """A textured square or a shape; centre (row, column), indices into COLOURS and the class names."""

    centre: tuple[int, int]
    colour: int
    pattern: int


@dataclass(frozen=True)
class Scene:
    label: int
    cue_centre: tuple[int, int]
    cue_colour: int
    patches: tuple[Patch, ...]


def usual_colour(label: int) -> int:
    """The cue's colour in hinted scenes: two classes share one."""
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
    if settings.kind != "texture":
        if rng.random() < settings.hinted:
            cue_colour = usual_colour(label)
        other_colours = rng.permutation([c for c in range(len(COLOURS)) if c != cue_colour])
        colours = [cue_colour, *other_colours][: settings.num_patches]
        others = rng.permutation([p for p in range(len(settings.class_names)) if p != label])
        patterns = [label, *others][: settings.num_patches]
    else:
        colours = rng.permutation(len(COLOURS))[: settings.num_patches]
        patterns = [label] * settings.num_patches
    rows = zip(centres, colours, patterns, strict=True)
    patches = tuple(Patch(centre, int(colour), int(pattern)) for centre, colour, pattern in rows)
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
        square = canvas[top : top + settings.patch_size, left : left + settings.patch_size]
        if settings.kind == "shapes":
            inside = _shape(rng, SHAPES[patch.pattern], settings.patch_size)[..., None]
            square[...] = (1 - inside) * square + inside * _shade(rng, patch.colour)
        else:
            strokes = _texture(patch.pattern, settings.patch_size, int(rng.integers(4)))
            brightness = np.where(strokes, 1.0, _FAINT).astype(np.float32)[..., None]
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


def _shape(rng: np.random.Generator, shape: str, size: int) -> np.ndarray:
    """How much of each pixel a shape covers, from 0 to 1, [size, size]: turned at random, its corners on a
    circle of 0.8 to 0.9 of the square's width, 0.9 to 1.11 times as long in a random direction as across it."""
    half = (size - 1) / 2
    radius, turn, stretch = half * rng.uniform(0.8, 0.9), rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 1.11) ** 0.5
    direction = rng.uniform(0, np.pi)
    y, x = np.meshgrid(np.arange(size) - half, np.arange(size) - half, indexing="ij")
    along = (np.cos(direction) * x + np.sin(direction) * y) * stretch
    across = (np.cos(direction) * y - np.sin(direction) * x) / stretch
    sector = np.pi / _CORNERS[shape]  # from a corner to the middle between two
    inner = _STAR if shape.startswith("star") else np.cos(sector)  # the edge's radius there, where a corner's is 1
    from_corner = np.abs((np.arctan2(across, along) + turn) % (2 * sector) - sector)
    # The straight line from (inner, 0) to (1, sector) in polar coordinates.
    edge = inner * np.sin(sector) / (inner * np.sin(from_corner) + np.sin(sector - from_corner))
    return np.clip(edge * radius - np.hypot(along, across) + 0.5, 0, 1)
