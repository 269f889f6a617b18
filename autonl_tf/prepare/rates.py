"""A run's length, the weights' optimizer and its learning rate, from the flags."""

from __future__ import annotations

import dataclasses

import tf_keras as keras

from autonl_tf import limits
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.engine.schedules import WarmupCosine, WarmupStaircase, scale_learning_rate
from autonl_tf.errors import UserError
from autonl_tf.settings.config import Config
from autonl_tf.streams import say


@dataclasses.dataclass(frozen=True)
class Length:
    """How long a run is: steps in all, and steps an epoch (not rounded)."""

    steps: int
    steps_per_epoch: float

    def steps_of(self, epochs: float) -> int:
        return max(1, round(epochs * self.steps_per_epoch))


def length_of(config: Config, images: int) -> Length:
    """The length of a run on so many images, from --train_steps or --train_epochs of a completed config. Raises
    UserError."""
    steps_per_epoch = images / config.train_batch_size
    if config.train_steps is not None:
        return Length(config.train_steps, steps_per_epoch)
    steps = max(1, round(config.train_epochs * steps_per_epoch))
    if steps > limits.STEPS[1]:
        raise UserError(f"--train_epochs={config.train_epochs:g}: {steps} steps; accepted: at most {limits.STEPS[1]}")
    return Length(steps, steps_per_epoch)


def tell_warmup(config: Config, length: Length) -> None:
    """Warns of a warm-up that is not over when the run is."""
    if (warmup := _warmup(config, length)) >= length.steps:
        say(f"warning: the warm-up takes {warmup:,} steps, the run {length.steps:,}: the learning rate only rises")


def _warmup(config: Config, length: Length) -> int:
    if config.lr_warmup_steps is not None:
        return config.lr_warmup_steps
    return int(config.lr_warmup_epochs * length.steps_per_epoch)


def weights_optimizer(config: Config, length: Length, factor: float = 1.0) -> keras.optimizers.Optimizer:
    """The recipe's RMSProp, or Adam, with its schedule, the peak rate scaled with the batch and by `factor`."""
    peak = scale_learning_rate(factor * config.base_learning_rate, config.train_batch_size)
    warmup = _warmup(config, length)
    if config.lr_decay_epochs is None:
        rate = WarmupCosine(peak, length.steps, warmup)
    else:
        rate = WarmupStaircase(peak, length.steps_per_epoch, warmup, config.lr_decay_epochs, config.lr_decay_rate)
    if config.mode == "train" and config.optimizer == "adam":
        return keras.optimizers.Adam(rate, jit_compile=False)
    return TF1RMSprop(rate, rho=config.rmsprop_decay, momentum=config.momentum, epsilon=config.rmsprop_epsilon)
