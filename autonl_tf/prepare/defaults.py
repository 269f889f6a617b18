"""What search and training take where no flag says otherwise, by the data, its number of images, and the weights that
they start from: one rule.

The published numbers suit 109,000 steps on 1.28 million images. In a run of some hundred steps batch norm's statistics
and the averages lag behind the weights, and the learning rate stays at its peak; LightNL, cubic in its input, turns
that into losses that are not finite. So horizons are shares of the run here, and the rate ends near zero.
`docs/training.md` has the rule as a table. A flag that is given stays as it is.
"""

from __future__ import annotations

import math

from autonl_tf.arch.parts import named
from autonl_tf.checkpoint.checkpoint import Checkpoint
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.data.reading import CROP_PADDING
from autonl_tf.prepare import rates
from autonl_tf.settings import agreement
from autonl_tf.settings.config import Config
from autonl_tf.settings.recipe import OF_RMSPROP
from autonl_tf.settings.shared import check_batches_fit

# Crops where no flag gives them: as published, the centre 87.5%, for images of this side and more. Smaller ones lose
# too much by them, as trained weights do in their few steps (docs/training.md).
CROPPED_SIDE, MIN_CROP_AREA, LARGE_CROP_AREA = 128, 0.08, 0.5
BATCHES = (16, 256)  # images a step: a power of two near the square root of the number of images
LEAST_EPOCHS = {"train": 30, "search": 8}  # the latter as published
MOST_EPOCHS = 350  # as published
SHOWN_IMAGES = 60_000  # of a small set, all epochs together
TUNED_SHARE = 0.1  # of that length, from a checkpoint
# From a checkpoint, on fewer images, batch norm stays as it is: with the statistics of other photographs the network
# loses what it knows, and some hundred steps do not bring that back (docs/training.md).
TRAINED_STATISTICS = 10_000
# RMSProp's for 256 images a step, the first as published; Adam's whatever the batch. Trained weights need a smaller one
# (docs/training.md). A new classifier on frozen features has one minimum and few images.
RATES = {
    "rmsprop": {"scratch": 0.016, "tuned": 0.001, "classifier": 0.0016, "qat": 0.0016},
    "adam": {"scratch": 0.001, "tuned": 0.0003, "classifier": 0.001},
}
WARMUP_SHARE = 0.1  # of a training
STATISTICS_SHARE, AVERAGES_SHARE = 0.02, 0.05  # of the run: how far back batch norm's statistics and averages look
MOST_MOMENTUM, MOST_DECAY = 0.99, 0.9999  # as published
LEAST_MOMENTUM = 0.8
MEASURED_IMAGES = 1024  # at least, if there are as many, for the statistics of the averaged weights
# LightNL is cubic in its input: the activations of an unusual image can grow from block to block, and do so where the
# scales of LightNL's batch norms are large. Training does not see that, because each batch has its own statistics; the
# smaller the set, the more unusual other images are. Ten times this value turns LightNL off where the labels need it
# (docs/training.md).
LIGHT_NL_DECAY = 80.0  # divided by the number of images
EVALUATIONS = 10  # at most
STEPS_PER_LOOP = 100  # at most
POINTS = 60  # at least, of the curves of a run, one a loop
# A search's: the published decay, 0.97 every 2.4 of 8 epochs, and a warm-up in steps, since what that waits for
# (RMSProp's mean square, which starts at 1, and batch norm's statistics) takes steps, however small the set: half an
# epoch of 14,000 images at batch 128 was 55 steps, and the loss rose above chance.
SEARCH_DECAY_SHARE = 0.3
SEARCH_WARMUP_STEPS, SEARCH_WARMUP_SHARE = 200, 0.25  # the latter of the search, at most
DECAY_EPOCHS, DECAY_RATE = 2.4, 0.97  # of the staircase, where one of them is given

_TOLD = (
    *("train_batch_size", "train_epochs", "optimizer", "base_learning_rate", "lr_warmup_steps"),
    *("lr_decay_epochs", "lr_decay_rate"),
    *("batch_norm_momentum", "moving_average_decay", "recalibrate_batches", "light_nl_decay", "eval_every_epochs"),
    *("freeze", "lr_multipliers"),
)


def resolved(config: Config, dataset: ImageDataset, start: Checkpoint | None = None) -> Config:
    """The config with sizes, classes and crops filled in, which depend on the dataset or a starting checkpoint; what
    depends on the number of images is filled in by `completed`."""
    config = config.replaced(
        input_image_size=agreement.image_size(config, dataset, start),
        num_label_classes=dataset.num_classes,
        depth_multiplier=config.depth_multiplier or (start.depth_multiplier if start else 1.0),
    )
    small = config.input_image_size < CROPPED_SIDE
    padding = 0 if small else min(CROP_PADDING, round(CROP_PADDING * config.input_image_size / 224))
    short = start is not None and start.format != "search" and config.mode == "train"
    area = LARGE_CROP_AREA if small or short else MIN_CROP_AREA
    if start and start.image_size == config.input_image_size:
        padding = start.crop_padding
    check_batches_fit(config, config.input_image_size)
    return config.replaced(
        crop_padding=padding if config.crop_padding is None else config.crop_padding,
        min_crop_area=area if config.min_crop_area is None else config.min_crop_area,
    )


