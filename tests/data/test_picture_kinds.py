"""The table of docs/data.md, row by row: what is read gives a viewer's pixels in every mode, all else is refused."""

from __future__ import annotations

import dataclasses
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from picture_kinds import CASES, RGB, SIDE, bmp, encoded

from autonl_tf.arch.spec import Normalization
from autonl_tf.data import bad_images, headers, images, signatures
from autonl_tf.data.batches import eval_batches, predict_batches, usable_files
from autonl_tf.data.calibration import calibration_images
from autonl_tf.data.datasets import open_dataset
from autonl_tf.data.reading import AS_SHOWN, DAMAGED, IS_NOT_READ, Reading
from autonl_tf.errors import UserError
from autonl_tf.export.saved_model import export_saved_model

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "data.md"
AUTONL = Normalization()
READ = [case for case in CASES if case.pixels is not None]
WHOLE = {"image_size": SIDE, "crop_padding": 0, "normalization": AUTONL}  # a square image comes out as it is


def assert_shown(found: np.ndarray, cases, where: str) -> None:
    for pixels, case in zip(found, cases, strict=True):
        want = case.pixels.astype(np.float32)
        if pixels.shape != want.shape:  # larger files are resized
            continue
        error = np.abs(pixels - want).max()
        assert error < (4.5 if case.lossy else 0.01), f"{where}: {case.row} {case.data[:16]}: {error}"


