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
        "Length in epochs. Default: 30 to 350 for train and 8 to 350 for search, by the number of images; a tenth of "
        "that from --init_checkpoint (docs/training.md).",
        modes=_FIT,
        lower_bound=0.001,
        upper_bound=limits.EPOCHS[1],
    )
    base_learning_rate: float = _flag(
        flags.DEFINE_float,
        None,
        "Learning rate for 256 images per step, scaled with the batch. Default: 0.016; 0.005 from --init_checkpoint; "
        "0.0016 with --freeze=backbone or --qat.",
        modes=_FIT,
        lower_bound=1e-12,
        upper_bound=1000.0,
    )
    scale_learning_rate: bool = _flag(
        flags.DEFINE_bool,
        True,
        "Scale the peak rate with the batch: base_learning_rate * train_batch_size / 256. Otherwise it is "
        "base_learning_rate for any batch.",
        modes=_FIT,
    )
    lr_warmup_epochs: float = _flag(
        flags.DEFINE_float,
        None,
        "Linear warm-up of the learning rate, in epochs. Give this or --lr_warmup_steps, which has the default.",
        modes=_FIT,
        lower_bound=0.0,
        upper_bound=limits.EPOCHS[1],
    )
    lr_warmup_steps: int = _flag(
        flags.DEFINE_integer,
        None,
        "Linear warm-up of the learning rate, in steps. Default: a tenth of the run; for search 200, but at most a "
        "quarter of it.",
        modes=_FIT,
        lower_bound=0,
        upper_bound=limits.STEPS[1],
    )
    lr_decay_epochs: float = _flag(
        flags.DEFINE_float,
        None,
        "Epochs between two decays of the learning rate; published: 2.4. Default: 2.4 with --lr_decay_rate; 0.3 of "
        "that for search; otherwise there are no steps, and the rate falls to 0 along a cosine.",
        modes=_FIT,
        lower_bound=0.001,
        upper_bound=limits.EPOCHS[1],
    )
    lr_decay_rate: float = _flag(
        flags.DEFINE_float,
        None,
        "Factor of each decay. Default: the published 0.97, where the rate decays in steps.",
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
        "Momentum of batch norm's moving statistics. Default: they average over a fiftieth of the run, with a "
        "momentum from 0.8 to the published 0.99.",
        modes=_FIT,
        lower_bound=0.0,
        upper_bound=0.9999,
    )
    recalibrate_batches: int = _flag(
        flags.DEFINE_integer,
        None,
        "Batches of training images, cropped as in evaluation, from which batch norm's statistics are measured again "
        "for the averaged weights before every evaluation and saved with the best copy; 0, as published: none. "
        "Default: about a thousand images; 0 with --qat.",
        modes=("train",),
        lower_bound=0,
        upper_bound=100_000,
    )
    clip_gradient_norm: float = _flag(
        flags.DEFINE_float,
        None,
        "Clip the gradient of all variables, summed over replicas, to this norm.",
        modes=_FIT,
        lower_bound=1e-6,
        upper_bound=1e9,
    )
    on_nan: str = _flag(
        flags.DEFINE_enum,
        "stop",
        "What to do at a loss or gradient that is not finite: stop, or skip that update and count it.",
        modes=_FIT,
        enum_values=("stop", "skip"),
    )
    max_skipped_updates: int = _flag(
        flags.DEFINE_integer,
        10,
        "Stop when a run with --on_nan=skip has skipped more updates than this.",
        modes=_FIT,
        lower_bound=0,
        upper_bound=limits.STEPS[1],
    )
    moving_average_decay: float = _flag(
        flags.DEFINE_float,
        None,
        "Decay of the moving averages that are evaluated: min(this, (1+n)/(10+n)) at step n. Default: they average "
        "over a twentieth of the run, with a decay of at most the published 0.9999.",
        modes=("train",),
        lower_bound=0.0,
        upper_bound=0.999999,
    )
    weight_decay: float = _flag(
        flags.DEFINE_float,
        1e-5,
        "Factor of sum(v^2)/2 in the loss, over every trainable variable except batch norm's.",
        modes=_FIT,
        lower_bound=0.0,
        upper_bound=1000.0,
    )
    light_nl_decay: float = _flag(
        flags.DEFINE_float,
        None,
        "Factor of sum(gamma^2)/2 in the loss, over the scales of LightNL's batch norms; 0, as published: none. "
        "Default: 80 divided by the number of training images.",
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
        "Number of equal parts of a replica's batch that are processed one after another, to save memory; auto: the "
        "fewest that should fit.",
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
        "Steps that run on the device before it returns to the host.",
        modes=_FIT,
        lower_bound=1,
        upper_bound=1_000_000,
    )
    eval_every_epochs: float = _flag(
        flags.DEFINE_float,
        None,
        "Epochs between evaluations; the best checkpoint is kept. Default: 1, or a tenth of a long run.",
        modes=("train",),
        lower_bound=0.001,
        upper_bound=limits.EPOCHS[1],
    )
    save_every_steps: int = _flag(
        flags.DEFINE_integer,
        500,
        "Steps between saved checkpoints.",
        modes=_FIT,
        lower_bound=1,
        upper_bound=limits.STEPS[1],
    )
