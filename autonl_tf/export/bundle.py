"""Everything an export consists of, made aside, verified, and only then put in place.

EXPORT_DIR/saved_model/1/      SavedModel in TF-Serving's layout: model base path saved_model, version 1
EXPORT_DIR/serving/            samples of TF-Serving's model and batching configuration
EXPORT_DIR/model_fp32.tflite, model_fp16.tflite, model_int8.tflite, model_qat.tflite
EXPORT_DIR/labels.txt
EXPORT_DIR/card.json, card.md
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tf_keras as keras

from autonl_tf.data.labels import LABELS, labels_text
from autonl_tf.errors import UserError
from autonl_tf.export import accuracy_loss, card, int8, rewrite, serving, tflite, verify
from autonl_tf.export.directory import check_export_dir
from autonl_tf.export.graph_facts import graph_facts
from autonl_tf.export.saved_model import export_saved_model
from autonl_tf.files import directory_in_place
from autonl_tf.flag_values import DEFAULT_FORMATS, SAVED_MODEL, TFLITE

_UINT8 = ("tflite_int8", "tflite_qat")  # by default


@dataclasses.dataclass(frozen=True)
class Request:
    """Which files are wanted, and what they are made and judged with.

    Attributes:
      formats: names of `flag_values.FORMATS`.
      tflite_input: `uint8`, `float32`, or `auto`: uint8 for the int8 formats.
      calibration_images: float32 [N, S, S, 3], scale of 0 to 255; needed by tflite_int8.
      quantized: the network of `networks.quantized` that tflite_qat is made of.
      held_out: batches (images [B, S, S, 3] in the scale of 0 to 255, labels [B]) that TFLite files are scored on;
        None: the encoded images, without labels.
      max_accuracy_drop: points of top-1 that a TFLite file may lose on `held_out`; None: see `accuracy_loss.check`.
    """

    formats: Sequence[str] = DEFAULT_FORMATS
    tflite_input: str = "auto"
    calibration_images: np.ndarray | None = None
    quantized: keras.Model | None = None
    held_out: Iterable | None = None
    max_accuracy_drop: float | None = None


def export_all(
    model: keras.Model,
    description: card.Description,
    export_dir: str | Path,
    encoded_images: Sequence[bytes],
    request: Request | None = None,
) -> dict:
    """Exports, verifies and describes a network; `export_dir` is as it was if any of that fails.

    An earlier export there is replaced as a whole; files that no export wrote are left alone.

    Args:
      model: normalised images [B, S, S, 3] to logits [B, K], holding the weights to export.
      encoded_images: the bytes of at least one image file: what the files are verified on; the smallest warms a server
        up.
      request: which files; by default a SavedModel and a float32 TFLite file.

    Returns:
      The object in card.json, and `export_dir`.

    Raises:
      UserError: `export_dir` holds other files or cannot be written; class names do not fit the model; an
        image cannot be decoded; a file differs from the model by more than the tolerance, or loses more top-1 than
        accepted.
    """
    request = request or Request()
    check_export_dir(export_dir)
    if (count := len(description.class_names)) != model.output_shape[-1]:
        raise UserError(f"{count} class names for a model of {model.output_shape[-1]} classes")
    reference = verify.make_reference(model, encoded_images, **description.preparation)
    with directory_in_place(export_dir) as directory:
        try:
            report = _fill(directory, model, description, reference, request)
        except UserError as error:
            raise UserError(f"{error}; nothing exported to {export_dir}") from error
        check_export_dir(export_dir)  # it may have changed in the meantime
    return {**report, "export_dir": str(export_dir)}


def _fill(
    directory: Path,
    model: keras.Model,
    description: card.Description,
    reference: verify.Reference,
    request: Request,
) -> dict:
    (directory / LABELS).write_text(labels_text(description.class_names), encoding="utf-8")
    agreements = []
    if "savedmodel" in request.formats:
        agreements += _saved_model(directory, model, description, reference)
    files = {}
    for name in (name for name in TFLITE if name in request.formats):
        files[TFLITE[name]] = path = directory / TFLITE[name]
        _convert(name, path, model, description, request)
        if name == "tflite_fp32":
            agreements.append(verify.verify_tflite(path, reference))
        if request.tflite_input == "uint8" or (request.tflite_input == "auto" and name in _UINT8):
            rewrite.take_uint8(path)
    scores = []
    if files:
        known = request.held_out is not None
        batches = request.held_out if known else [(reference.images, np.zeros(len(reference.images), int))]
        scores = accuracy_loss.score_files(
            model,
            files,
            batches,
            normalization=description.spec.normalization,
            labelled=known,
            quantized={TFLITE[name]: request.quantized for name in ("tflite_qat",) if name in request.formats},
        )
    for found in scores:
        accuracy_loss.check(found, request.max_accuracy_drop)
    return card.write_card(
        directory,
        description,
        saved_model_path=SAVED_MODEL if "savedmodel" in request.formats else None,
        graphs={name: graph_facts(path) for name, path in files.items()},
        agreements=agreements,
        scores=scores,
        max_accuracy_drop=request.max_accuracy_drop,
    )


def _saved_model(
    directory: Path, model: keras.Model, description: card.Description, reference: verify.Reference
) -> list[verify.Agreement]:
    path, names = directory / SAVED_MODEL, description.class_names
    export_saved_model(model, path, class_names=names, **description.preparation)
    found = verify.verify_saved_model(path, reference, class_names=names)
    serving.write_warmup(path, reference.encoded, reference.images)
    serving.write_configuration(directory)
    return found


def _convert(name: str, path: Path, model: keras.Model, description: card.Description, request: Request) -> None:
    """Writes one TFLite file that takes float32 images, from the network (or, of tflite_qat, its quantized form)."""
    normalization = description.spec.normalization
    if name == "tflite_fp32":
        tflite.convert_fp32(model, path, normalization=normalization)
    elif name == "tflite_fp16":
        tflite.convert_fp16(model, path, normalization=normalization)
    elif name == "tflite_qat":
        int8.convert_trained(request.quantized, path, normalization=normalization)
    else:
        source = path.with_suffix(".float")
        tflite.convert_fp32(model, source, normalization=normalization)
        int8.quantize_int8(source, path, request.calibration_images)
        source.unlink()
