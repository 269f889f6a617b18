"""Every flag, defined once, and the one place they are read: into frozen dataclasses, cross-checked.

Names are those of the official code and its ancestors where it has one. Renamed on purpose: `--cost_lambda` (was
runtime_lambda_val), `--steps_per_loop` (was iterations_per_loop). No TensorFlow in here: a wrong value fails in a
second.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from absl import flags

from autonl_tf.errors import UserError

MODES = ("search", "train", "eval", "predict", "export", "describe")
STRATEGIES = ("auto", "cpu", "mirrored", "multiworker", "tpu")

# Published training lengths, used where neither --train_epochs nor --train_steps is given.
DEFAULT_EPOCHS = {"search": 8.0, "train": 350.0}


def _flag(define, default, text, *, modes, **bounds):
    """A dataclass field that is a flag: how absl defines it, its help, and the modes that read it."""
    return dataclasses.field(
        default=default, metadata={"define": define, "help": text, "modes": frozenset(modes), "bounds": bounds}
    )


_ALL = MODES
_FIT = ("search", "train")
_DATA = ("search", "train", "eval")
_MODEL = ("train", "eval", "predict", "export")
_SIZE = (*_DATA, "predict", "export", "describe")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What to do, where, on what."""

    mode: str = _flag(flags.DEFINE_enum, None, "What to do.", modes=_ALL, enum_values=MODES)
    model_dir: str = _flag(
        flags.DEFINE_string,
        None,
        "Run directory: written by search and train, resumed by running the same command again; read by the others.",
        modes=("search", *_MODEL),
    )
    init_checkpoint: str = _flag(
        flags.DEFINE_string,
        None,
        "Weights to start from or to use: a run directory or a checkpoint's prefix. Default: those in --model_dir.",
        modes=_MODEL,
    )
    use_averages: bool = _flag(
        flags.DEFINE_bool, True, "Use a checkpoint's moving averages rather than its plain variables.", modes=_MODEL
    )
    seed: int = _flag(
        flags.DEFINE_integer,
        0,
        "Seed of initial weights, data order and augmentation, and gates.",
        modes=_FIT,
        lower_bound=0,
        upper_bound=2**31 - 1,
    )
    strategy: str = _flag(
        flags.DEFINE_enum,
        "auto",
        "Devices: auto is tpu with --tpu, multiworker with TF_CONFIG, mirrored with several GPUs, else one device.",
        modes=_DATA,
        enum_values=STRATEGIES,
    )
    tpu: str = _flag(flags.DEFINE_string, None, "TPU name or grpc:// address; 'local' on a TPU VM.", modes=_DATA)
    tpu_zone: str = _flag(flags.DEFINE_string, None, "Zone of --tpu.", modes=_DATA)
    gcp_project: str = _flag(flags.DEFINE_string, None, "Cloud project of --tpu.", modes=_DATA)
    images: str = _flag(flags.DEFINE_string, None, "Image files to classify: a path or a glob.", modes=("predict",))
    predictions_out: str = _flag(
        flags.DEFINE_string, None, "NumPy archive to write: `files` and `logits` [N, classes].", modes=("predict",)
    )
    export_dir: str = _flag(
        flags.DEFINE_string, None, "Where export writes the SavedModel and the TFLite file.", modes=("export",)
    )
    output: str = _flag(
        flags.DEFINE_enum,
        "text",
        "A table for people, or one JSON object on standard output.",
        modes=("describe", "eval", "predict"),
        enum_values=("text", "json"),
    )


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Which network."""

    arch: str = _flag(
        flags.DEFINE_string,
        None,
        "autonl_s, autonl_l, an architecture file, or a search's run directory. Default: the checkpoint's own.",
        modes=(*_MODEL, "describe"),
    )
    input_image_size: int = _flag(
        flags.DEFINE_integer,
        None,
        "Side of the input in pixels. Default: the checkpoint's, else the dataset's, else 224.",
        modes=_SIZE,
        lower_bound=8,
        upper_bound=4096,
    )
    num_label_classes: int = _flag(
        flags.DEFINE_integer,
        None,
        "Number of classes. Default: the dataset's; 1000 for describe.",
        modes=(*_DATA, "describe"),
        lower_bound=2,
        upper_bound=1_000_000,
    )
    depth_multiplier: float = _flag(
        flags.DEFINE_float,
        1.0,
        "Scales every block's filters, rounded to multiples of 8.",
        modes=(*_MODEL, "describe"),
        lower_bound=0.05,
        upper_bound=20.0,
    )
    dropout_rate: float = _flag(
        flags.DEFINE_float,
        0.2,
        "Share of the pooled features dropped in training.",
        modes=_FIT,
        lower_bound=0.0,
        upper_bound=0.99,
    )


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, and how they come."""

    dataset: str = _flag(
        flags.DEFINE_string,
        None,
        "demo (built in), demo:texture, folder:PATH, tfds:NAME or imagenet_tfrecord:PATH.",
        modes=(*_DATA, "export"),
    )
    data_dir: str = _flag(
        flags.DEFINE_string, None, "Where TFDS (and the built-in set) keeps prepared data.", modes=(*_DATA, "export")
    )
    label_file: str = _flag(
        flags.DEFINE_string, None, "Class names in label order: the first word of each line.", modes=(*_DATA, "export")
    )
    validation_fraction: float = _flag(
        flags.DEFINE_float,
        0.1,
        "Share held out, by a hash of the file name, where a folder has no validation split.",
        modes=(*_DATA, "export"),
        lower_bound=0.001,
        upper_bound=0.9,
    )
    skip_corrupt: bool = _flag(
        flags.DEFINE_bool,
        False,
        "Leave out images that cannot be decoded, and count them, instead of stopping.",
        modes=(*_DATA, "export"),
    )
    train_batch_size: int = _flag(
        flags.DEFINE_integer,
        256,
        "Images a step over all replicas. The published recipe: 4096 (search: 1024).",
        modes=_FIT,
        lower_bound=1,
    )
    eval_batch_size: int = _flag(
        flags.DEFINE_integer,
        128,
        "Images at a time in evaluation, over all replicas.",
        modes=(*_DATA, "predict", "export"),
        lower_bound=1,
    )
    min_crop_area: float = _flag(
        flags.DEFINE_float,
        0.08,
        "Smallest share of the image's area that a training crop keeps.",
        modes=_FIT,
        lower_bound=0.01,
        upper_bound=1.0,
    )


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """How search and training update weights, and for how long."""

    train_steps: int = _flag(
        flags.DEFINE_integer, None, "Length in steps. Give this or --train_epochs.", modes=_FIT, lower_bound=1
    )
    train_epochs: float = _flag(
        flags.DEFINE_float,
        None,
        "Length in epochs. Default: 350 to train, 8 to search.",
        modes=_FIT,
        lower_bound=0.001,
    )
    base_learning_rate: float = _flag(
        flags.DEFINE_float,
        0.016,
        "Learning rate for 256 images a step; scaled with the batch.",
        modes=_FIT,
        lower_bound=0.0,
    )
    lr_warmup_epochs: float = _flag(
        flags.DEFINE_float,
        None,
        "Linear warm-up of the learning rate. Default: 5 to train, 0 to search.",
        modes=_FIT,
        lower_bound=0.0,
    )
    lr_decay_epochs: float = _flag(
        flags.DEFINE_float, 2.4, "Epochs between two decays of the learning rate.", modes=_FIT, lower_bound=0.001
    )
    lr_decay_rate: float = _flag(
        flags.DEFINE_float, 0.97, "Factor of each decay.", modes=_FIT, lower_bound=0.0, upper_bound=1.0
    )
    momentum: float = _flag(
        flags.DEFINE_float, 0.9, "RMSProp's momentum.", modes=_FIT, lower_bound=0.0, upper_bound=0.9999
    )
    moving_average_decay: float = _flag(
        flags.DEFINE_float,
        0.9999,
        "Of the averages that are evaluated; min(this, (1+n)/(10+n)) at step n.",
        modes=_FIT,
        lower_bound=0.0,
        upper_bound=0.999999,
    )
    weight_decay: float = _flag(
        flags.DEFINE_float,
        1e-5,
        "Times sum(v^2)/2 over every trainable variable but batch norm's.",
        modes=_FIT,
        lower_bound=0.0,
    )
    label_smoothing: float = _flag(
        flags.DEFINE_float,
        0.1,
        "Share of the target spread over all classes.",
        modes=_FIT,
        lower_bound=0.0,
        upper_bound=0.99,
    )
    steps_per_loop: int = _flag(
        flags.DEFINE_integer, 100, "Steps on the device between two returns to the host.", modes=_FIT, lower_bound=1
    )
    eval_every_epochs: float = _flag(
        flags.DEFINE_float,
        1.0,
        "How often training evaluates and keeps the best checkpoint.",
        modes=("train",),
        lower_bound=0.001,
    )
    save_every_steps: int = _flag(
        flags.DEFINE_integer, 500, "How often a checkpoint is saved.", modes=_FIT, lower_bound=1
    )


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """What the search may choose, and how its gates move."""

    search_space: str = _flag(
        flags.DEFINE_string, "paper", "paper, demo, or the path of a space file.", modes=("search",)
    )
    cost_lambda: float = _flag(
        flags.DEFINE_float, 0.3, "Weight of log(MACs) in the search's loss.", modes=("search",), lower_bound=0.0
    )
    search_warmup_share: float = _flag(
        flags.DEFINE_float,
        0.625,
        "Share of the search in which gates are dropped out and the cost does not count.",
        modes=("search",),
        lower_bound=0.0,
        upper_bound=0.99,
    )
    search_settle_share: float = _flag(
        flags.DEFINE_float,
        0.1,
        "Share of the search, at its end, in which decisions are held.",
        modes=("search",),
        lower_bound=0.0,
        upper_bound=0.99,
    )
    gate_keep_probability: float = _flag(
        flags.DEFINE_float, 0.6, "Of each gate in the warm-up.", modes=("search",), lower_bound=0.01, upper_bound=1.0
    )
    gate_explore_probability: float = _flag(
        flags.DEFINE_float,
        0.1,
        "Of flipping each gate in the decision phase, to learn what the flip costs; 0: never.",
        modes=("search",),
        lower_bound=0.0,
        upper_bound=0.5,
    )
    threshold_travel: float = _flag(
        flags.DEFINE_float,
        3.0,
        "How far a threshold moves if every step agrees; a gate's value is about 1.",
        modes=("search",),
        lower_bound=0.0,
        upper_bound=100.0,
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of one run."""

    run: RunConfig
    network: NetworkConfig
    data: DataConfig
    fit: FitConfig
    search: SearchConfig

    def settings(self) -> dict[str, Any]:
        """Every flag's value by name."""
        return {name: value for group in _groups(self) for name, value in dataclasses.asdict(group).items()}

    def read_settings(self) -> dict[str, Any]:
        """Those that this run's mode reads."""
        readers = {field.name: field.metadata["modes"] for field in _fields()}
        return {name: value for name, value in self.settings().items() if self.run.mode in readers[name]}


_GROUPS = {"run": RunConfig, "network": NetworkConfig, "data": DataConfig, "fit": FitConfig, "search": SearchConfig}


def _groups(config: Config):
    return [getattr(config, name) for name in _GROUPS]


def _fields() -> list[dataclasses.Field]:
    return [field for group in _GROUPS.values() for field in dataclasses.fields(group)]


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines every flag on `flag_values`."""
    for field in _fields():
        meta = field.metadata
        meta["define"](field.name, field.default, help=meta["help"], flag_values=flag_values, **meta["bounds"])


def usage() -> str:
    """What `--help` prints: every flag with its default, by group."""
    lines = [
        "AutoNL: search, train, evaluate and export lightweight non-local networks.",
        "",
        "  autonl --mode=search|train|eval|predict|export|describe [--flagfile=FILE] [--FLAG=VALUE ...]",
        "",
        "Settings after --flagfile override it.",
    ]
    for group in _GROUPS.values():
        lines += ["", group.__doc__]
        for field in dataclasses.fields(group):
            default = "" if field.default is None else f" [{field.default}]"
            values = field.metadata["bounds"].get("enum_values")
            accepted = f" ({'|'.join(values)})" if values else ""
            lines.append(f"  --{field.name}{accepted}: {field.metadata['help']}{default}")
    return "\n".join(lines) + "\n"


def from_flags(flag_values: flags.FlagValues = flags.FLAGS) -> Config:
    """The flags as a `Config`, checked against each other.

    Raises:
      UserError: naming the flag, what is wrong with it, and what is accepted.
    """
    config = Config(
        **{
            name: group(**{field.name: flag_values[field.name].value for field in dataclasses.fields(group)})
            for name, group in _GROUPS.items()
        }
    )
    _check(config)
    return config


def unread_flags(config: Config, flag_values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Flags that were given but that the mode does not read, to be told to the user."""
    return [f.name for f in _fields() if flag_values[f.name].present and config.run.mode not in f.metadata["modes"]]


def _require(config: Config, *names: str) -> None:
    settings = config.settings()
    for name in names:
        if not settings[name]:
            text = next(field.metadata["help"] for field in _fields() if field.name == name)
            raise UserError(f"--mode={config.run.mode} needs --{name}: {text}")


def _check(config: Config) -> None:
    run, fit, search = config.run, config.fit, config.search
    if run.mode is None:
        raise UserError(f"--mode is required; accepted: {', '.join(MODES)}")
    required = {
        "search": ("model_dir", "dataset"),
        "train": ("model_dir", "dataset", "arch"),
        "eval": ("dataset",),
        "predict": ("images",),
        "export": ("export_dir",),
        "describe": ("arch",),
    }
    _require(config, *required[run.mode])
    if run.mode in ("eval", "predict", "export") and not (run.init_checkpoint or run.model_dir):
        raise UserError(f"--mode={run.mode} needs weights: give --init_checkpoint or --model_dir")
    if fit.train_steps is not None and fit.train_epochs is not None:
        raise UserError("--train_steps and --train_epochs are both given; accepted: one of them")
    if run.tpu is None and (run.tpu_zone or run.gcp_project):
        raise UserError("--tpu_zone and --gcp_project need --tpu")
    if run.tpu is not None and run.strategy not in ("auto", "tpu"):
        raise UserError(f"--tpu does not go with --strategy={run.strategy}; accepted: auto, tpu")
    if search.search_warmup_share + search.search_settle_share >= 1:
        raise UserError("--search_warmup_share and --search_settle_share must leave a share below 1 for decisions")
    if run.predictions_out and pathlib.Path(run.predictions_out).suffix != ".npz":
        raise UserError(f"--predictions_out={run.predictions_out}: must end in .npz")
