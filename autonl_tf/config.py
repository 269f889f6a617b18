"""The flags read, once: into a frozen `Config`, cross-checked. No TensorFlow: a wrong value fails in a second."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import pathlib
from typing import Any

from absl import flags

from autonl_tf import cluster, limits
from autonl_tf.errors import UserError
from autonl_tf.flag_values import FORMATS
from autonl_tf.setting import AUTO
from autonl_tf.settings import GROUPS, MODES, DataConfig, NetworkConfig, RunConfig, fields, flag_name
from autonl_tf.settings_export import ExportConfig
from autonl_tf.settings_fit import FitConfig
from autonl_tf.settings_search import SEARCH_DEFAULTS, ProfileConfig, SearchConfig
from autonl_tf.settings_tuning import TuningConfig


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of one run.

    `given`: the flags that the user gave, by name, as words of a command line; `listing`: the files of a class folder
    that is the `--dataset`, as `data.folder` has listed them.
    """

    run: RunConfig
    network: NetworkConfig
    data: DataConfig
    fit: FitConfig
    tuning: TuningConfig
    search: SearchConfig
    export: ExportConfig
    profile: ProfileConfig
    given: dict[str, str] = dataclasses.field(default_factory=dict)
    listing: Any = None

    def settings(self) -> dict[str, Any]:
        """Every flag's value by name."""
        return {flag_name(name): value for group in _groups(self) for name, value in dataclasses.asdict(group).items()}

    def read_settings(self) -> dict[str, Any]:
        """Those that this run's mode reads."""
        readers = {flag_name(field): field.metadata["modes"] for field in fields()}
        return {name: value for name, value in self.settings().items() if self.run.mode in readers[name]}


def _groups(config: Config):
    return [getattr(config, name) for name in GROUPS]


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines every flag on `flag_values`."""
    for field in fields():
        meta = field.metadata
        meta["define"](flag_name(field), field.default, help=meta["help"], flag_values=flag_values, **meta["bounds"])


def nearest_flags(name: str) -> list[str]:
    """Up to three flags for one that there is not: those that have all its words, else those spelt most alike."""
    known, words = list(map(flag_name, fields())), set(name.split("_"))
    by_likeness = difflib.get_close_matches(name, known, n=len(known), cutoff=0.0)
    holding = [other for other in by_likeness if words <= set(other.split("_"))]
    return (holding or difflib.get_close_matches(name, known, n=3) or by_likeness[:1])[:3]


def usage() -> str:
    """What `--help` prints: every flag with its default, by group."""
    lines = [
        "AutoNL: search, train, evaluate and export lightweight non-local networks.",
        "",
        f"  autonl --mode={'|'.join(MODES)}",
        "         [--flagfile=FILE] [--FLAG=VALUE ...]",
        "",
        "Settings after --flagfile override it.",
    ]
    for group in GROUPS.values():
        lines += ["", group.__doc__]
        for field in dataclasses.fields(group):
            default = "" if field.default is None else f" [{field.default}]"
            bounds = field.metadata["bounds"]
            accepted = f" ({'|'.join(bounds['enum_values'])})" if "enum_values" in bounds else ""
            if "lower_bound" in bounds:
                accepted = f" ({bounds['lower_bound']:,} to {bounds['upper_bound']:,})"
            lines.append(f"  --{flag_name(field)}{accepted}: {field.metadata['help']}{default}")
    return "\n".join(lines) + "\n"


def from_flags(flag_values: flags.FlagValues = flags.FLAGS) -> Config:
    """The flags as a `Config`, checked against each other.

    Raises:
      UserError: naming the flag, what is wrong with it, and what is accepted.
    """
    for name in map(flag_name, fields()):
        _refuse_empty(name, flag_values[name].value)
    config = Config(
        **{
            name: group(
                **{field.name: _value(flag_values[flag_name(field)].value) for field in dataclasses.fields(group)}
            )
            for name, group in GROUPS.items()
        },
        given={name: flag_values[name].serialize() for name in map(flag_name, fields()) if flag_values[name].present},
    )
    config = _with_search_defaults(config)
    _check(config, frozenset(config.given))
    return config


def _with_search_defaults(config: Config) -> Config:
    """The config with those defaults of the search filled in that depend on what it starts from."""
    started = int(config.run.init_checkpoint is not None)
    missing = {name: pair[started] for name, pair in SEARCH_DEFAULTS.items() if getattr(config.search, name) is None}
    return dataclasses.replace(config, search=dataclasses.replace(config.search, **missing))


def _refuse_empty(name: str, value: Any) -> None:
    """Raises UserError for a text or a list that is empty: of an unset variable, say; it does not mean the default."""
    texts = value if isinstance(value, list) else [value]
    if not texts or any(isinstance(text, str) and not text.strip() for text in texts):
        raise UserError(f"--{name} is empty: give it a value, or leave it out")


def _value(given: Any) -> Any:
    return tuple(given) if isinstance(given, list) else given


def unread_flags(config: Config, flag_values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Flags that were given but that the mode does not read, to be told to the user."""
    return [
        flag_name(f)
        for f in fields()
        if flag_values[flag_name(f)].present and config.run.mode not in f.metadata["modes"]
    ]


