"""An export is complete, described and verified, or it is not there."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from export_cases import EVERYTHING, ONE_BLOCK, SIZE, make_model, snapshot

from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import network_cost
from autonl_tf.errors import UserError
from autonl_tf.export import bundle, saved_model, tflite
from autonl_tf.export import directory as export_directory
from autonl_tf.records import CARD_FORMAT

BEST = "saved_model/1"


def test_the_layout_is_complete_and_nothing_lies_beside_it(exported):
    directory, report = exported
    assert {path.name for path in directory.iterdir()} == {
        "saved_model",
        "serving",
        "model_fp32.tflite",
        "labels.txt",
        "card.json",
        "card.md",
    }
    assert [path.name for path in (directory / "saved_model").iterdir()] == ["1"]
    assert list(directory.parent.iterdir()) == [directory]
    assert report["export_dir"] == str(directory)


def test_files_can_be_read_by_whoever_may_read_new_files(exported):
    mask = os.umask(0)
    os.umask(mask)
    for folder in (exported[0], exported[0] / "saved_model" / "1"):
        assert folder.stat().st_mode & 0o777 == 0o777 & ~mask


def test_the_card_says_that_tflite_files_take_one_image_and_they_do(exported):
    directory, _ = exported
    assert "batch: 1. For more run one image after another" in (directory / "card.md").read_text(encoding="utf-8")
    interpreter = Interpreter(model_path=str(directory / "model_fp32.tflite"))
    (given,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(given["index"], [2, *given["shape"][1:]])
    with pytest.raises(RuntimeError):  # should the runtime learn it, the card has to say so
        interpreter.allocate_tensors()


def test_the_card_says_what_was_exported(exported, everything):
    directory, report = exported
    facts = json.loads((directory / "card.json").read_text(encoding="utf-8"))
    assert facts == {name: value for name, value in report.items() if name != "export_dir"}
    assert facts["architecture"]["blocks"] == EVERYTHING.splitlines()
    cost = network_cost(blockstring.parse(EVERYTHING), image_size=SIZE, num_classes=7).total
    assert facts["architecture"]["macs"] == cost.macs > 0
    assert facts["architecture"]["params"] == sum(
        int(np.prod(variable.shape)) for variable in everything.model.trainable_variables
    )
    assert facts["accuracy"] == {"top1": 0.5, "top5": 0.875, "count": 64, "dataset": "made up"}
    assert facts["weights"]["averages"] is True
    assert facts["input"]["image_size"] == SIZE and facts["num_classes"] == 7
    assert facts["input"]["crop_padding"] == 32  # what docs/android.md says to look up
    assert facts["data"] == {"trained_on": "pictures"}
    assert set(facts["artifacts"][BEST]["signatures"]) == {"serving_default", "float_images"}
    file = facts["artifacts"]["model_fp32.tflite"]
    assert set(file["signatures"]) == {"classify"} and file["xnnpack_partitions"] == 1
    assert {"tensorflow", "tf-keras", "ai-edge-litert", "autonl-tf", "python"} <= set(facts["versions"])


def test_the_card_lists_every_file_but_itself_with_size_and_checksum(exported):
    directory, report = exported
    present = snapshot(directory)
    assert set(report["files"]) == set(present) - {"card.json"}
    for name, entry in report["files"].items():
        assert entry == {"bytes": len(present[name]), "sha256": hashlib.sha256(present[name]).hexdigest()}


def test_the_report_gives_every_difference(exported):
    rows = exported[1]["verification"]["agreements"]
    counted = {(row["artifact"], row["signature"]): row["images"] for row in rows}
    assert counted == {
        (BEST, "serving_default"): 5,
        (BEST, "float_images"): 5,
        ("model_fp32.tflite", "classify"): 5,
    }
    for row in rows:
        assert row["max_probability_difference"] < 1e-4 and row["probabilities_relative_l2"] < 1e-4
        assert row["top1_agreement"] == 1.0
        assert (row["logits_relative_l2"] is None) == (row["signature"] == "classify")


def test_the_card_for_people_tells_the_same(exported, exported_small):
    text = (exported[0] / "card.md").read_text(encoding="utf-8")
    for part in (
        "top1: 50.00%",
        "made up",
        "- trained_on: pictures",
        EVERYTHING,
        "`float_images`",
        "ckpt-7",
        "(the whole graph)",
    ):
        assert part in text
    assert exported[1]["files"]["model_fp32.tflite"]["sha256"] in text
    unmeasured = (exported_small[0] / "card.md").read_text(encoding="utf-8")
    assert "Not measured." in unmeasured and "Not measured." not in text
    assert exported_small[1]["accuracy"] is None


def test_labels_are_one_a_line_in_label_order(exported, everything):
    text = (exported[0] / "labels.txt").read_text(encoding="utf-8")
    assert tuple(text.splitlines()) == everything.description.class_names and text.endswith("\n")


@pytest.fixture
def earlier(exported_small, tmp_path):
    """A copy of an export, to be exported over; (directory, its files)."""
    directory = tmp_path / "export"
    for name, data in snapshot(exported_small[0]).items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return directory, snapshot(directory)


def other_weights():
    return make_model(ONE_BLOCK, 3, seed=5)


def test_a_saved_model_that_differs_is_an_error_and_the_earlier_export_stays(small, earlier, monkeypatch):
    def wrong(model, directory, **arguments):
        saved_model.export_saved_model(other_weights(), directory, **arguments)

    monkeypatch.setattr(bundle, "export_saved_model", wrong)
    directory, before = earlier
    with pytest.raises(UserError, match=r"saved_model/1 \(serving_default\): .* by [0-9.]+; .*0\.001"):
        small.export(directory)
    assert snapshot(directory.parent) == {f"export/{name}": data for name, data in before.items()}


def test_a_tflite_file_that_differs_is_an_error_and_leaves_nothing(small, tmp_path, monkeypatch):
    convert = tflite.convert_fp32
    monkeypatch.setattr(tflite, "convert_fp32", lambda model, path, **sizes: convert(other_weights(), path, **sizes))
    monkeypatch.setattr(bundle, "export_saved_model", lambda model, directory, **arguments: None)
    monkeypatch.setattr(bundle.verify, "verify_saved_model", lambda *arguments, **others: [])
    monkeypatch.setattr(bundle.serving, "write_warmup", lambda *arguments: None)
    with pytest.raises(UserError, match=r"model_fp32\.tflite \(classify\): .* by [0-9.]+;"):
        small.export(tmp_path / "made" / "on" / "the" / "way")
    assert not list(tmp_path.iterdir())


def test_names_in_the_wrong_order_are_an_error(small, tmp_path, monkeypatch):
    def reversed_names(model, directory, *, class_names, **others):
        saved_model.export_saved_model(model, directory, class_names=class_names[::-1], **others)

    monkeypatch.setattr(bundle, "export_saved_model", reversed_names)
    with pytest.raises(UserError, match="not the 3 most probable"):
        small.export(tmp_path / "export")
    assert not list(tmp_path.iterdir())


def test_an_earlier_export_is_replaced_as_a_whole(small, earlier, monkeypatch):
    # What is put in place is tested here, not how it is made.
    monkeypatch.setattr(bundle, "_fill", lambda folder, *others: (folder / "new").write_text("new") and {})
    directory, _ = earlier
    small.export(directory)
    assert snapshot(directory.parent) == {"export/new": b"new"}


def test_an_empty_directory_is_taken(small, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "_fill", lambda folder, *others: (folder / "new").write_text("new") and {})
    small.export(tmp_path)
    assert snapshot(tmp_path) == {"new": b"new"}


@pytest.mark.parametrize("name", ["notes.txt", "saved_model/2/saved_model.pb", ".hidden"])
def test_a_file_that_no_export_wrote_is_never_replaced(small, earlier, name):
    directory, _ = earlier
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text("mine")
    before = snapshot(directory)
    with pytest.raises(UserError, match=f"holds {name}, which no export wrote"):
        small.export(directory)
    assert snapshot(directory) == before


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "no json", '{"format": "x"}', '{"format": "OURS"}', '{"format": "OURS", "files": 3}', "[" * 100_000],
)
def test_a_directory_with_a_card_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "card.json").write_text(text.replace("OURS", CARD_FORMAT))
    (tmp_path / "model.bin").write_text("mine")
    with pytest.raises(UserError, match="which no export wrote"):
        export_directory.check_export_dir(tmp_path)


def test_a_file_is_no_export_directory(small, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        small.export(tmp_path / "file")
    with pytest.raises(UserError, match="cannot be written"):
        small.export(tmp_path / "file" / "below")
    assert snapshot(tmp_path) == {"file": b"mine"}


def test_a_mounted_directory_is_refused_before_any_work(small, tmp_path, monkeypatch):
    (tmp_path / "export").mkdir()
    (tmp_path / "link").symlink_to("export")
    mounted = (tmp_path / "export").resolve()
    monkeypatch.setattr(export_directory.Path, "is_mount", lambda path: path == mounted)
    for name in ("export", "link"):
        with pytest.raises(UserError, match=r"is a mount point.*a directory below it"):
            export_directory.check_export_dir(tmp_path / name)
    export_directory.check_export_dir(tmp_path / "export" / "below")


def test_class_names_must_fit_the_model(small, tmp_path):
    with pytest.raises(UserError, match="2 class names for a model of 3 classes"):
        small.export(tmp_path / "export", class_names=("a", "b"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "two\nlines", "end\n"])
def test_a_class_name_that_would_break_the_label_file_is_an_error(small, tmp_path, name):
    with pytest.raises(UserError, match=r"class 1: the name .* is not one line"):
        small.export(tmp_path / "export", class_names=("a", name, "c"))
    assert not list(tmp_path.iterdir())


def test_samples_that_cannot_be_used_are_errors(small, tmp_path):
    with pytest.raises(UserError, match="encoded sample image 1 cannot be decoded") as caught:
        encoded = small.encoded_images[:1]
        small.export(tmp_path / "export", encoded_images=[*encoded, b"no image"])
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_model_whose_answers_are_not_finite_is_not_exported(small, tmp_path):
    bias = small.model.get_layer("logits").bias
    before = bias.numpy()
    bias.assign([0.0, np.nan, 0.0])
    try:
        with pytest.raises(UserError, match="not finite on 5 of 5"):
            small.export(tmp_path / "export")
    finally:
        bias.assign(before)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_is_null_in_the_card(small, tmp_path):
    accuracy = {"top1": 0.5, "loss": float("nan"), "count": 3}
    report = small.export(tmp_path / "export", accuracy=accuracy)
    facts = json.loads((tmp_path / "export" / "card.json").read_text(encoding="utf-8"))
    assert facts["accuracy"] == report["accuracy"] == {"top1": 0.5, "loss": None, "count": 3}
    assert "- loss: nan" in (tmp_path / "export" / "card.md").read_text(encoding="utf-8")
