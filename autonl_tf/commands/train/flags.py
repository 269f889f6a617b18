"""Train a network on a dataset, from random weights or from a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from autonl_tf import limits
from autonl_tf.arch import presets
from autonl_tf.arch.parts import ACCEPTED as PARTS
from autonl_tf.arch.parts import check_trained, named
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.data.labels import class_name
from autonl_tf.errors import UserError
from autonl_tf.reading import MOST_LONG, Unreadable, read_text
from autonl_tf.settings import files, recipe
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import choice, number_in, path, real, switch, text, whole
from autonl_tf.settings.shared import refuse, refuse_calibration

FLAGS = (
    choice("optimizer", None, ("rmsprop", "adam")).help(
        "rmsprop, as published, or adam. Default: adam from --init_checkpoint, unless that is a search, or --qat or a "
        "flag of RMSProp is given."
    ),
    real("test_split", None, (0.001, 0.9)).help(
        "Share of the validation images to set aside and score once, at the end of training. A test split of the data "
        "is scored without this flag."
    ),
    whole("recalibrate_batches", None, (0, 100_000)).help(
        "Training batches that measure batch norm's statistics for the averages before each evaluation; published: 0. "
        "Default: 1,024 images, or all of a smaller set; 0 with --qat."
    ),
    real("moving_average_decay", None, (0.0, 0.999999)).help(
        "Decay of the moving averages: min(this, (1+n)/(10+n)) at step n. Default: an average over a twentieth of the "
        "run, at most the published 0.9999."
    ),
    real("light_nl_decay", None, (0.0, 1000.0)).help(
        "Factor of sum(gamma^2)/2 in the loss, over the scales of LightNL's batch norms; published: 0. Default: 80 "
        "divided by the number of training images."
    ),
    switch("qat", False).help("Train with simulated int8, from float weights in --init_checkpoint, for tflite_qat."),
    real("eval_every_epochs", None, limits.EPOCHS).help(
        "Epochs between evaluations, none shortly before the last one; the best checkpoint is kept. Default: 1, or a "
        "tenth of a long run."
    ),
    text("freeze").help(
        f"Parts to freeze, with their batch-norm statistics, separated by commas, or none: {PARTS}. Default: "
        "batch_norm from a checkpoint on fewer than 10,000 images. New non-local blocks are trained in any case."
    ),
    text("lr_multipliers").help(
        "Learning rates of the parts of --freeze, as PART:FACTOR separated by commas (backbone:0.1); the last entry "
        "that names a layer counts."
    ),
    path("class_weights").help("balanced (classes count alike), or a file of lines CLASS WEIGHT. Default: none."),
    real("mixup_alpha", 0.0, (0.0, 100.0)).help("Mixup: blends images by shares from Beta(this, this). 0: off."),
    real("cutmix_alpha", 0.0, (0.0, 100.0)).help(
        "CutMix: pastes a rectangle of another image, its area from Beta(this, this). 0: off. With mixup too, each "
        "step draws one."
    ),
    real("random_erasing", 0.0, (0.0, 1.0)).help("Probability of erasing a rectangle of 2% to 33% of an image."),
)
REQUIRED = ("model_dir", "dataset", "arch")


def check(config: Config) -> Config:
    recipe.check(config)
    for name in ("mixup_alpha", "cutmix_alpha"):
        if 0 < config.values[name] < 0.001:
            raise UserError(f"--{name}={config.values[name]}: accepted: 0, or 0.001 to 100")
    if config.optimizer == "adam":
        refuse(config, "is a setting of RMSProp and does not go with --optimizer=adam", *recipe.OF_RMSPROP)
    if config.qat:
        _check_qat(config)
    else:
        refuse_calibration(config, "--qat")
    return config


def _check_qat(config: Config) -> None:
    if recipe.is_cut(config) or config.sync_batch_norm:
        raise UserError("--qat does not go with --micro_batches or --sync_batch_norm")
    for name in ("freeze", "lr_multipliers"):
        if config.values[name]:
            raise UserError(f"--qat trains every layer at one rate; leave --{name} out")
    if config.optimizer == "adam":
        raise UserError("--qat trains by RMSProp; leave --optimizer=adam out")
    if not config.init_checkpoint:
        raise UserError("--qat starts from a trained float network: give --init_checkpoint")
    if config.precision != "float32":
        raise UserError(f"--qat simulates int8 in float32; --precision={config.precision} does not go with it")
    if config.recalibrate_batches:
        raise UserError("--qat keeps batch norm's statistics in step with the ranges; leave --recalibrate_batches at 0")


def check_quantizable(spec: NetworkSpec) -> None:
    """Raises UserError for an architecture with layers that `networks.quantized` has no int8 form of, naming them."""
    blocks = spec.blocks
    found = [
        kind
        for kind, there in (
            ("HardSwish (hswish)", "hswish" in {spec.activation, *(block.activation for block in blocks)}),
            ("ChannelShuffle (shuffle=on)", any(block.shuffle_groups > 1 for block in blocks)),
            ("ZeroPadding2D (padding=symmetric)", spec.padding == "symmetric"),
            ("EmbeddedProduct (embedded)", any(block.embedded is not None for block in blocks)),
            ("MaxPooling2D (embedded's stride)", any(block.embedded and block.embedded.stride > 1 for block in blocks)),
        )
        if there
    ]
    if found:
        raise UserError(
            f"{spec.source}: quantization-aware training has no int8 form of {', '.join(found)}; accepted: swish, "
            "relu, relu6, squeeze-excite, LightNL, grouped convolutions, padding=same"
        )


def check_files(config: Config) -> Config:
    spec = presets.load(config.arch, config.nonlocal_)
    _check_parts(config, spec)
    if named(config.freeze) and not config.init_checkpoint:
        raise UserError(
            f"--freeze={config.freeze} needs --init_checkpoint: without trained weights it would freeze random ones"
        )
    if config.qat:
        check_quantizable(spec)
    weights = config.class_weights not in (None, "balanced")
    if weights:
        weights_by_class(config.class_weights)
    found = files.check_inputs(config, config.init_checkpoint)
    if weights and found.data:
        weights_by_class(config.class_weights, found.data.class_names)
    files.check_run(found.config)
    return found.config


def _check_parts(config: Config, spec: NetworkSpec) -> None:
    """Whether the network has the parts that `--freeze` and `--lr_multipliers` name, the latter not frozen."""
    frozen, rates = config.freeze, config.lr_multipliers
    parts = [part for part, _ in lr_multipliers(rates)] if rates else []
    flags, blocks = (f"--freeze={frozen}", f"--lr_multipliers={rates}"), list(spec.singles())
    check_trained(named(frozen), parts, len(blocks), flags)
    if not any(block.nonlocal_ or block.embedded for block in blocks):
        for flag, names in zip(flags, (named(frozen), parts), strict=True):
            if "nonlocal" in names:
                raise UserError(f"{flag}: {config.arch} has no non-local blocks; --nonlocal places them")


def lr_multipliers(text: str) -> list[tuple[str, float]]:
    """`backbone:0.1,logits:2` to [(part, factor), ...]. Raises UserError where it is not that."""
    found = []
    for entry in text.split(","):
        part, _, number = entry.partition(":")
        factor = number_in(number)
        if not part or not 1e-6 <= factor <= 1000:
            raise UserError(f"--lr_multipliers={text}: {entry!r} is not PART:FACTOR; accepted: factors of 1e-6 to 1000")
        if part in dict(found):
            raise UserError(f"--lr_multipliers={text}: {part!r} is given twice")
        found.append((part, factor))
    return found


def weights_by_class(path: str, names: Sequence[str] | None = None) -> list[float]:
    """What the lines CLASS WEIGHT of a file of `--class_weights` give the classes, in their order, by default its own.

    Raises:
      UserError: it cannot be read, has another line, lacks a class, names one twice or another.
    """
    try:
        lines = read_text(path, MOST_LONG).splitlines()
    except Unreadable as error:
        raise UserError(
            f"--class_weights={path}: {error.reason}; accepted: balanced, or a file of lines CLASS WEIGHT"
        ) from None
    found: dict[str, float] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"--class_weights={path}, line {number}"
        word, last = ["", *line.rsplit(maxsplit=1)][-2:]
        weight = number_in(last)
        if not 1e-6 <= weight <= 1e6 or not word.strip():
            raise UserError(f"{where}: {line!r} is not CLASS WEIGHT: a name, a blank, a number from 1e-6 to 1e6")
        name = class_name(word, where)
        if name in found or (names and name not in names):
            raise UserError(f"{where}: {name!r} {'is given twice' if name in found else 'is no class of the data'}")
        found[name] = weight
    if missing := [name for name in names or () if name not in found]:
        raise UserError(f"--class_weights={path}: lacks {len(missing)} classes, {missing[0]!r} first")
    return [found[name] for name in names or found]
