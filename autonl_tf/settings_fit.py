"""The settings of the recipe: how search and training update weights, and for how long."""

from __future__ import annotations

import dataclasses

from absl import flags

from autonl_tf import limits
from autonl_tf.setting import AUTO, define_count
from autonl_tf.setting import flag as _flag

_FIT = ("search", "train")


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How search and training update weights, and for how long."""

    train_steps: int = _flag(
        flags.DEFINE_integer,
        None,
        "Length in steps. Give this or --train_epochs.",
        modes=_FIT,
        lower_bound=1,
        upper_bound=limits.STEPS[1],
    )
    train_epochs: float = _flag(
        flags.DEFINE_float,
        None,
        "Length in epochs. Default: by the number of images, 30 to 350 to train, 8 to 350 to search, a tenth of that "
        "from --init_checkpoint (docs/training.md).",
        modes=_FIT,
        lower_bound=0.001,
        upper_bound=limits.EPOCHS[1],
    )
    base_learning_rate: float = _flag(
        flags.DEFINE_float,
        None,
        "Learning rate for 256 images a step; scaled with the batch. Default: 0.016, from --init_checkpoint 0.005, "
        "with --freeze=backbone or --qat 0.0016.",
        modes=_FIT,
        lower_bound=1e-12,
        upper_bound=1000.0,
    )
    scale_learning_rate: bool = _flag(
        flags.DEFINE_bool,
        True,
        "Peak rate is base_learning_rate * train_batch_size / 256; otherwise base_learning_rate whatever the batch.",
        modes=_FIT,
    )
    lr_warmup_epochs: float = _flag(
        flags.DEFINE_float,
        None,
        "Linear warm-up of the learning rate, in epochs. Give this or --lr_warmup_steps; default: see there.",
        modes=_FIT,
        lower_bound=0.0,
        upper_bound=limits.EPOCHS[1],
    )
    lr_warmup_steps: int = _flag(
        flags.DEFINE_integer,
        None,
        "The same in steps. Default: a tenth of the run; to search 200, at most a quarter of it.",
        modes=_FIT,
        lower_bound=0,
        upper_bound=limits.STEPS[1],
    )
    lr_decay_epochs: float = _flag(
        flags.DEFINE_float,
        None,
        "Epochs between two decays of the learning rate, as published: 2.4. Default: with --lr_decay_rate 2.4; to "
        "search 0.3 of it; else none, the rate falls to 0 over the run as a cosine does.",
        modes=_FIT,
        lower_bound=0.001,
        upper_bound=limits.EPOCHS[1],
    )
    lr_decay_rate: float = _flag(
        flags.DEFINE_float,
        None,
        "Factor of each decay, as published: 0.97, the default where there are decays.",
        modes=_FIT,
        lower_bound=1e-6,
        upper_bound=1.0,
    )
    momentum: float = _flag(
        flags.DEFINE_float, 0.9, "RMSProp's momentum.", modes=_FIT, lower_bound=0.0, upper_bound=0.9999
    )
    rmsprop_decay: float = _flag(
        flags.DEFINE_float,
        0.9,
        "Decay of RMSProp's mean square, which starts at 1.",
        modes=_FIT,
        lower_bound=0.0,
        upper_bound=0.9999,
    )
    rmsprop_epsilon: float = _flag(
        flags.DEFINE_float,
        1e-3,
        "RMSProp's epsilon, inside the square root.",
        modes=_FIT,
        lower_bound=1e-12,
        upper_bound=1000.0,
    )
    batch_norm_momentum: float = _flag(
        flags.DEFINE_float,
        None,
        "Of batch norm's moving statistics. Default: such that they look back over a fiftieth of the run, 0.8 to the "
        "published 0.99.",
        modes=_FIT,
        lower_bound=0.0,
        upper_bound=0.9999,
    )
    recalibrate_batches: int = _flag(
        flags.DEFINE_integer,
        None,
        "Batches of training images, cut as in evaluation, on which batch norm's statistics are measured anew for the "
        "averaged weights before every evaluation, and saved with the best copy; 0, as published: none. Default: about "
        "a thousand images; with --qat 0.",
        modes=("train",),
        lower_bound=0,
        upper_bound=100_000,
    )
    clip_gradient_norm: float = _flag(
        flags.DEFINE_float,
        None,
        "Scales the gradient of all variables, summed over replicas, down to this norm where it is longer.",
        modes=_FIT,
        lower_bound=1e-6,
        upper_bound=1e9,
    )
    on_nan: str = _flag(
        flags.DEFINE_enum,
        "stop",
        "At a loss or gradient that is not finite: stop, or skip that update and count it.",
        modes=_FIT,
        enum_values=("stop", "skip"),
    )
    max_skipped_updates: int = _flag(
        flags.DEFINE_integer,
        10,
        "With --on_nan=skip: stop when a run has skipped more.",
        modes=_FIT,
        lower_bound=0,
        upper_bound=limits.STEPS[1],
    )
    moving_average_decay: float = _flag(
        flags.DEFINE_float,
        None,
        "Of the averages that are evaluated; min(this, (1+n)/(10+n)) at step n. Default: such that they look back over "
        "a twentieth of the run, at most the published 0.9999.",
        modes=("train",),
        lower_bound=0.0,
        upper_bound=0.999999,
    )
    weight_decay: float = _flag(
        flags.DEFINE_float,
        1e-5,
        "Times sum(v^2)/2 over every trainable variable but batch norm's.",
        modes=_FIT,
        lower_bound=0.0,
        upper_bound=1000.0,
    )
    light_nl_decay: float = _flag(
        flags.DEFINE_float,
        None,
        "Times sum(gamma^2)/2 over the scales of LightNL's batch norms; 0: none, as published. Default: "
        "80 divided by the number of training images.",
        modes=("train",),
        lower_bound=0.0,
        upper_bound=1000.0,
    )
    label_smoothing: float = _flag(
        flags.DEFINE_float,
        0.1,
        "Share of the target spread over all classes.",
        modes=_FIT,
        lower_bound=0.0,
        upper_bound=0.99,
    )
    qat: bool = _flag(
        flags.DEFINE_bool,
        False,
        "Train with int8 simulated, from the float weights in --init_checkpoint; export as tflite_qat.",
        modes=("train",),
    )
    micro_batches: int | str = _flag(
        define_count,
        AUTO,
        "Parts of a replica's batch, one by one, to save memory; auto: the fewest with which it should fit.",
        modes=_FIT,
        lower_bound=1,
        upper_bound=limits.BATCH[1],
    )
    sync_batch_norm: bool = _flag(
        flags.DEFINE_bool, False, "Batch norm takes its statistics over all replicas.", modes=_FIT
    )
    steps_per_loop: int = _flag(
        flags.DEFINE_integer,
        100,
        "Steps on the device between two returns to the host.",
        modes=_FIT,
        lower_bound=1,
        upper_bound=1_000_000,
    )
    eval_every_epochs: float = _flag(
        flags.DEFINE_float,
        None,
        "How often training evaluates and keeps the best checkpoint. Default: every epoch, in a long run 10 times.",
        modes=("train",),
        lower_bound=0.001,
        upper_bound=limits.EPOCHS[1],
    )
    save_every_steps: int = _flag(
        flags.DEFINE_integer,
        500,
        "How often a checkpoint is saved.",
        modes=_FIT,
        lower_bound=1,
        upper_bound=limits.STEPS[1],
    )
