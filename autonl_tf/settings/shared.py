"""The flags that several commands read, and what must hold between them.

Names are those of the official code and its ancestors where it has one. Renamed on purpose: `--cost_lambda` (was
runtime_lambda_val), `--steps_per_loop` (was iterations_per_loop), `--augment`, `--randaugment_layers` and
`--randaugment_magnitude` (were augment_name, randaug_num_layers and randaug_magnitude).
"""

from __future__ import annotations

import os
import pathlib

from autonl_tf import cluster, flag_values, limits
from autonl_tf.data.reading import MAX_PIXELS
from autonl_tf.errors import UserError
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import choice, path, real, switch, text, whole

FIT = ("search", "train")
DATA = ("search", "train", "eval")
IMAGES = (*DATA, "predict", "export", "explain")
MODEL = ("train", "eval", "predict", "export", "convert", "explain")
SIZE = (*DATA, "profile", "predict", "export", "convert", "explain", "describe", "compare")

_WEIGHTS = (
    "a run directory, a checkpoint's prefix, an official checkpoint (DIR/bestmodel.ckpt or its "
    "directory), an exported directory, what tf_keras saved of --arch (docs/api.md), or imagenet (published weights of "
    "--arch, from an installed package)."
)
_IDENTITY = "Non-local blocks that the weights lack start as the identity."
_ARCH = "A name of docs/zoo.md (autonl_s, ...), an architecture file, or a search's directory."
_PUBLISHED_SIZE = "else the size at which --arch was published (docs/zoo.md), else 224."
_OWN_BATCH = "Default: a power of two from 16 to 256, near the square root of the number of images."
_ANY_IMAGES = "folder:PATH (any directory of images), or as --dataset."
_NO_LABELS = "Labels are not used. Default: the training images of --dataset."
USES_WEIGHTS = ("eval", "predict", "export", "explain")


RUN_FLAGS = (
    path("model_dir", for_tensorflow=True, written=True, modes=("search", "profile", "report", *MODEL)).help(
        "Run directory. search, train and profile write it, and the same command resumes there; convert writes it; "
        "the other modes read it.",
        **dict.fromkeys((*FIT, "profile"), "Run directory to write; the same command resumes there."),
        **dict.fromkeys(USES_WEIGHTS, "Run directory whose weights to use."),
        convert="Run directory to write.",
        report="Run directory of a finished search.",
    ),
    path("init_checkpoint", for_tensorflow=True, modes=("search", *MODEL)).help(
        f"Weights to start from or to use: {_WEIGHTS} {_IDENTITY} A search takes the weights of any member of its "
        "space. Default: those in --model_dir; search and train start from random weights.",
        train=f"Weights to start from: {_WEIGHTS} {_IDENTITY} Default: random weights.",
        search=f"Weights to start from, of any member of the space: {_WEIGHTS} Default: random weights.",
        **dict.fromkeys(USES_WEIGHTS, f"Weights to use in place of --model_dir: {_WEIGHTS} {_IDENTITY}"),
        convert="Checkpoint to convert: the official release's (DIR/bestmodel.ckpt or its directory) or, with "
        "--from=pytorch, a state dictionary of its PyTorch port.",
    ),
    switch("use_averages", True, modes=("search", *MODEL)).help(
        "Use a checkpoint's moving averages rather than its plain variables."
    ),
    whole("seed", 0, (0, 2**31 - 1), modes=(*FIT, "profile")).help(
        "Seed of initial weights, data order, augmentation and gates, and of the networks that profile draws.",
        train="Seed of initial weights, data order, augmentation and dropout.",
        search="Seed of initial weights, data order, augmentation and gates.",
        profile="Seed of the random networks that are measured.",
    ),
    choice("strategy", "auto", flag_values.STRATEGIES, modes=DATA).help(
        "Devices; auto: tpu with --tpu, multiworker with TF_CONFIG, mirrored with several GPUs, else one device."
    ),
    switch("jit_compile", False, modes=DATA).help("Compile the step with XLA, on one device (a TPU always does)."),
    text("tpu", modes=DATA).help("TPU name or grpc:// address; 'local' on a TPU VM."),
    real("wait_seconds", 1800.0, (1.0, 86400.0), modes=DATA).help(
        "Seconds to wait for workers, a TPU or a data service."
    ),
    text("tpu_zone", modes=DATA).help("Zone of --tpu."),
    text("gcp_project", modes=DATA).help("Cloud project of --tpu."),
    choice("precision", "float32", tuple(flag_values.POLICIES), modes=DATA).help(
        "Type that layers compute in. Variables, batch-norm statistics, LightNL, logits and loss stay float32."
    ),
    path("images", modes=("predict", "explain")).help("Image files: a path, a directory or a glob."),
    path("output", written=True, modes=("eval", "predict", "export", "explain", "describe", "compare")).help(
        "Where to write:",
        export="Directory of the SavedModel and the TFLite files.",
        eval="Directory of per-class accuracy, the confusion matrix and the most confident mistakes.",
        explain="Directory of one picture per image.",
        predict="A .npz with `files` and `logits` [N, classes], or a .csv with the best classes.",
        describe="A .png that shows the network.",
        compare="A .png that shows the networks.",
    ),
    switch("json", False, modes=("describe", "compare", "eval", "predict")).help(
        "Print JSON on standard output: one object, or one per line (predict).",
        predict="Print JSON on standard output, one object per image.",
        **dict.fromkeys(("describe", "compare", "eval"), "Print one JSON object on standard output."),
    ),
)

