from __future__ import annotations

import collections
import types

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from autonl_tf.data import demo
from autonl_tf.data.datasets import open_dataset
from autonl_tf.data.demo_scene import (
    COLOURS,
    SCENES,
    SHAPES,
    TEXTURES,
    SceneSettings,
    _shape,
    _texture,
    compose,
    paint,
    usual_colour,
)

FAR, TEXTURE, SHAPED = SCENES["far"], SCENES["texture"], SCENES["shapes"]


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(0, len(TEXTURES) - 1), st.sampled_from([FAR, SHAPED]))
def test_where_parts_are_related_the_label_is_that_of_the_patch_with_the_cues_colour(seed, label, scene_settings):
    scene = compose(np.random.default_rng(seed), label, scene_settings)
    matching = [patch for patch in scene.patches if patch.colour == scene.cue_colour]
    assert [patch.pattern for patch in matching] == [label] == [scene.label]
    assert len({patch.pattern for patch in scene.patches}) == scene_settings.num_patches
    assert len({patch.colour for patch in scene.patches}) == scene_settings.num_patches


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.sampled_from([FAR, TEXTURE, SHAPED]))
def test_patches_lie_far_from_the_cue_apart_and_inside(seed, scene_settings):
    scene = compose(np.random.default_rng(seed), 0, scene_settings)
    half, size = scene_settings.patch_size // 2, scene_settings.image_size
    radius = scene_settings.cue_diameter // 2
    for centre in scene.cue_centre:
        assert scene_settings.border <= centre - radius and centre + radius < size - scene_settings.border + 1
    for i, patch in enumerate(scene.patches):
        assert np.hypot(*np.subtract(patch.centre, scene.cue_centre)) >= scene_settings.min_distance
        for c in patch.centre:
            assert scene_settings.border <= c - half and c + half <= size - scene_settings.border
        for other in scene.patches[:i]:
            assert np.abs(np.subtract(patch.centre, other.centre)).max() > scene_settings.patch_size


def test_far_labels_are_told_in_three_of_four_scenes_without_the_relation():
    """The best guess from the textures present and the cue's colour, which ignores which patch has that colour."""
    scenes = [compose(np.random.default_rng(i), i % 8, FAR) for i in range(4000)]
    right = 0.0
    for scene in scenes:
        likelihood = {
            patch.pattern: (1 - FAR.hinted) * FAR.colour_frequency[scene.cue_colour]
            + FAR.hinted * (scene.cue_colour == usual_colour(patch.pattern))
            for patch in scene.patches
        }
        best = [texture for texture, value in likelihood.items() if value == max(likelihood.values())]
        right += (scene.label in best) / len(best)
    assert 0.70 < right / len(scenes) < 0.78
    # The labelled patch is not told by where it lies either.
    distance = [np.hypot(*np.subtract(p.centre, s.cue_centre)) for s in scenes for p in s.patches]
    labelled = [
        np.hypot(*np.subtract(p.centre, s.cue_centre)) for s in scenes for p in s.patches if p.pattern == s.label
    ]
    assert abs(np.mean(distance) - np.mean(labelled)) < 0.5


def test_texture_scenes_show_one_texture_and_the_label_is_it():
    for i in range(50):
        scene = compose(np.random.default_rng(i), i % 8, TEXTURE)
        assert {patch.pattern for patch in scene.patches} == {i % 8} == {scene.label}


@pytest.mark.parametrize("texture", range(len(TEXTURES)))
def test_a_texture_mirrored_is_the_same_texture(texture):
    variants = {np.roll(_texture(texture, 16, p), s, axis=1).tobytes() for p in range(4) for s in range(16)}
    mirrored = np.ascontiguousarray(_texture(texture, 16, 1)[:, ::-1])
    assert mirrored.tobytes() in variants


