"""The flags of an export, beside the directory it goes to."""

from __future__ import annotations

import dataclasses

from absl import flags

from autonl_tf.flag_values import DEFAULT_FORMATS, FORMATS
from autonl_tf.setting import define_path, flag


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What an export holds, and what it may lose."""

    formats: tuple[str, ...] = flag(
        flags.DEFINE_list,
        ",".join(DEFAULT_FORMATS),
        f"Formats to export: {', '.join(FORMATS)}. tflite_qat needs a checkpoint trained with --qat.",
        modes=("export",),
    )
    tflite_input: str = flag(
        flags.DEFINE_enum,
        "auto",
        "Type of the pixels that TFLite files take; auto: uint8 for tflite_int8 and tflite_qat, float32 for the "
        "others.",
        modes=("export",),
        enum_values=("auto", "uint8", "float32"),
    )
    max_accuracy_drop: float = flag(
        flags.DEFINE_float,
        None,
        "Points of top-1 that a TFLite file may lose on --dataset's validation images against the checkpoint; "
        "tflite_qat is compared with its float weights and with its simulated int8. Default: 1 and one standard error "
        "of the loss, since a few images more or less are chance.",
        modes=("export",),
        lower_bound=0.0,
        upper_bound=100.0,
    )
    calibration_dataset: str = flag(
        define_path,
        None,
        "Images that set the ranges of tflite_int8, and those that --qat starts from; labels are not used. "
        "folder:PATH (any directory of images), or as --dataset. Default: --dataset's training images.",
        modes=("export", "train"),
        behind_kind=True,
    )
    calibration_images: int = flag(
        flags.DEFINE_integer,
        256,
        "Largest number of images of --calibration_dataset to use.",
        modes=("export", "train"),
        lower_bound=1,
        upper_bound=100_000,
    )