def _check_qat(config: Config) -> None:
    for name in ("freeze", "lr_multipliers"):
        if getattr(config.tuning, name):
            raise UserError(f"--qat trains every layer at one rate; leave --{name} out")
    if not config.run.init_checkpoint:
        raise UserError("--qat starts from a trained float network: give --init_checkpoint")
    if config.run.precision != "float32":
        raise UserError(f"--qat simulates int8 in float32; --precision={config.run.precision} does not go with it")
    if config.fit.recalibrate_batches:
        raise UserError("--qat keeps batch norm's statistics in step with the ranges; leave --recalibrate_batches at 0")


def _check_export(config: Config, given: frozenset[str]) -> None:
    formats = config.export.formats
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"--formats={','.join(formats)}: {name!r} is none of {', '.join(FORMATS)}")
    if not formats or len(set(formats)) != len(formats):
        raise UserError(
            f"--formats={','.join(formats)}: accepted: each of {', '.join(FORMATS)} at most once, one at least"
        )
    if "tflite_int8" in formats and not (config.export.calibration_dataset or config.data.dataset):
        raise UserError("--formats=tflite_int8 needs images to set its ranges: give --calibration_dataset or --dataset")
    if "tflite_int8" not in formats:
        _refuse_calibration(given, "--formats=tflite_int8")
    for name in ("tflite_input", "max_accuracy_drop"):
        if name in given and not any(f.startswith("tflite") for f in formats):
            raise UserError(f"--{name} is for TFLite files; --formats={','.join(formats)} asks for none")
    if not config.data.dataset:
        _refuse_without_dataset(config, given)


def _refuse_calibration(given: frozenset[str], reader: str) -> None:
    for name in ("calibration_dataset", "calibration_images"):
        if name in given:
            raise UserError(f"--{name} is for {reader}, which is not asked for")


def target_of(search: SearchConfig) -> tuple[str, float] | None:
    """The budget that was asked for: its flag and value."""
    given = [("target_macs", search.target_macs), ("target_latency_ms", search.target_latency_ms)]
    return next(((name, value) for name, value in given if value is not None), None)


def _check_cost(search: SearchConfig) -> None:
    """What the search charges for, what it reads for that, and its target go together."""
    if search.target_macs is not None and search.target_latency_ms is not None:
        raise UserError("--target_macs and --target_latency_ms are both given; accepted: one of them")
    if search.cost == "latency" and not search.latency_table:
        raise UserError("--cost=latency needs --latency_table: a table that --mode=profile made on the target")
    if search.cost == "macs" and search.latency_table:
        raise UserError("--latency_table needs --cost=latency")
    target = target_of(search)
    if target and target[0] != {"macs": "target_macs", "latency": "target_latency_ms"}[search.cost]:
        other = "latency" if search.cost == "macs" else "macs"
        raise UserError(f"--{target[0]} does not go with --cost={search.cost}; accepted: --cost={other}")