def test_textures_differ():
    patterns = {_texture(texture, 16, 0).tobytes() for texture in range(len(TEXTURES))}
    assert len(patterns) == len(TEXTURES)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_has_its_corners_and_fits_its_square_however_it_is_turned(shape):
    for seed in range(20):
        covered = _shape(np.random.default_rng(seed), shape, 65)
        assert covered.min() == 0 and covered[32, 32] == 1
        assert covered[[0, -1]].max() < 1 and covered[:, [0, -1]].max() < 1
    as_it_is = types.SimpleNamespace(uniform=lambda low, high: {0.8: 0.9, 0.9: 1.0, 0: 0.0}[low])
    covered = _shape(as_it_is, shape, 401)
    corners = {"circle": 48, "hexagon": 6, "pentagon": 5, "square": 4, "triangle": 3}.get(shape) or int(shape[-1])
    inner = 0.55 if shape.startswith("star") else np.cos(np.pi / corners)  # of an edge's middle, over a corner's
    assert covered.sum() == pytest.approx(corners * inner * np.sin(np.pi / corners) * 180**2, rel=0.01)
    if shape != "circle":  # halfway between, a circle goes into every corner once
        angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
        radius = 180 * (1 + inner) / 2
        row, column = (np.rint(200 + radius * of(angles)).astype(int) for of in (np.sin, np.cos))
        inside = covered[row, column] > 0.5
        assert (inside & ~np.roll(inside, 1)).sum() == corners


def test_an_image_follows_from_seed_split_and_number_alone():
    image, label = demo.demo_image(FAR, 0, "train", 11)
    assert (image, label) == demo.demo_image(FAR, 0, "train", 11) and label == 11 % 8
    others = [
        demo.demo_image(FAR, 1, "train", 11)[0],
        demo.demo_image(FAR, 0, "validation", 11)[0],
        demo.demo_image(FAR, 0, "train", 19)[0],
        demo.demo_image(TEXTURE, 0, "train", 11)[0],
        demo.demo_image(SHAPED, 0, "train", 11)[0],
    ]
    assert len({image, *others}) == 6
    assert tf.io.is_jpeg(image) and tf.io.decode_jpeg(image).shape == (64, 64, 3)


def test_a_scene_without_room_is_an_error():
    with pytest.raises(ValueError, match="no room"):
        compose(np.random.default_rng(0), 0, SceneSettings(min_distance=90))


def test_paint_puts_the_cue_and_the_patches_where_the_scene_says():
    quiet = SceneSettings(noise=0.0, clutter=0)
    scene = compose(np.random.default_rng(3), 6, quiet)  # 'solid'
    picture = paint(np.random.default_rng(4), scene, quiet).astype(int)
    solid = next(patch for patch in scene.patches if patch.pattern == 6)
    for centre in (scene.cue_centre, solid.centre):
        assert np.abs(picture[centre] - COLOURS[scene.cue_colour]).max() <= 19


@pytest.mark.parametrize(("name", "scene"), [("demo", FAR), ("demo:texture", TEXTURE), ("demo:shapes", SHAPED)])
def test_the_demo_set_opens_and_is_prepared_once(name, scene, demo_dir, monkeypatch):
    monkeypatch.setattr(demo, "_SIZES", {"train": 80, "validation": 24})
    dataset = open_dataset(name, data_dir=demo_dir)
    assert dataset.class_names == scene.class_names and dataset.image_size == 64
    assert (dataset.size("train"), dataset.size("validation")) == (80, 24)
    labels = [int(example["label"]) for example in dataset.examples("train")]
    assert collections.Counter(labels) == dict.fromkeys(range(8), 10)
    made = {demo.demo_image(scene, 0, "train", i) for i in range(80)}
    read = {(e["image"].numpy(), int(e["label"])) for e in dataset.examples("train")}
    assert read == made
    monkeypatch.setattr(demo.AutonlDemo, "_generate_examples", None)  # a second opening makes nothing
    assert open_dataset(name, data_dir=demo_dir).size("validation") == 24
