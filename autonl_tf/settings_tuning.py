"""The settings of fine-tuning on data of one's own."""

from __future__ import annotations

import dataclasses

from absl import flags

from autonl_tf.arch.parts import ACCEPTED as PARTS
from autonl_tf.setting import define_path
from autonl_tf.setting import flag as _flag


@dataclasses.dataclass(frozen=True)
class TuningConfig:
    """Fine-tuning: what of a checkpoint moves, how fast, and on what mixture of images."""

    freeze: str = _flag(
        flags.DEFINE_string,
        None,
        f"Parts to freeze, batch-norm statistics included: {PARTS}; separated by commas; or none. Default: batch_norm "
        "where training starts from a checkpoint and has fewer than 10,000 images, else none.",
        modes=("train",),
    )
    lr_multipliers: str = _flag(
        flags.DEFINE_string,
        None,
        "Learning rates by part, as PART:FACTOR separated by commas, e.g. backbone:0.1; the last one that names a "
        f"layer counts. Parts: {PARTS}.",
        modes=("train",),
    )
    class_weights: str = _flag(
        define_path,
        None,
        "Class weights: balanced (every class counts the same), or a file with a line CLASS WEIGHT for each class. "
        "Default: every image counts the same.",
        modes=("train",),
    )
    mixup_alpha: float = _flag(
        flags.DEFINE_float,
        0.0,
        "Mixup: blends each image with another; the share is drawn from Beta(this, this). 0: off.",
        modes=("train",),
        lower_bound=0.0,
        upper_bound=100.0,
    )
    cutmix_alpha: float = _flag(
        flags.DEFINE_float,
        0.0,
        "CutMix: pastes a rectangle of another image; its area is drawn from Beta(this, this). 0: off. With mixup "
        "too, each step takes one of the two at random.",
        modes=("train",),
        lower_bound=0.0,
        upper_bound=100.0,
    )
    random_erasing: float = _flag(
        flags.DEFINE_float,
        0.0,
        "Probability that a rectangle of 2% to 33% of an image is erased.",
        modes=("train",),
        lower_bound=0.0,
        upper_bound=1.0,
    )
