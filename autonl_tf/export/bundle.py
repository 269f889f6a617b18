"""Everything an export consists of, made aside, verified, and only then put in place.

EXPORT_DIR/saved_model/1/      SavedModel in TF-Serving's layout: model base path saved_model, version 1
EXPORT_DIR/model_fp32.tflite
EXPORT_DIR/labels.txt
EXPORT_DIR/card.json, card.md
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tf_keras as keras

from autonl_tf.data import images as image_ops
from autonl_tf.errors import UserError
from autonl_tf.export import card, tflite, verify
from autonl_tf.export.saved_model import export_saved_model

SAVED_MODEL = "saved_model/1"
TFLITE_FP32 = "model_fp32.tflite"


def export_all(
    model: keras.Model,
    spec_text: str,
    export_dir: str | Path,
    *,
    image_size: int,
    class_names: Sequence[str],
    sample_float_images: np.ndarray,
    sample_encoded_images: Sequence[bytes],
    accuracy: Mapping[str, object] | None,
    cost: Mapping[str, float],
    weights: Mapping[str, object] | None = None,
    depth_multiplier: float = 1.0,
    crop_padding: int = image_ops.CROP_PADDING,
    tolerance: float = verify.DEFAULT_TOLERANCE,
) -> dict:
    """Exports, verifies and describes a network; `export_dir` is as it was if any of that fails.

    An earlier export there is replaced as a whole (two renames); files that no export wrote are left alone.

    Args:
      model: normalised images [B, S, S, 3] to logits [B, K], holding the weights to export.
      spec_text, depth_multiplier, cost, accuracy, weights: for the card, see `card.Description`.
      image_size: S.
      crop_padding: of the centre crop that encoded images get.
      class_names: K names in label order.
      sample_float_images: [N, S, S, 3], scale of 0 to 255, N at least 1: what the files are verified on.
      sample_encoded_images: the bytes of at least one image file, likewise.
      tolerance: largest difference accepted, see `verify`.

    Returns:
      The object in card.json, and `export_dir`.

    Raises:
      UserError: `export_dir` holds other files or cannot be written; class names do not fit the model; a
        sample cannot be decoded; a file differs from the model by more than the tolerance.
      ValueError: arguments that do not fit each other.
    """
    check_export_dir(export_dir)
    if len(class_names) != model.output_shape[-1]:
        raise UserError(f"{len(class_names)} class names for a model of {model.output_shape[-1]} classes")
    description = card.Description(
        spec_text, depth_multiplier, image_size, crop_padding, tuple(class_names), cost, accuracy, weights
    )
    reference = verify.make_reference(
        model, sample_float_images, sample_encoded_images, image_size=image_size, crop_padding=crop_padding
    )
    with _staged(export_dir) as directory:
        try:
            report = _fill(directory, model, description, reference, tolerance)
        except UserError as error:
            raise UserError(f"{error}; nothing exported to {export_dir}") from error
    return {**report, "export_dir": str(export_dir)}


def _fill(
    directory: Path,
    model: keras.Model,
    description: card.Description,
    reference: verify.Reference,
    tolerance: float,
) -> dict:
    size, names = description.image_size, description.class_names
    card.write_labels(directory / card.LABELS, names)
    export_saved_model(
        model,
        directory / SAVED_MODEL,
        image_size=size,
        class_names=names,
        crop_padding=description.crop_padding,
    )
    agreements = verify.verify_saved_model(
        directory / SAVED_MODEL, reference, class_names=names, tolerance=tolerance, artifact=SAVED_MODEL
    )
    graph = tflite.convert_fp32(model, directory / TFLITE_FP32, image_size=size)
    agreements.append(
        verify.verify_tflite(directory / TFLITE_FP32, reference, tolerance=tolerance, artifact=TFLITE_FP32)
    )
    return card.write_card(
        directory,
        description,
        saved_model_path=SAVED_MODEL,
        tflite_path=TFLITE_FP32,
        graph=graph,
        agreements=agreements,
        tolerance=tolerance,
    )


def check_export_dir(export_dir: str | Path) -> None:
    """Raises UserError unless an export may go there: it is missing, empty, or an earlier export."""
    if "://" in str(export_dir):
        raise UserError(f"--export_dir={export_dir}: not a local directory; export locally and copy it there")
    path = Path(export_dir)
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(
            f"--export_dir={export_dir}: is a file; accepted: a new or empty directory, or an earlier export"
        )
    present = card.files_in(path)
    if not present:
        return
    known = _files_of_export(path)
    strangers = [name for name in present if name not in known]
    if strangers:
        raise UserError(
            f"--export_dir={export_dir}: holds {strangers[0]}, which no export wrote; "
            "accepted: a new or empty directory, or an earlier export"
        )


def _files_of_export(path: Path) -> set[str]:
    """The files that the card of an earlier export lists, and the card; empty without a card of ours."""
    try:
        facts = json.loads((path / card.CARD_JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    if not isinstance(facts, dict) or facts.get("format") != card.FORMAT:
        return set()
    return {card.CARD_JSON, *facts.get("files", ())}


@contextlib.contextmanager
def _staged(export_dir: str | Path) -> Iterator[Path]:
    """A new directory beside `export_dir` that takes its place if the block ends well and vanishes if not."""
    target = Path(export_dir).resolve()
    missing = [folder for folder in target.parents if not folder.exists()]
    staging = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"--export_dir={export_dir}: cannot be written: {error.strerror}") from error
    try:
        yield staging
        check_export_dir(export_dir)  # it may have changed in the meantime
        _put_in_place(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in missing:
            with contextlib.suppress(OSError):  # not empty any more: someone else uses it
                folder.rmdir()
        raise


def _put_in_place(staging: Path, target: Path) -> None:
    if not target.exists() or not any(target.iterdir()):
        os.replace(staging, target)
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    os.replace(target, old)
    try:
        os.replace(staging, target)
    except BaseException:
        os.replace(old, target)
        raise
    shutil.rmtree(old)