def _refuse_without_dataset(config: Config, given: frozenset[str]) -> None:
    """Flags that say which images, in an export that is given none."""
    if "max_accuracy_drop" in given:
        raise UserError("--max_accuracy_drop needs --dataset, whose validation images measure it")
    for name in ("data_dir", "skip_corrupt", "validation_fraction", "eval_batch_size"):
        if name in ("data_dir", "skip_corrupt") and config.export.calibration_dataset:
            continue
        if name in given:
            raise UserError(f"--{name} needs --dataset in --mode=export")


def _require(config: Config, *names: str) -> None:
    settings = config.settings()
    for name in names:
        if not settings[name]:
            text = next(field.metadata["help"] for field in fields() if flag_name(field) == name)
            raise UserError(f"--mode={config.run.mode} needs --{name}: {text}")


def check_pixels(images: int, image_size: int, flag: str, most: int) -> None:
    """Raises UserError where that many square images, held at once, have more than `most` pixels together."""
    if images * image_size**2 > most:
        raise UserError(
            f"--{flag}={images}: at {image_size} px more than {most:,} pixels at once; accepted: at most "
            f"{most // image_size**2} at that size"
        )


def check_batches_fit(data: DataConfig, image_size: int) -> None:
    """Raises UserError for batches of more pixels than are held at once."""
    for name in ("train_batch_size", "eval_batch_size"):
        if getattr(data, name) is not None:
            check_pixels(getattr(data, name), image_size, name, limits.MOST_BATCH_PIXELS)


def _check_sizes(config: Config) -> None:
    """Flags that are within their ranges, but not together."""
    data, size = config.data, config.network.input_image_size
    for name in ("mixup_alpha", "cutmix_alpha"):
        if 0 < getattr(config.tuning, name) < 0.001:
            raise UserError(f"--{name}={getattr(config.tuning, name)}: accepted: 0, or 0.001 to 100")
    if size is not None:
        check_batches_fit(data, size)
        if config.run.mode == "export" and "tflite_int8" in config.export.formats:
            most = limits.MOST_CALIBRATION_PIXELS
            check_pixels(config.export.calibration_images, size, "calibration_images", most)