NETWORK_FLAGS = (
    path("arch", several=True, modes=("search", *MODEL, "describe", "compare")).help(
        f"{_ARCH} Except in train, the default is the checkpoint's (for an official one, the arch.txt beside it). "
        "describe also takes all, for every network of docs/zoo.md, and a .tflite file. compare takes several, "
        "separated by commas or as separate words. In search it names the network of --init_checkpoint.",
        train=_ARCH,
        search="Network of --init_checkpoint, where the checkpoint does not name it.",
        **dict.fromkeys(
            (*USES_WEIGHTS, "convert"),
            f"{_ARCH} Default: the checkpoint's (for an official one, the arch.txt beside it).",
        ),
        describe=f"{_ARCH} Also all of docs/zoo.md (all), or a .tflite file, whose types and scales it shows.",
        compare="Networks, separated by commas or as separate words: names of docs/zoo.md, architecture files, or "
        "searches' directories.",
    ),
    path("search_space", "paper", behind_kind=True, modes=("search", "profile", "describe")).help(
        "paper, demo, cifar10, the path of a space file, or around:ARCH[,kernels][,expansions][,depth][,nonlocalC-S], "
        "a space in which every block of ARCH may get LightNL, and the parts named may shrink (docs/search_space.md)."
    ),
    text("nonlocal", modes=(*MODEL, "describe", "compare")).help(
        "Non-local blocks in place of --arch's own: none, all:0.25-1 (LightNL of ratio 0.25 and stride 1 in every "
        "block), 3,7:0.25-2, or all:embedded0.5-2 (conventional)."
    ),
    whole("input_image_size", None, limits.IMAGE_SIZE, modes=SIZE).help(
        "Side of the input in pixels. Default: the checkpoint's (224 for an official one), else the side of a dataset "
        f"of smaller squares, {_PUBLISHED_SIZE}",
        **dict.fromkeys(
            FIT,
            "Side of the input in pixels. Default: the checkpoint's, else that of a dataset of smaller squares, else "
            "that of --arch (docs/zoo.md).",
        ),
        **dict.fromkeys(
            (*USES_WEIGHTS, "convert"),
            "Side of the input in pixels. Default: the checkpoint's (224 for an official one).",
        ),
        **dict.fromkeys(("describe", "compare"), f"Side of the input in pixels. Default: the run's, {_PUBLISHED_SIZE}"),
        profile="Side of the input in pixels. Default: that of the network of around:ARCH, else 224.",
    ),
    whole("num_label_classes", None, limits.CLASSES, modes=SIZE).help(
        "Number of classes. Default: the checkpoint's or the dataset's; 1000 for describe and profile.",
        **dict.fromkeys(FIT, "Number of classes. Default: the dataset's."),
        **dict.fromkeys((*USES_WEIGHTS, "convert"), "Number of classes. Default: the checkpoint's."),
        **dict.fromkeys(("describe", "compare"), "Number of classes. Default: the run's, else 1000."),
        profile="Number of classes. Default: 1000.",
    ),
    real("depth_multiplier", None, limits.DEPTH_MULTIPLIER, modes=(*MODEL, "describe", "compare")).help(
        "Multiplies the filters of the stem and the blocks. Default: the checkpoint's, else 1."
    ),
    real("dropout_rate", 0.2, (0.0, 0.99), modes=FIT).help("Share of the pooled features dropped in training."),
)