def completed(config: Config, images: int, tuned: bool = False) -> Config:
    """The config with what is left open filled in.

    Args:
      config: a `resolved` one.
      tuned: the run starts from a checkpoint. A search takes its rate from that, a training its length and what it
        freezes as well.

    Raises:
      UserError: a run that is too long.
    """
    config = config.replaced(train_batch_size=config.train_batch_size or batch_size(images))
    fine_tuning = tuned and config.mode == "train"
    if config.train_steps is None and config.train_epochs is None:
        config = config.replaced(train_epochs=epochs(images, config.mode, fine_tuning))
    has_rate = "batch_norm:" in (config.lr_multipliers or "")
    if fine_tuning and config.freeze is None and not (config.qat or has_rate) and images < TRAINED_STATISTICS:
        config = config.replaced(freeze="batch_norm")
    if config.mode == "train" and config.optimizer is None:
        adam = tuned and not config.qat and not config.given.keys() & set(OF_RMSPROP)
        config = config.replaced(optimizer="adam" if adam else "rmsprop")
    length = rates.length_of(config, images)
    chosen = _search(config, length) if config.mode == "search" else _training(config, length, images, tuned)
    # Nothing measures statistics anew under --qat: they are the checkpoint's, and training crops move them slowly.
    momentum = _looking_back(STATISTICS_SHARE * length.steps, LEAST_MOMENTUM, MOST_MOMENTUM)
    chosen |= {
        "base_learning_rate": _rates(config)[_kind(config, tuned)],
        "batch_norm_momentum": MOST_MOMENTUM if config.qat else momentum,
        "steps_per_loop": max(1, min(STEPS_PER_LOOP, length.steps // POINTS)),
    }
    config = config.replaced(**{name: value for name, value in chosen.items() if config.values[name] is None})
    if fine_tuning and config.nonlocal_ not in (None, "none") and config.lr_multipliers is None and not config.qat:
        config = config.replaced(lr_multipliers=f"nonlocal:{new_factor(config):g}")
    return config


def new_factor(config: Config) -> float:
    """Times the learning rate of trained weights, for what they lack, such as LightNL.

    It learns by the rate of a start from scratch, but no slower than they, and at most a thousand times as fast.
    """
    return min(max(1.0, _rates(config)["scratch"] / config.base_learning_rate), 1000.0)


def adam_rates(batch: int) -> dict[str, float]:
    """Adam's by what is trained, for 256 images."""
    return {what: rate * 256 / batch for what, rate in RATES["adam"].items()}


def _rates(config: Config) -> dict[str, float]:
    """By what is trained, for 256 images."""
    if config.mode == "train" and config.optimizer == "adam":
        return adam_rates(config.train_batch_size)
    return RATES["rmsprop"]


def told(before: Config, after: Config, images: int) -> str | None:
    """What `completed` has filled in, as flags; None where nothing was open."""
    old, new, readers = before.values, after.values, after.read()
    words = [
        f"--{name}={new[name] if isinstance(new[name], str) else format(new[name], '.12g')}"
        for name in _TOLD
        if name in readers and old[name] is None and new[name] is not None
    ]
    if not words:
        return None
    cosine = "" if before.mode == "search" or new["lr_decay_epochs"] else "; the rate falls to 0 as a cosine does"
    return f"chosen for {images:,} images (docs/training.md): {' '.join(words)}{cosine}"


def batch_size(images: int) -> int:
    power = 2 ** round(math.log2(math.sqrt(images)))
    return max(BATCHES[0], min(power, BATCHES[1]))


def epochs(images: int, mode: str, tuned: bool) -> float:
    """The length of a run; a small set is shown more often."""
    whole = min(MOST_EPOCHS, max(LEAST_EPOCHS[mode], round(SHOWN_IMAGES / images)))
    return float(max(1, round(TUNED_SHARE * whole)) if tuned else whole)


def _kind(config: Config, tuned: bool) -> str:
    if config.qat:
        return "qat"
    if not tuned:
        return "scratch"
    return "classifier" if "backbone" in named(config.freeze) else "tuned"


def _training(config: Config, length: rates.Length, images: int, tuned: bool) -> dict[str, float | int]:
    chosen = {
        "moving_average_decay": _looking_back(AVERAGES_SHARE * length.steps, 0.0, MOST_DECAY),
        "recalibrate_batches": 0 if config.qat else math.ceil(min(images, MEASURED_IMAGES) / config.train_batch_size),
        "light_nl_decay": round(LIGHT_NL_DECAY / images, 6),
        "eval_every_epochs": float(max(1, math.ceil(length.steps / length.steps_per_epoch / EVALUATIONS))),
    }
    if config.lr_warmup_epochs is None:
        chosen["lr_warmup_steps"] = int(WARMUP_SHARE * length.steps)
    if config.lr_decay_epochs is not None or config.lr_decay_rate is not None:
        chosen |= {"lr_decay_epochs": DECAY_EPOCHS, "lr_decay_rate": DECAY_RATE}
    return chosen


def _search(config: Config, length: rates.Length) -> dict[str, float | int]:
    decay = SEARCH_DECAY_SHARE * length.steps / length.steps_per_epoch
    chosen = {"lr_decay_epochs": round(max(decay, 0.001), 3), "lr_decay_rate": DECAY_RATE}
    if config.lr_warmup_epochs is None:
        chosen["lr_warmup_steps"] = min(SEARCH_WARMUP_STEPS, int(SEARCH_WARMUP_SHARE * length.steps))
    return chosen


def _looking_back(steps: float, least: float, most: float) -> float:
    """The factor of an exponential average that looks back over so many steps."""
    return round(min(most, max(least, 1 - 1 / max(steps, 1))), 6)
