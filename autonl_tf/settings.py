"""Every flag, defined once: the fields of frozen dataclasses, each with its help, bounds and the modes that read it.

Names are those of the official code and its ancestors where it has one. Renamed on purpose: `--cost_lambda` (was
runtime_lambda_val), `--steps_per_loop` (was iterations_per_loop), `--augment`, `--randaugment_layers` and
`--randaugment_magnitude` (were augment_name, randaug_num_layers and randaug_magnitude).
"""

from __future__ import annotations

import dataclasses

from absl import flags

from autonl_tf import flag_values, limits
from autonl_tf.setting import define_path
from autonl_tf.setting import flag as _flag
from autonl_tf.settings_export import ExportConfig
from autonl_tf.settings_fit import FitConfig
from autonl_tf.settings_search import ProfileConfig, SearchConfig
from autonl_tf.settings_tuning import TuningConfig

MODES = (
    *("search", "train", "eval", "predict", "export", "convert"),
    *("describe", "compare", "explain", "profile", "report"),
)

_ALL = MODES
_FIT = ("search", "train")
_DATA = ("search", "train", "eval")
_IMAGES = (*_DATA, "predict", "export", "explain")
_MODEL = ("train", "eval", "predict", "export", "convert", "explain")
_SIZE = (*_DATA, "profile", "predict", "export", "convert", "explain", "describe", "compare")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What to do, where, on what."""

    mode: str = _flag(flags.DEFINE_enum, None, "What to do.", modes=_ALL, enum_values=MODES)
    model_dir: str = _flag(
        define_path,
        None,
        "Run directory. search, train and profile write it, and the same command resumes there; convert writes it; "
        "the other modes read it.",
        modes=("search", "profile", "report", *_MODEL),
        for_tensorflow=True,
        written=True,
    )
    compare_with: str = _flag(
        define_path,
        None,
        "The run directory of a second search, to compare with --model_dir.",
        modes=("report",),
    )
    init_checkpoint: str = _flag(
        define_path,
        None,
        "Weights to start from or to use: a run directory (a search's too), a checkpoint's prefix, the official "
        "release's (DIR/bestmodel.ckpt or its directory), an exported directory, a file that tf_keras saved of a "
        "network (.keras, .h5, .weights.h5, a SavedModel or a checkpoint, with --arch), or imagenet: published "
        "weights of --arch from an installed package. Non-local blocks that are missing there start as the identity. "
        "A search takes the weights of any member of its space. Default: those in --model_dir; a search starts from "
        "random weights.",
        modes=("search", *_MODEL),
        for_tensorflow=True,
    )
    from_: str = _flag(
        flags.DEFINE_enum,
        "official",
        "What convert reads: a checkpoint of the official release, or a state dictionary of its PyTorch port (.pt, "
        ".pth, .safetensors), which needs --arch, and --input_image_size where that is not 224.",
        modes=("convert",),
        enum_values=("official", "pytorch"),
    )
    use_averages: bool = _flag(
        flags.DEFINE_bool,
        True,
        "Use a checkpoint's moving averages rather than its plain variables.",
        modes=("search", *_MODEL),
    )
    seed: int = _flag(
        flags.DEFINE_integer,
        0,
        "Seed of initial weights, data order, augmentation and gates, and of the networks that profile draws.",
        modes=(*_FIT, "profile"),
        lower_bound=0,
        upper_bound=2**31 - 1,
    )
    strategy: str = _flag(
        flags.DEFINE_enum,
        "auto",
        "Devices: auto is tpu with --tpu, multiworker with TF_CONFIG, mirrored with several GPUs, else one device.",
        modes=_DATA,
        enum_values=flag_values.STRATEGIES,
    )
    jit_compile: bool = _flag(
        flags.DEFINE_bool, False, "Compile the step with XLA; for one device (a TPU always does).", modes=_DATA
    )
    tpu: str = _flag(flags.DEFINE_string, None, "TPU name or grpc:// address; 'local' on a TPU VM.", modes=_DATA)
    wait_seconds: float = _flag(
        flags.DEFINE_float,
        1800.0,
        "How long to wait for other machines before giving up: the workers of TF_CONFIG, a TPU, a data service.",
        modes=_DATA,
        lower_bound=1.0,
        upper_bound=86400.0,
    )
    tpu_zone: str = _flag(flags.DEFINE_string, None, "Zone of --tpu.", modes=_DATA)
    gcp_project: str = _flag(flags.DEFINE_string, None, "Cloud project of --tpu.", modes=_DATA)
    precision: str = _flag(
        flags.DEFINE_enum,
        "float32",
        "Type that layers compute in: bfloat16 for TPU, float16 (with a scaled loss) for GPU. Variables, checkpoints, "
        "batch-norm statistics, LightNL's product, logits and loss are always float32.",
        modes=_DATA,
        enum_values=tuple(flag_values.POLICIES),
    )
    images: str = _flag(
        define_path,
        None,
        "Image files: a path, a directory or a glob.",
        modes=("predict", "explain"),
    )
    predictions_out: str = _flag(
        define_path,
        None,
        "File to write: a .npz with `files` and `logits` [N, classes], or a .csv with the best classes.",
        modes=("predict",),
        written=True,
    )
    explain_dir: str = _flag(
        define_path,
        None,
        "Directory where explain writes one picture per image.",
        modes=("explain",),
    )
    query_points: str = _flag(
        flags.DEFINE_string,
        "0.25:0.25,0.5:0.5,0.75:0.75",
        "Points whose affinities explain shows: X:Y as shares of width and height, separated by commas.",
        modes=("explain",),
    )
    report_dir: str = _flag(
        define_path,
        None,
        "Directory where eval writes per-class accuracy, the confusion matrix and the most confident mistakes.",
        modes=("eval",),
    )
    picture: str = _flag(
        define_path,
        None,
        "PNG file to draw the network or networks into.",
        modes=("describe", "compare"),
        written=True,
    )
    export_dir: str = _flag(
        define_path,
        None,
        "Directory where export writes the SavedModel and the TFLite files.",
        modes=("export",),
        for_tensorflow=True,
        written=True,
    )
    output: str = _flag(
        flags.DEFINE_enum,
        "text",
        "Text for people, or JSON on standard output: one object, or one per line (predict).",
        modes=("describe", "compare", "eval", "predict"),
        enum_values=("text", "json"),
    )


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Which network."""

    arch: str = _flag(
        define_path,
        None,
        "autonl_s or another name of docs/zoo.md, an architecture file, or a search's directory. Except in train, the "
        "default is the checkpoint's (for an official one, the arch.txt beside it). describe also takes all, for "
        "every network of docs/zoo.md, and a .tflite file, whose types and scales it shows. compare takes several, "
        "separated by commas or as separate words. search takes the network of --init_checkpoint, where that does not "
        "name it itself.",
        modes=("search", *_MODEL, "describe", "compare"),
        several=True,
    )
    nonlocal_: str = _flag(
        flags.DEFINE_string,
        None,
        "Non-local blocks to place in --arch instead of its own: none, all:0.25-1 (LightNL with channel ratio 0.25 "
        "and stride 1 in every block), 3,7:0.25-2, or all:embedded0.5-2 (the conventional block).",
        modes=(*_MODEL, "describe", "compare"),
    )
    input_image_size: int = _flag(
        flags.DEFINE_integer,
        None,
        "Side of the input in pixels. Default: the checkpoint's (224 for an official one), else the size of the "
        "dataset's images if they all have one, else the size at which the network of --arch was published "
        "(docs/zoo.md), else 224.",
        modes=_SIZE,
        lower_bound=limits.IMAGE_SIZE[0],
        upper_bound=limits.IMAGE_SIZE[1],
    )
    num_label_classes: int = _flag(
        flags.DEFINE_integer,
        None,
        "Number of classes. Default: the checkpoint's or the dataset's; 1000 for describe and profile.",
        modes=_SIZE,
        lower_bound=limits.CLASSES[0],
        upper_bound=limits.CLASSES[1],
    )
    depth_multiplier: float = _flag(
        flags.DEFINE_float,
        None,
        "Scales every block's filters, rounded to multiples of 8. Default: the checkpoint's, else 1.",
        modes=(*_MODEL, "describe", "compare"),
        lower_bound=limits.DEPTH_MULTIPLIER[0],
        upper_bound=limits.DEPTH_MULTIPLIER[1],
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
        define_path,
        None,
        "demo (built in), demo:texture, folder:PATH, tfds:NAME or imagenet_tfrecord:PATH.",
        modes=(*_DATA, "export"),
        behind_kind=True,
    )
    data_dir: str = _flag(
        define_path,
        None,
        "Directory where TFDS and the built-in dataset keep prepared data.",
        modes=(*_DATA, "export"),
        for_tensorflow=True,
    )
    label_file: str = _flag(
        define_path,
        None,
        "Class names in label order: the first word of each line, or the whole line where the data's names contain "
        "spaces. 'imagenet' stands for the synsets of ImageNet's 1000 classes.",
        modes=(*_DATA, "predict", "export", "convert", "explain"),
    )
    validation_fraction: float = _flag(
        flags.DEFINE_float,
        0.1,
        "Share of the images held out for validation, by a hash of the file name, where a folder has no validation "
        "split.",
        modes=(*_DATA, "export"),
        lower_bound=0.001,
        upper_bound=0.9,
    )
    test_split: float = _flag(
        flags.DEFINE_float,
        None,
        "Share of the validation images to set aside and score once, at the end of training; the best copy is chosen "
        "on the others. A test split that the data already has is scored without this flag.",
        modes=("train",),
        lower_bound=0.001,
        upper_bound=0.9,
    )
    skip_corrupt: bool = _flag(
        flags.DEFINE_bool,
        False,
        "Leave out images that cannot be used, and count them by fault, instead of stopping.",
        modes=_IMAGES,
    )
    max_pixels: int = _flag(
        flags.DEFINE_integer,
        120_000_000,
        "Refuse images of more pixels (height times width) before they are decoded, in an export's SavedModel too.",
        modes=_IMAGES,
        lower_bound=1,
        upper_bound=250_000_000,
    )
    exif_orientation: bool = _flag(
        flags.DEFINE_bool,
        True,
        "Rotate photographs as their EXIF data say, as viewers do. --noexif_orientation reads them as the release "
        "does, and reproduces its published accuracy to the bit.",
        modes=_IMAGES,
    )
    check_images: str = _flag(
        flags.DEFINE_enum,
        "new",
        "Which images of class folders and of small record sets to decode once before use: new (those that have "
        "changed since the run directory last saw them), full (all), or none (a bad image is found only when it is "
        "read).",
        modes=(*_DATA, "export"),
        enum_values=("new", "full", "none"),
    )
    shard_by_file: bool = _flag(
        flags.DEFINE_bool, False, "Each process of a cluster reads record files of its own, if it can.", modes=_FIT
    )
    data_service: str = _flag(
        flags.DEFINE_string, None, "tf.data service that prepares training images: grpc://HOST:PORT.", modes=_FIT
    )
    train_batch_size: int = _flag(
        flags.DEFINE_integer,
        None,
        "Images per step over all replicas. The published recipe uses 4096 (search: 1024). Default: a power of two "
        "near the square root of the number of images, from 16 to 256.",
        modes=_FIT,
        lower_bound=1,
        upper_bound=limits.BATCH[1],
    )
    eval_batch_size: int = _flag(
        flags.DEFINE_integer,
        128,
        "Images per evaluation batch over all replicas.",
        modes=("train", "eval", "predict", "export", "explain"),
        lower_bound=1,
        upper_bound=limits.BATCH[1],
    )
    crop_padding: int = _flag(
        flags.DEFINE_integer,
        None,
        "Evaluation crops the centre size/(size+this) of the shorter side; 0 takes all of it, for small images. "
        "Default: the checkpoint's at its own size, else 0 below 128 px and the release's 32 otherwise.",
        modes=(*_FIT, "eval", "predict", "export", "convert", "explain"),
        lower_bound=limits.CROP_PADDING[0],
        upper_bound=limits.CROP_PADDING[1],
    )
    min_crop_area: float = _flag(
        flags.DEFINE_float,
        None,
        "Smallest share of the image's area that a training crop keeps. Default: 0.5 below 128 px, and the published "
        "0.08 otherwise.",
        modes=_FIT,
        lower_bound=0.01,
        upper_bound=1.0,
    )
    augment: str = _flag(
        flags.DEFINE_enum,
        "none",
        "Augmentation after crop and flip: AutoAugment's ImageNet policy, or RandAugment.",
        modes=_FIT,
        enum_values=flag_values.AUGMENTATIONS,
    )
    randaugment_layers: int = _flag(
        flags.DEFINE_integer,
        2,
        "Operations that RandAugment applies to an image.",
        modes=_FIT,
        lower_bound=1,
        upper_bound=16,
    )
    randaugment_magnitude: int = _flag(
        flags.DEFINE_integer,
        9,
        "Level of RandAugment's operations; 10 is the strongest of AutoAugment's.",
        modes=_FIT,
        lower_bound=0,
        upper_bound=30,
    )


GROUPS = {
    "run": RunConfig,
    "network": NetworkConfig,
    "data": DataConfig,
    "fit": FitConfig,
    "tuning": TuningConfig,
    "search": SearchConfig,
    "export": ExportConfig,
    "profile": ProfileConfig,
}


def flag_name(field: dataclasses.Field | str) -> str:
    """The flag of a field: its name, without the underscore behind a Python keyword."""
    return (field if isinstance(field, str) else field.name).removesuffix("_")


def fields() -> list[dataclasses.Field]:
    """All flags, group by group."""
    return [field for group in GROUPS.values() for field in dataclasses.fields(group)]
