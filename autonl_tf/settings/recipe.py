"""The flags of the recipe, how search and training update weights and for how long, and what must hold between them."""

from __future__ import annotations

from autonl_tf import limits
from autonl_tf.errors import UserError
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import AUTO, choice, count, real, switch, whole

OF_RMSPROP = ("momentum", "rmsprop_decay", "rmsprop_epsilon")
FLAGS = (
    whole("train_steps", None, limits.STEPS).help("Length in steps, in place of --train_epochs."),
    real("train_epochs", None, limits.EPOCHS).help(
        "Length in epochs. Default: by the number of images, 30 to 350 for train (a tenth of that from "
        "--init_checkpoint) and 8 to 350 for search (docs/training.md).",
        train="Length in epochs. Default: 30 to 350, by the number of images; a tenth of that from --init_checkpoint, "
        "unless that is a search.",
        search="Length in epochs. Default: 8 to 350, by the number of images.",
    ),
    real("base_learning_rate", None, (1e-12, 1000.0)).help(
        "Peak learning rate for 256 images, scaled with the batch. Default: RMSProp's 0.016, from --init_checkpoint "
        "0.001 (0.0016 with --freeze=backbone or --qat); Adam's peak is 0.001, from --init_checkpoint 0.0003 (0.001 "
        "with --freeze=backbone), whatever the batch.",
        search="Peak learning rate for 256 images, scaled with the batch. Default: 0.016, or 0.001 from "
        "--init_checkpoint.",
    ),
    real("lr_warmup_epochs", None, (0.0, limits.EPOCHS[1])).help("Linear warm-up in epochs, in place of steps."),
    whole("lr_warmup_steps", None, (0, limits.STEPS[1])).help(
        "Linear warm-up of the learning rate in steps. Default: a tenth of the run; for search 200, but at most a "
        "quarter of it.",
        train="Linear warm-up in steps. Default: a tenth of the run.",
        search="Linear warm-up in steps. Default: 200, but at most a quarter of the search.",
    ),
    real("lr_decay_epochs", None, limits.EPOCHS).help(
        "Epochs between two decays of the learning rate; published: 2.4. Default: 2.4 with --lr_decay_rate, else a "
        "cosine to 0; for search 0.3 of its length.",
        train="Epochs between two decays of the learning rate. Default: a cosine to 0; with --lr_decay_rate the "
        "published 2.4.",
        search="Epochs between two decays of the learning rate. Default: 0.3 of the search (2.4 of the published 8).",
    ),
    real("lr_decay_rate", None, (1e-6, 1.0)).help(
        "Factor of each decay. Default: the published 0.97, where the rate decays in steps.",
        train="Factor of each decay. Default: 0.97 with --lr_decay_epochs.",
        search="Factor of each decay. Default: the published 0.97.",
    ),
    real("momentum", 0.9, (0.0, 0.9999)).help("RMSProp's momentum."),
    real("rmsprop_decay", 0.9, (0.0, 0.9999)).help("Decay of RMSProp's mean square, which starts at 1."),
    real("rmsprop_epsilon", 1e-3, (1e-12, 1000.0)).help("RMSProp's epsilon, inside the square root."),
    real("batch_norm_momentum", None, (0.0, 0.9999)).help(
        "Momentum of batch norm's moving statistics. Default: an average over a fiftieth of the run, 0.8 to 0.99; "
        "0.99 with --qat."
    ),
    real("clip_gradient_norm", None, (1e-6, 1e9)).help("Clip the gradient of all variables to this norm."),
    choice("on_nan", "stop", ("stop", "skip")).help(
        "At a loss or gradient that is not finite: stop, or skip (at most 10)."
    ),
    real("weight_decay", 1e-5, (0.0, 1000.0)).help("Factor of sum(v^2)/2 in the loss, batch norm excepted."),
    real("label_smoothing", 0.1, (0.0, 0.99)).help("Share of the target spread over all classes."),
    count("micro_batches", AUTO, limits.BATCH).help(
        "Number of micro-batches of a replica's batch, processed in turn to save memory; auto: the fewest that should "
        "fit."
    ),
    switch("sync_batch_norm", False).help("Batch norm takes its statistics over all replicas."),
    whole("steps_per_loop", None, (1, 1_000_000)).help(
        "Steps on the device between two visits of the host. Default: a sixtieth of the run's, at most 100."
    ),
    whole("save_every_steps", 500, limits.STEPS).help("Steps between saved checkpoints."),
)


def check(config: Config) -> None:
    """Raises UserError where these flags do not go together."""
    for pair in (("train_steps", "train_epochs"), ("lr_warmup_steps", "lr_warmup_epochs")):
        if None not in map(config.values.get, pair):
            both = " and ".join(f"--{name}" for name in pair)
            raise UserError(f"{both} are both given (a --flagfile may hold one); accepted: one of them")
    if is_cut(config) and config.sync_batch_norm:
        raise UserError(
            f"--micro_batches={config.micro_batches} does not go with --sync_batch_norm: micro-batches come one after "
            "the other, each with statistics of its own; accepted: one of the two"
        )


def is_cut(config: Config) -> bool:
    """Whether `--micro_batches` asks for several."""
    return config.micro_batches not in (AUTO, 1)


def check_micro_batches(config: Config, replicas: int = 1) -> None:
    """Raises UserError where `--micro_batches` does not divide a replica's images of the training batch, if both are
    known."""
    batch, count = config.train_batch_size, config.micro_batches
    if batch is not None and count != AUTO and batch // replicas % count:
        whole = f"--train_batch_size={batch}"
        of_each = f"the {batch // replicas} images of a replica ({whole} over {replicas})" if replicas > 1 else whole
        kept = "; a run that began with so many goes on with fewer devices" if replicas > 1 else ""
        raise UserError(f"--micro_batches={count}: does not divide {of_each}{kept}")