def _check(config: Config, given: frozenset[str]) -> None:
    run, fit, search = config.run, config.fit, config.search
    if run.mode is None:
        raise UserError(f"--mode is required; accepted: {', '.join(MODES)}")
    for name, value in config.settings().items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{name}={value}: accepted: a finite number")
    required = {
        "search": ("model_dir", "dataset"),
        "train": ("model_dir", "dataset", "arch"),
        "eval": ("dataset",),
        "predict": ("images",),
        "export": ("export_dir",),
        "convert": ("init_checkpoint", "model_dir"),
        "explain": ("images", "explain_dir"),
        "describe": (),
        "compare": ("arch",),
        "profile": ("model_dir",),
        "report": ("model_dir",),
    }
    _require(config, *required[run.mode])
    if run.mode == "describe" and (config.network.arch is None) != ("search_space" in given):
        raise UserError("--mode=describe needs --arch, a network, or --search_space, a space; accepted: one of the two")
    if run.mode in ("eval", "predict", "export", "explain") and not (run.init_checkpoint or run.model_dir):
        raise UserError(f"--mode={run.mode} needs weights: give --init_checkpoint or --model_dir")
    if run.mode in ("eval", "predict", "export", "explain") and run.init_checkpoint and run.model_dir:
        raise UserError(f"--mode={run.mode} takes weights from --init_checkpoint or --model_dir; both are given")
    for name in (
        "model_dir",
        "init_checkpoint",
        "export_dir",
        "predictions_out",
        "picture",
        "explain_dir",
        "report_dir",
    ):
        if "://" in (getattr(run, name) or ""):
            raise UserError(f"--{name}={getattr(run, name)}: not a local path; copy to or from a bucket yourself")
    if fit.train_steps is not None and fit.train_epochs is not None:
        raise UserError(
            "--train_steps and --train_epochs are both given (a --flagfile may hold one); accepted: one of them"
        )
    if fit.lr_warmup_steps is not None and fit.lr_warmup_epochs is not None:
        raise UserError(
            "--lr_warmup_steps and --lr_warmup_epochs are both given (a --flagfile may hold one); accepted: one of them"
        )
    cut = fit.micro_batches not in (AUTO, 1)
    if cut and fit.sync_batch_norm:
        raise UserError(
            f"--micro_batches={fit.micro_batches} does not go with --sync_batch_norm: micro-batches come one after the "
            "other, each with statistics of its own; accepted: one of the two"
        )
    if fit.qat and (cut or fit.sync_batch_norm):
        raise UserError("--qat does not go with --micro_batches or --sync_batch_norm")
    service = config.data.data_service
    if service is not None:
        if not service.startswith("grpc://"):
            raise UserError(f"--data_service={service}: accepted: grpc://HOST:PORT, the address of a dispatcher")
        cluster.check_address(service.removeprefix("grpc://"), f"--data_service={service}: its address")
    if run.mode == "export":
        _check_export(config, given)
    if run.mode == "train":
        _check_qat(config) if fit.qat else _refuse_calibration(given, "--qat")
    if config.data.check_images == "none" and config.data.skip_corrupt:
        raise UserError("--skip_corrupt does not go with --check_images=none, which looks for no bad image")
    if config.data.augment != "randaugment":
        for name in ("randaugment_layers", "randaugment_magnitude"):
            if name in given:
                raise UserError(f"--{name} needs --augment=randaugment")
    if run.tpu is None and (run.tpu_zone or run.gcp_project):
        raise UserError("--tpu_zone and --gcp_project need --tpu")
    if run.tpu is None and run.strategy == "tpu":
        raise UserError("--strategy=tpu needs --tpu: a TPU's name, grpc://ADDRESS, or local on a TPU VM")
    if run.tpu is not None and run.strategy not in ("auto", "tpu"):
        raise UserError(f"--tpu does not go with --strategy={run.strategy}; accepted: auto, tpu")
    automatic = run.strategy == "auto" and run.tpu is None and "TF_CONFIG" in os.environ
    if run.mode in ("search", "train", "eval") and (automatic or run.strategy == "multiworker"):
        cluster.from_environment()
    if run.precision == "float16" and (run.tpu is not None or run.strategy == "tpu"):
        raise UserError("--precision=float16 is not for TPUs; accepted there: float32, bfloat16")
    if fit.on_nan == "stop" and "max_skipped_updates" in given:
        raise UserError("--max_skipped_updates needs --on_nan=skip")
    if search.search_warmup_share + search.search_settle_share >= 1:
        raise UserError(
            "--search_warmup_share and --search_settle_share must leave a share for decisions; accepted: below 1 in all"
        )
    if run.mode == "search":
        if config.network.arch and not run.init_checkpoint:
            raise UserError(
                f"--arch={config.network.arch}: in a search the network that the weights of --init_checkpoint are of, "
                "which is not given; what may be chosen is --search_space"
            )
        _check_cost(search)
        if search.search_split and cut:
            raise UserError("--search_split does not go with --micro_batches above 1: a step's two batches stay whole")
        if search.search_split and run.precision == "float16":
            raise UserError(
                "--search_split does not go with --precision=float16: the thresholds' gradients, of the unscaled loss, "
                "would underflow; accepted: float32, bfloat16"
            )
    if config.network.nonlocal_ and not config.network.arch:
        raise UserError(
            f"--nonlocal={config.network.nonlocal_} needs --arch; a checkpoint's own blocks stay as they are"
        )
    if run.picture and pathlib.Path(run.picture).suffix != ".png":
        raise UserError(f"--picture={run.picture}: must end in .png")
    _check_sizes(config)
    if run.mode == "convert" and run.from_ == "pytorch" and not config.network.arch:
        raise UserError("--from=pytorch needs --arch: a state dictionary does not say its architecture")
    multiplier = config.network.depth_multiplier
    if run.mode == "convert" and run.from_ == "pytorch" and multiplier not in (None, 1.0):
        raise UserError(f"--depth_multiplier={multiplier}: not with --from=pytorch")
    if run.mode == "convert" and run.from_ == "pytorch" and "use_averages" in given:
        raise UserError("--use_averages does not go with --from=pytorch: such a file holds one set of weights")
    if run.predictions_out and pathlib.Path(run.predictions_out).suffix not in (".npz", ".csv"):
        raise UserError(f"--predictions_out={run.predictions_out}: must end in .npz or .csv")
