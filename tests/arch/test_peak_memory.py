"""What a step is reckoned to hold: closed forms of tiny networks, and how it goes with (micro-)batch and size."""

import pytest

from autonl_tf.arch import parts, peak_memory, presets
from autonl_tf.arch.blockstring import parse

SIZES = {"image_size": 32, "num_classes": 10}


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        # Behind the stem (32 channels at 16 x 16): depthwise, norm, swish, projection, the block's output.
        ("r1_k3_s11_e1_i32_o16_noskip", 256 * (3 * 32 + 2 * 16)),
        # Expanded at 16 x 16, the rest at 8 x 8, and what squeeze-excite gives.
        ("r1_k3_s22_e2_i32_o16_se0.25", 256 * 3 * 64 + 64 * (4 * 64 + 2 * 16)),
        # LightNL: x, theta of 4 channels, x at stride 2, y, its depthwise convolution; at 64 positions.
        ("r1_k3_s22_e1_i32_o16_nonlocal0.25-2", 64 * (3 * 32 + 2 * 16) + 64 * (3 * 16 + 4) + 64 * 16 // 4),
    ],
)
def test_what_a_block_keeps_is_what_its_gradients_read(line, kept):
    stages = peak_memory.kept_maps(parse(line), 32, searched=False)
    maps = [size for maps in stages for size in maps]
    side = 8 if "s22" in line else 16
    assert sum(maps) == 3 * 32**2 + 3 * 256 * 32 + kept + 2 * side**2 * 1280


def test_a_peak_goes_with_the_batch_and_against_the_micro_batches():
    spec = presets.load("autonl_s")
    one, many, cut = (
        peak_memory.peak(spec, mode="train", batch=batch, micro_batches=cuts, **SIZES)
        for batch, cuts in ((1, 1), (64, 1), (64, 8))
    )
    assert many.activations == pytest.approx(64 * one.activations)
    assert cut.activations == pytest.approx(8 * one.activations * peak_memory.MICRO_BATCHED)
    assert cut.variables == pytest.approx(one.variables * 6 / 5)  # the gradients are added up
    assert cut.images == many.images == 64 * one.images
    assert many.device > cut.device
    half = peak_memory.peak(spec, mode="train", batch=64, compute_bytes=2, **SIZES)
    assert half.activations == many.activations / 2 and half.variables == many.variables
    evaluated = peak_memory.peak(spec, mode="train", batch=1, eval_batch=4096, **SIZES)
    assert evaluated.activations > 100 * one.activations


def test_a_searched_space_takes_more_than_its_largest_member():
    spec = presets.load("autonl_s")
    searched, trained = (peak_memory.peak(spec, mode=mode, batch=16, **SIZES) for mode in ("search", "train"))
    assert searched.activations > trained.activations


def test_held_out_images_take_nearly_as_much_again():
    spec = presets.load("autonl_s")
    plain, split = (peak_memory.peak(spec, mode="search", batch=16, held_out=held, **SIZES) for held in (False, True))
    assert split.activations == pytest.approx(1.8 * plain.activations) and split.images == 2 * plain.images


def test_what_is_frozen_from_the_front_keeps_no_maps():
    spec = presets.load("efficientnet_lite0")
    blocks = len(spec.singles())
    takes = {
        freeze: peak_memory.peak(
            spec, mode="train", batch=64, frozen=parts.frozen_from_the_front(freeze, blocks), **SIZES
        ).activations
        for freeze in ("block1-3", "stem", "stem,block0-3", "stem,blocks", "backbone")
    }
    whole = peak_memory.peak(spec, mode="train", batch=64, **SIZES).activations
    assert takes["block1-3"] == whole  # the stem's gradient goes through them
    assert whole > takes["stem"] > takes["stem,block0-3"] > takes["stem,blocks"] >= takes["backbone"] > 0
    assert takes["backbone"] < whole / 5
