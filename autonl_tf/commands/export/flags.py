"""Write a checkpoint as a SavedModel and as TFLite files, and check them."""

from __future__ import annotations

from autonl_tf import limits
from autonl_tf.errors import UserError
from autonl_tf.export.directory import check_export_dir, check_quantizer
from autonl_tf.flag_values import DEFAULT_FORMATS, FORMATS
from autonl_tf.settings import files
from autonl_tf.settings.config import Config
from autonl_tf.settings.flag import choice, real, refuse_pattern, words
from autonl_tf.settings.shared import check_pixels, refuse, refuse_calibration

FLAGS = (
    words("formats", ",".join(DEFAULT_FORMATS)).help(
        f"Formats to export: {', '.join(FORMATS)}. tflite_qat needs a checkpoint trained with --qat."
    ),
    choice("tflite_input", "auto", ("auto", "uint8", "float32")).help(
        "Type of a TFLite file's input pixels; auto: uint8 for tflite_int8 and tflite_qat, float32 for the others."
    ),
    real("max_accuracy_drop", None, (0.0, 100.0)).help(
        "Largest drop in top-1, in points, of a TFLite file against the checkpoint (tflite_qat: also against the "
        "simulated int8) on the validation images of --dataset. Default: 1 plus one standard error of the drop."
    ),
)
REQUIRED = ("output",)


def check(config: Config) -> Config:
    try:
        refuse_pattern(config.output)
    except ValueError as error:
        raise UserError(f"--output={config.output!r}: {error}") from None
    formats = config.formats
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"--formats={','.join(formats)}: {name!r} is none of {', '.join(FORMATS)}")
    if not formats or len(set(formats)) != len(formats):
        raise UserError(f"--formats={','.join(formats)}: accepted: one or more of {', '.join(FORMATS)}, each once")
    if "tflite_int8" in formats and not (config.calibration_dataset or config.dataset):
        raise UserError("--formats=tflite_int8 needs images to set its ranges: give --calibration_dataset or --dataset")
    if "tflite_int8" not in formats:
        refuse_calibration(config, "--formats=tflite_int8")
    if not any(name.startswith("tflite") for name in formats):
        why = f"is for TFLite files; --formats={','.join(formats)} asks for none"
        refuse(config, why, "tflite_input", "max_accuracy_drop")
    if not config.dataset:
        refuse(config, "needs --dataset, whose validation images measure it", "max_accuracy_drop")
        data = () if config.calibration_dataset else ("data_dir", "skip_corrupt")
        refuse(config, "needs --dataset in --mode=export", *data, "validation_fraction", "eval_batch_size")
    if config.input_image_size is not None and "tflite_int8" in formats:
        most = limits.MOST_CALIBRATION_PIXELS
        check_pixels(config.calibration_images, config.input_image_size, "calibration_images", most)
    return config


def check_files(config: Config) -> Config:
    if "tflite_int8" in config.formats:
        check_quantizer()
    config = files.check_inputs(config, config.init_checkpoint or config.model_dir).config
    files.check_apart(config, "output")
    files.check_replaced("output", config.output)
    files.check_directory("output", config.output, parents=True)
    check_export_dir(config.output)
    return config