DATA_FLAGS = (
    path("dataset", behind_kind=True, modes=(*DATA, "export")).help(
        "demo, demo:texture, demo:shapes (built in), folder:PATH, tfds:NAME or imagenet_tfrecord:PATH."
    ),
    path("data_dir", for_tensorflow=True, modes=(*DATA, "export")).help(
        "Directory where TFDS and the built-in dataset keep prepared data."
    ),
    path("label_file", modes=(*DATA, "predict", "export", "convert", "explain")).help(
        "Class names in label order: the first word of each line, or the whole line where all of the data's names "
        "are whole lines; imagenet: the synsets of ImageNet's 1000 classes."
    ),
    real("validation_fraction", 0.1, (0.001, 1.0), modes=(*DATA, "export")).help(
        "Share held out if a folder or a TFDS set has no validation split."
    ),
    switch("skip_corrupt", False, modes=IMAGES).help(
        "Leave out images that cannot be used, and count them, instead of stopping."
    ),
    whole("max_pixels", MAX_PIXELS, (1, 250_000_000), modes=IMAGES).help(
        "Refuse images of more pixels before they are decoded.",
        export="Refuse images of more pixels before they are decoded, in the SavedModel too.",
    ),
    switch("exif_orientation", True, modes=IMAGES).help(
        "Rotate images by their EXIF data (the release: --noexif_orientation).",
        **dict.fromkeys(
            ("eval", "predict", "explain", "export"), "Rotate images by their EXIF data; default: as in training."
        ),
    ),
    choice("check_images", "new", ("new", "full", "none"), modes=(*DATA, "export")).help(
        "Images of folders and small record sets to decode once before use: those that are new or have changed (new), "
        "all (full), or none."
    ),
    switch("shard_by_file", False, modes=FIT).help(
        "Each process of a cluster reads record files of its own, if it can."
    ),
    text("data_service", modes=FIT).help("tf.data service that prepares training images: grpc://HOST:PORT."),
    whole("train_batch_size", None, limits.BATCH, modes=FIT).help(
        f"Images per step over all replicas; published: 4096 (search: 1024). {_OWN_BATCH}",
        train=f"Images per step over all replicas; published: 4096. {_OWN_BATCH}",
        search=f"Images per step over all replicas; published: 1024. {_OWN_BATCH}",
    ),
    whole("eval_batch_size", 128, limits.BATCH, modes=("train", "eval", "predict", "export", "explain")).help(
        "Images per evaluation batch over all replicas."
    ),
    whole(
        "crop_padding", None, limits.CROP_PADDING, modes=(*FIT, "eval", "predict", "export", "convert", "explain")
    ).help(
        "Evaluation crops the centre size/(size+this) of the shorter side. Default: the checkpoint's at its own size, "
        "else a seventh of the size, at most the release's 32, and 0 below 128 px.",
        **dict.fromkeys(
            (*USES_WEIGHTS, "convert"),
            "Evaluation crops the centre size/(size+this) of the shorter side. Default: the checkpoint's.",
        ),
    ),
    real("min_crop_area", None, (0.01, 1.0), modes=FIT).help(
        "Least area of a training crop. Default: 0.08; 0.5 below 128 px, and in a training from --init_checkpoint that "
        "is no search.",
        search="Least area of a training crop. Default: 0.08; 0.5 below 128 px.",
    ),
    choice("augment", "none", flag_values.AUGMENTATIONS, modes=FIT).help(
        "Augmentation; autoaugment is ImageNet's policy."
    ),
    whole("randaugment_layers", 2, (1, 16), modes=FIT).help("Operations that RandAugment applies to an image."),
    whole("randaugment_magnitude", 9, (0, 30), modes=FIT).help("Level of RandAugment; AutoAugment's strongest is 10."),
    path("calibration_dataset", behind_kind=True, modes=("export", "train")).help(
        f"Images that set the ranges of tflite_int8, and those that --qat starts from: {_ANY_IMAGES} {_NO_LABELS}",
        train=f"Images that set the ranges --qat starts from: {_ANY_IMAGES} Default: its training images.",
        export=f"Images that set the ranges of tflite_int8: {_ANY_IMAGES} {_NO_LABELS}",
    ),
    whole("calibration_images", 256, (1, 100_000), modes=("export", "train")).help(
        "Largest number of images of --calibration_dataset to use."
    ),
)

