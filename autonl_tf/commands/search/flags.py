"""Find a network in a search space, by its accuracy on a dataset and its cost."""

from __future__ import annotations

import sys

from autonl_tf.errors import UserError
from autonl_tf.settings import files, recipe
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import amount, choice, path, real
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import CostModel, macs_model
from autonl_tf.space.latency import read_table
from autonl_tf.space.space import Space

FLAGS = (
    choice("cost", "macs", ("macs", "latency")).help("Cost of a network: MACs, or milliseconds from --latency_table."),
    path("latency_table").help("Latency table for --cost=latency, made by --mode=profile on the target device."),
    real("cost_lambda", 0.3, (0.0, 1e6)).help("Weight of log(cost) in the search's loss, unless a target is given."),
    amount("target_macs").help("MACs of the network to find, as 350e6 or 350M; lambda adapts."),
    real("target_latency_ms", None, (1e-6, 1e9)).help(
        "Latency of the network to find, in milliseconds by --latency_table; lambda adapts."
    ),
    real("search_split", 0.0, (0.0, 0.9)).help(
        "Share of the training images that train the gates' thresholds, while the others train the weights, as in "
        "DARTS. 0, as in the paper: all images train both."
    ),
    real("search_warmup_share", None, (0.0, 0.89)).help(
        "Warm-up as a share of the search: open gates are dropped at random, and the cost does not count. Default: "
        "0.625; 0.5 from --init_checkpoint."
    ),
    real("gate_keep_probability", None, (0.01, 1.0)).help(
        "Probability of keeping an open gate in the warm-up. Default: 0.6; 0.9 from --init_checkpoint, whose closed "
        "gates are opened half of the time."
    ),
    real("threshold_travel", 3.0, (0.0, 100.0)).help(
        "Largest distance that a threshold can move. It moves that far if every step agrees. A gate's value is about 1."
    ),
)
REQUIRED = ("model_dir", "dataset")
SETTLE_SHARE = 0.1  # of the search, at its end, in which decisions are fixed
# Defaults that depend on what a search starts from: (random weights, those of --init_checkpoint).
DEFAULTS = {"search_warmup_share": (0.625, 0.5), "gate_keep_probability": (0.6, 0.9)}


def check(config: Config) -> Config:
    started = int(config.init_checkpoint is not None)
    left_open = {name: pair[started] for name, pair in DEFAULTS.items() if config.values[name] is None}
    config = config.replaced(**left_open)
    recipe.check(config)
    if config.arch and not config.init_checkpoint:
        raise UserError(
            f"--arch={config.arch}: in a search --arch names the network of --init_checkpoint, which is not given; "
            "--search_space says what to search"
        )
    _check_cost(config)
    if config.search_split and recipe.is_cut(config):
        raise UserError("--search_split does not go with --micro_batches above 1: a step's two batches stay whole")
    if config.search_split and config.precision == "float16":
        raise UserError(
            "--search_split does not go with --precision=float16: the thresholds' gradients, of the unscaled loss, "
            "would underflow; accepted: float32, bfloat16"
        )
    return config


def _check_cost(config: Config) -> None:
    """What the search charges for, what it reads for that, and its target go together."""
    if config.target_macs is not None and config.target_latency_ms is not None:
        raise UserError("--target_macs and --target_latency_ms are both given; accepted: one of them")
    if config.cost == "latency" and not config.latency_table:
        raise UserError("--cost=latency needs --latency_table: a table that --mode=profile made on the target")
    if config.cost == "macs" and config.latency_table:
        raise UserError("--latency_table needs --cost=latency")
    target = target_of(config)
    if target and target[0] != {"macs": "target_macs", "latency": "target_latency_ms"}[config.cost]:
        other = "latency" if config.cost == "macs" else "macs"
        raise UserError(f"--{target[0]} does not go with --cost={config.cost}; accepted: --cost={other}")


def target_of(config: Config) -> tuple[str, float] | None:
    """The budget that was asked for: its flag and value."""
    given = [("target_macs", config.target_macs), ("target_latency_ms", config.target_latency_ms)]
    return next(((name, value) for name, value in given if value is not None), None)


def check_files(config: Config) -> Config:
    target = target_of(config)
    if target and "cost_lambda" in config.given:
        print(f"note: --cost_lambda has no effect beside --{target[0]}", file=sys.stderr)
    space = space_lib.load(config.search_space)
    if config.latency_table:
        read_table(config.latency_table)
    found = files.check_inputs(config, config.init_checkpoint, space)
    if found.image_size:
        cost_models(config, space, image_size=found.image_size, num_classes=found.data.num_classes)
    if config.train_steps is not None:
        phases(config, config.train_steps)
    files.check_run(found.config)
    return found.config


def cost_models(config: Config, space: Space, **shape: int) -> list[CostModel]:
    """What the search charges for, and, where that is not MACs, MACs too, which are reported; at an `image_size` with
    `num_classes`.

    Raises:
      UserError: the space does not fit that size, the latency table is of others, or no member has the target.
    """
    space.check(shape["image_size"])
    models = [macs_model(space, **shape)]
    if config.cost == "latency":
        models.insert(0, read_table(config.latency_table).cost_model(space, **shape))
    if target := target_of(config):
        models[0].check_target(target[1], target[0])
    return models


def phases(config: Config, steps: int) -> tuple[int, int]:
    """The steps of a search's warm-up and of its settling, from their shares.

    Raises:
      UserError: rounded to steps, they leave none in which gates are decided.
    """
    warmup, settle = (round(share * steps) for share in (config.search_warmup_share, SETTLE_SHARE))
    if warmup + settle >= steps:
        raise UserError(
            f"a search of {steps} steps leaves none for decisions: {warmup} are warm-up and {settle} settling; "
            "accepted: a larger --train_steps or --train_epochs"
        )
    return warmup, settle
