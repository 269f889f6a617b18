"""The weights' optimizer and its learning rate, from the flags."""

from __future__ import annotations

import dataclasses

from autonl_tf.config import Config
from autonl_tf.engine.optimizer import TF1RMSprop
from autonl_tf.engine.schedules import WarmupStaircase, scale_learning_rate
from autonl_tf.modes.wiring import Length

# A search's learning-rate warm-up where no flag gives one. It is in steps, since what it waits for (RMSProp's mean
# square, which starts at 1, and batch norm's statistics) takes steps, however small the set: half an epoch of 14,000
# images at batch 128 was 55 steps, and the loss rose above chance.
SEARCH_WARMUP_STEPS = 200
SEARCH_WARMUP_SHARE = 0.25  # of the search, at most


def with_search_warmup(config: Config, length: Length) -> Config:
    """The config with a search's learning-rate warm-up filled in where no flag gives one."""
    fit = config.fit
    if fit.lr_warmup_epochs is not None or fit.lr_warmup_steps is not None:
        return config
    steps = min(SEARCH_WARMUP_STEPS, int(SEARCH_WARMUP_SHARE * length.steps))
    return dataclasses.replace(config, fit=dataclasses.replace(fit, lr_warmup_steps=steps))


def weights_optimizer(config: Config, length: Length, factor: float = 1.0) -> TF1RMSprop:
    """The recipe's RMSProp with its schedule, the peak rate scaled with the batch unless told otherwise, and by
    `factor`."""
    fit, peak = config.fit, factor * config.fit.base_learning_rate
    if fit.scale_learning_rate:
        peak = scale_learning_rate(peak, config.data.train_batch_size)
    rate = WarmupStaircase(
        peak,
        length.steps_per_epoch,
        fit.lr_warmup_epochs or 0.0,
        fit.lr_decay_epochs,
        fit.lr_decay_rate,
        fit.lr_warmup_steps,
    )
    return TF1RMSprop(rate, rho=fit.rmsprop_decay, momentum=fit.momentum, epsilon=fit.rmsprop_epsilon)