SECTIONS = {
    "What to read and write, on which devices.": RUN_FLAGS,
    "Which network.": NETWORK_FLAGS,
    "Which images, and how they come.": DATA_FLAGS,
}


def check(config: Config) -> None:
    """Raises UserError where these flags do not go together."""
    for name in ("model_dir", "init_checkpoint", "output"):
        if "://" in (config.values[name] or ""):
            raise UserError(f"--{name}={config.values[name]}: not a local path; copy to or from a bucket yourself")
    service = config.data_service
    if service is not None:
        if not service.startswith("grpc://"):
            raise UserError(f"--data_service={service}: accepted: grpc://HOST:PORT, the address of a dispatcher")
        cluster.check_address(service.removeprefix("grpc://"), f"--data_service={service}: its address")
    if config.check_images == "none" and config.skip_corrupt:
        raise UserError("--skip_corrupt does not go with --check_images=none, which looks for no bad image")
    if config.augment != "randaugment":
        refuse(config, "needs --augment=randaugment", "randaugment_layers", "randaugment_magnitude")
    _check_devices(config)
    if config.nonlocal_ and not config.arch:
        raise UserError(f"--nonlocal={config.nonlocal_} needs --arch; a checkpoint's own blocks stay as they are")
    if config.mode in ("describe", "compare") and config.output and pathlib.Path(config.output).suffix != ".png":
        raise UserError(f"--output={config.output}: must end in .png")
    if config.input_image_size is not None:
        check_batches_fit(config, config.input_image_size)
    if config.mode in USES_WEIGHTS:
        if not (config.init_checkpoint or config.model_dir):
            raise UserError(f"--mode={config.mode} needs weights: give --init_checkpoint or --model_dir")
        if config.init_checkpoint and config.model_dir:
            raise UserError(f"--mode={config.mode} takes weights from --init_checkpoint or --model_dir; both are given")


def _check_devices(config: Config) -> None:
    if config.tpu is None and (config.tpu_zone or config.gcp_project):
        raise UserError("--tpu_zone and --gcp_project need --tpu")
    if config.tpu is None and config.strategy == "tpu":
        raise UserError("--strategy=tpu needs --tpu: a TPU's name, grpc://ADDRESS, or local on a TPU VM")
    if config.tpu is not None and config.strategy not in ("auto", "tpu"):
        raise UserError(f"--tpu does not go with --strategy={config.strategy}; accepted: auto, tpu")
    automatic = config.strategy == "auto" and config.tpu is None and "TF_CONFIG" in os.environ
    if config.mode in DATA and (automatic or config.strategy == "multiworker"):
        cluster.from_environment()
    if config.precision == "float16" and (config.tpu is not None or config.strategy == "tpu"):
        raise UserError("--precision=float16 is not for TPUs; accepted there: float32, bfloat16")


def refuse(config: Config, why: str, *names: str) -> None:
    """Raises UserError, which says why, for the first of these flags that is given."""
    for name in names:
        if name in config.given:
            raise UserError(f"--{name} {why}")


def refuse_calibration(config: Config, reader: str) -> None:
    """Raises UserError where calibration images are given and nothing reads them."""
    refuse(config, f"is for {reader}, which is not asked for", "calibration_dataset", "calibration_images")


def check_pixels(images: int, image_size: int, flag: str, most: int) -> None:
    """Raises UserError where that many square images, held at once, have more than `most` pixels together."""
    if images * image_size**2 > most:
        raise UserError(
            f"--{flag}={images}: at {image_size} px more than {most:,} pixels at once; accepted: at most "
            f"{most // image_size**2} at that size"
        )


def check_batches_fit(config: Config, image_size: int) -> None:
    """Raises UserError for batches of more pixels than are held at once."""
    for name in ("train_batch_size", "eval_batch_size"):
        if config.values[name] is not None:
            check_pixels(config.values[name], image_size, name, limits.MOST_BATCH_PIXELS)