def restored(normalised: np.ndarray) -> np.ndarray:
    return normalised * np.array(AUTONL.stddev, np.float32) + np.array(AUTONL.mean, np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every file that is read, in two classes, in the order of the cases."""
    root = tmp_path_factory.mktemp("kinds")
    for number, case in enumerate(READ):
        path = root / ("a" if number < len(READ) // 2 else "b") / f"{number:04d}.jpg"  # the bytes say which kind it is
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(case.data)
    return root


def test_the_table_has_a_row_for_every_kind_and_a_file_is_tried_of_every_row():
    row = r"^\| ([^|]*) \| (TensorFlow|Pillow|refused)[^|]*\| (yes|refused) \|$"
    rows = re.findall(row, DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert {row for row, _, _ in rows} == {case.row for case in CASES}
    for row, how, served in rows:
        of_row = [case for case in CASES if case.row == row]
        assert {case.pixels is None for case in of_row} == {how == "refused"}, row
        assert {case.refused == "" for case in of_row} == {served == "yes"}, row


def test_training_evaluation_prediction_and_calibration_see_what_viewers_show(folder):
    files = sorted(str(path) for path in folder.rglob("*.jpg"))
    dataset = open_dataset(f"folder:{folder}", validation_fraction=0)
    assert dataset.size("train") == len(READ)
    batches = eval_batches(dataset, batch_size=len(READ), split="train", **WHOLE)
    assert_shown(restored(next(iter(batches))[0].numpy()), READ, "evaluation")
    assert usable_files(files, image_size=SIDE, crop_padding=0) == (files, [])
    batches = predict_batches(files, batch_size=len(READ), **WHOLE)
    assert_shown(restored(next(iter(batches))[0].numpy()), READ, "prediction")
    order = np.random.default_rng(0).permutation(len(files))
    chosen = calibration_images(files, len(files), image_size=SIDE, crop_padding=0)
    assert_shown(chosen, [READ[index] for index in order], "calibration")
    train = tf.function(lambda data: images.preprocess_for_train(data, SIDE, tf.constant([1, 2])))
    for case in READ:
        same = tf.io.encode_png(case.pixels)
        if not case.lossy:
            np.testing.assert_array_equal(train(tf.constant(case.data)), train(same), case.row)


def test_the_kind_is_the_same_in_a_graph_and_of_a_file():
    starts = [bytes(offset) + signature for _, offset, signature in signatures.SIGNATURES]
    others = [
        b"",
        b"a note",
        b"P7\n1",
        b"\0\0\0\x18ftypmif1",
        b"RIFF----AVI ",
        bytes(99) + b"TRUEVISION-XFILE.\0",
        b"TRUEVISION-XFILE.\0.",
    ]
    found = []
    for data in [case.data for case in CASES] + starts + others:
        kind = headers.kind_of(tf.constant(data)).numpy().decode()
        assert signatures.kind_of(data[: signatures.HEAD], data[-18:]) == kind, data[:20]
        found.append(kind)
    assert {name for name, *_ in (*signatures.SIGNATURES, *signatures.PATTERNS)} | {"TGA", ""} == set(found)


def test_what_is_not_read_is_named_and_counted_apart_from_what_is_corrupt(folder):
    refused = [case for case in CASES if case.pixels is None]
    for case in refused:
        reason = bad_images.why_bad(case.data)
        assert re.search(case.refused, reason) and (reason.endswith(IS_NOT_READ) or "not an image" in reason)
    cut = [bad_images.why_bad(case.data[: len(case.data) * 2 // 3]) for case in READ]
    examples = [bad_images.BadExample(0, "x", reason) for reason in cut]
    assert sum(example.is_corrupt for example in examples) > 0.9 * len(READ)  # an animation may be whole by then


def test_a_saved_model_sees_the_same_or_refuses_by_the_header(tmp_path):
    model = keras.Sequential([keras.Input([SIDE, SIDE, 3]), keras.layers.Flatten()])
    names = [str(number) for number in range(SIDE * SIDE * 3)]
    export_saved_model(model, tmp_path, class_names=names, crop_padding=0, normalization=AUTONL)
    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    served = [case for case in READ if not case.refused]
    logits = serve(image_bytes=tf.constant([case.data for case in served]))["logits"].numpy()
    assert_shown(restored(logits.reshape([-1, SIDE, SIDE, 3])), served, "SavedModel")
    for case in CASES:
        if case.refused:
            with pytest.raises(tf.errors.InvalidArgumentError, match=case.refused):
                serve(image_bytes=tf.constant([case.data]))


def test_pixels_that_begin_within_the_header_are_refused_where_pillow_is_not():
    misplaced = encoded(RGB, "BMP")[:10] + bytes(4) + encoded(RGB, "BMP")[14:]
    assert headers.header(tf.constant(misplaced)).refusal == DAMAGED


def test_as_the_release_reads_them_photographs_are_not_turned():
    as_released = dataclasses.replace(AS_SHOWN, exif_orientation=False)
    turned = [case.data for case in READ if case.row == "JPEG with an EXIF orientation"]
    assert len(turned) == 9
    for data in turned:
        np.testing.assert_array_equal(images.decode(tf.constant(data), as_released), tf.io.decode_jpeg(data))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG2000", "AVIF", "PPM"])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(file_format):
    data, limit = encoded(RGB, file_format), SIDE * SIDE
    assert bad_images.why_bad(data, reading=Reading(max_pixels=limit)) is None
    reason = bad_images.why_bad(data, reading=Reading(max_pixels=limit - 1))
    assert reason == f"more than {limit - 1} pixels (--max_pixels)"
    assert not bad_images.BadExample(0, "x", reason).is_corrupt


def test_huge_images_are_refused_by_their_headers_alone(tmp_path):
    # A few bytes of each, with the size of 30,000 x 30,000 pixels: whoever decoded one would find it cut short.
    wide = (30_000).to_bytes(4, "little")
    files = {
        "png": encoded(RGB, "PNG")[:16] + (wide[::-1]) * 2 + encoded(RGB, "PNG")[24:],
        "bmp": bmp(8, b"", palette=bytes(1024))[:18] + wide * 2 + bmp(8, b"", palette=bytes(1024))[26:],
        "ppm": b"P6\n30000 30000\n255\n",
    }
    for name, data in files.items():
        (tmp_path / f"huge.{name}").write_bytes(data)
        with pytest.raises(UserError, match=rf"huge\.{name}: more than 120000000 pixels \(--max_pixels\)"):
            usable_files([str(tmp_path / f"huge.{name}")], image_size=SIDE)


def test_a_directory_is_predicted_without_its_bad_files(tmp_path, caplog):
    (tmp_path / "good.png").write_bytes(encoded(RGB, "PNG"))
    (tmp_path / "bad.jpg").write_bytes(b"text")
    (tmp_path / "photo.heic").write_bytes(next(case.data for case in CASES if case.refused == "HEIC"))
    files = sorted(map(str, tmp_path.iterdir()))
    with pytest.raises(UserError, match=r"corrupt image .*bad\.jpg: not an image .*\(--skip_corrupt"):
        usable_files(files, image_size=SIDE)
    kept, left_out = usable_files(files, image_size=SIDE, skip_corrupt=True)
    assert kept == [str(tmp_path / "good.png")]
    faults = bad_images.count_faults(left_out)
    assert faults == {"corrupt": {"not an image of a known kind": 1}, "not_read": {"HEIC": 1}}
    assert "left out image" in caplog.text and "HEIC is not read; accepted: JPEG, PNG" in caplog.text
