"""Quantization-aware training and the export of every format, by command line."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
from mode_cases import ARCH, PUBLISHED, class_folder, command, configure, run, tree
from official_checkpoints import checkpoint_at

from autonl_tf.arch.spec import Normalization
from autonl_tf.cli import parsing
from autonl_tf.commands.train import run as train
from autonl_tf.data.batches import predict_batches
from autonl_tf.errors import UserError
from autonl_tf.export.accuracy_loss import TFLiteRunner
from autonl_tf.prepare import checkpointed

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
SHORT = (
    *(
        "--input_image_size=32",
        "--crop_padding=32",
        "--train_batch_size=6",
        "--eval_batch_size=5",
        "--steps_per_loop=2",
        "--eval_every_epochs=2",
    ),
    *PUBLISHED,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A class folder, a float training of 4 steps and a quantization-aware one of 4 from it."""
    root = tmp_path_factory.mktemp("quantization")
    class_folder(root / "pictures", {"train": 4, "val": 3})
    (root / "arch.txt").write_text(ARCH)
    run(*words(root, "float"), "--train_steps=4")
    run(*qat_words(root, "qat"))
    return root


def words(root, name: str) -> list[str]:
    data = f"--dataset=folder:{root}/pictures"
    return ["--mode=train", f"--arch={root}/arch.txt", data, *SHORT, f"--model_dir={root}/{name}"]


def qat_words(root, name: str) -> list[str]:
    start = ["--qat", f"--init_checkpoint={root}/float", "--base_learning_rate=0.005"]
    return [*words(root, name), *start, "--train_steps=4", "--save_every_steps=2"]


def values(path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(path))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if "save_counter" not in name}


def test_a_run_cut_short_goes_on_as_if_it_had_not_been(home, tmp_path, monkeypatch):
    whole = values(home / "qat" / "checkpoints" / "ckpt-4")
    shutil.copytree(home / "qat", tmp_path / "cut")
    for path in (tmp_path / "cut" / "checkpoints").glob("ckpt-4.*"):
        path.unlink()
    monkeypatch.setattr(train, "calibrate", None)  # its ranges are the checkpoint's
    run(*qat_words(home, "qat"), f"--model_dir={tmp_path}/cut")
    again = values(tmp_path / "cut" / "checkpoints" / "ckpt-4")
    assert whole.keys() == again.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)


def test_the_first_evaluation_of_simulated_int8_is_the_float_ones(home, tmp_path, capsys):
    """Ranges come from calibration images, of the data or others, and a rate near zero moves nothing."""
    (tmp_path / "loose").mkdir()
    for number, path in enumerate(sorted((home / "pictures" / "train").rglob("*.jpg"))):
        shutil.copy(path, tmp_path / "loose" / f"{number}.jpg")
    loose = f"folder:{tmp_path}/loose"
    given = [f"--model_dir={tmp_path}/still", "--train_steps=1", "--save_every_steps=1", "--base_learning_rate=1e-9"]
    given += [f"--calibration_dataset={loose}", "--calibration_images=5"]
    run(*qat_words(home, "still"), *given)
    assert f"int8: ranges from 5 images of {loose}" in capsys.readouterr().err
    logits = []
    pictures = sorted(map(str, (home / "pictures" / "val").rglob("*.jpg")))
    ((images, _),) = predict_batches(pictures, image_size=32, batch_size=9, normalization=Normalization())
    for directory in (home / "float", tmp_path / "still"):
        network = checkpointed.load(configure("--mode=export", f"--model_dir={directory}", "--output=unused"))
        logits.append(network.model(images, training=False).numpy())
    expected, got = logits
    assert np.linalg.norm(got - expected) < 0.25 * np.linalg.norm(expected)


def test_training_starts_from_the_float_weights_and_learns_ranges(home):
    best = checkpoint_at(home / "float")
    start, after = values(best), values(home / "qat" / "checkpoints" / "ckpt-4")
    seen = {name: value for name, value in after.items() if name.endswith(f"_seen{VALUE}")}
    assert seen and all(value == pytest.approx(99 + 4) for value in seen.values())  # calibration counts as 99 batches
    assert any("nl_product.Smiddle" in name for name in seen) and any("nl_product.Sphi" in name for name in seen)
    assert json.loads((home / "qat" / "model.json").read_text())["qat"] is True
    first = f"variables/stem_conv.Skernel{VALUE}"
    assert np.abs(after[first] - start[f"averages/shadows/stem_conv.Skernel{VALUE}"]).max() < 0.2 * start[first].std()


@pytest.fixture(scope="module")
def exported(home):
    """What an export of all formats to home/export printed."""
    formats = "savedmodel,tflite_fp32,tflite_fp16,tflite_int8,tflite_qat"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        run(
            *("--mode=export", f"--model_dir={home}/qat", f"--dataset=folder:{home}/pictures", f"--formats={formats}"),
            *(f"--output={home}/export", "--max_accuracy_drop=100", "--calibration_images=6"),
        )
    return said.getvalue()


def test_every_format_from_one_checkpoint(home, exported, capsys):
    card = json.loads((home / "export" / "card.json").read_text())
    files = [f"model_{kind}.tflite" for kind in ("fp32", "fp16", "int8", "qat")]
    assert list(card["artifacts"]) == ["saved_model/1", *files]
    assert [row["artifact"] for row in card["scores"]["files"]] == files
    assert all(row["images"] == 9 and row["top1"] is not None for row in card["scores"]["files"])
    accuracy, scores = card["accuracy"], {row["artifact"]: row for row in card["scores"]["files"]}
    capsys.readouterr()
    run("--mode=eval", f"--model_dir={home}/qat", f"--dataset=folder:{home}/pictures", "--json")
    own = json.loads(capsys.readouterr().out)
    assert accuracy["quantized_top1"] == own["top1"] == scores[files[3]]["quantized_top1"]
    assert scores[files[3]]["quantized_drop_points"] == pytest.approx(
        100 * (accuracy["quantized_top1"] - scores[files[3]]["top1"])
    )
    assert all(scores[name]["quantized_top1"] is None for name in files[:3])
    assert "float32 weights" in accuracy["of"] and "simulated int8 that it was made of" in exported
    # The delegate may leave out some of an int8 file of a network this little trained (LightNL's gammas about 0).
    assert all(card["artifacts"][name]["xnnpack_whole"] for name in files[:2])
    for name in files:
        assert name in exported
    markdown = (home / "export" / "card.md").read_text()
    int8 = {"int8", "float32"}  # that of the beginning
    for name, values in (("fp32", {"float32"}), ("fp16", {"float16"}), ("int8", int8), ("qat", int8)):
        short = card["artifacts"][f"model_{name}.tflite"]["quantization"]
        assert {kind for rows in short["kernels"].values() for kind in rows} == values
    assert "with a scale for every output channel" in markdown


def test_a_tflite_file_is_described_and_what_is_none_refused(home, exported, capsys):
    words = ["--mode=describe", f"--arch={home}/export/model_int8.tflite"]
    run(*words, "--json")
    found = json.loads(capsys.readouterr().out)
    card = json.loads((home / "export" / "card.json").read_text())
    short = card["artifacts"]["model_int8.tflite"]["quantization"]
    assert {name: found[name] for name in short} == short and found["inputs"][0]["type"] == "uint8"
    kernels = [operator["kernel"] for operator in found["operators"] if operator["kernel"]]
    assert len(kernels) == sum(row["count"] for rows in short["kernels"].values() for row in rows.values())
    assert [kernel["type"] for kernel in kernels[:2]] == ["float32"] * 2  # those of the beginning
    assert all(kernel["per_channel"] and kernel["scales"] == kernel["channels"] for kernel in kernels[2:])
    run(*words)
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "CONV_2D" in line]) > short["kernels"]["CONV_2D"]["int8"]["count"]
    assert "inputs: 1x32x32x3 uint8; outputs: 1x3 float32" in lines[-3]
    for flag in ("--nonlocal=none", "--input_image_size=32", "--output=x.png"):
        with pytest.raises(UserError, match=r"is for architectures; --arch=.*model_int8\.tflite is a TFLite file"):
            run(*words, flag)
    (home / "cut.tflite").write_bytes((home / "export" / "model_int8.tflite").read_bytes()[:2000])
    done = command("--mode=describe", "--arch=cut.tflite", cwd=home)
    assert done.returncode == 2 and not done.stdout and done.stderr.count("\n") == 1
    assert "cut.tflite: is a damaged TFLite file" in done.stderr


def test_the_exported_file_answers_as_the_checkpoint_evaluates(home, exported):
    config = configure("--mode=export", f"--model_dir={home}/qat", "--output=unused", "--formats=tflite_qat")
    network = checkpointed.load(config)
    assert network.model is not network.float_model
    pictures = sorted(map(str, (home / "pictures" / "val").rglob("*.jpg")))
    ((images, _),) = predict_batches(pictures, image_size=32, normalization=Normalization(), batch_size=9)
    expected = tf.nn.softmax(network.model(images, training=False)).numpy()
    pixels = images.numpy() * np.float32(Normalization().stddev) + np.float32(Normalization().mean)
    got = TFLiteRunner(home / "export" / "model_qat.tflite")(pixels)
    np.testing.assert_allclose(got, expected, atol=0.05)


def test_a_quantization_aware_network_is_explained_too(home, tmp_path):
    pictures = f"--images={home}/pictures/val/ant"
    run("--mode=explain", f"--model_dir={home}/qat", pictures, f"--output={tmp_path}/maps")
    assert len(list((tmp_path / "maps").glob("*.png"))) == 3


def test_calibration_images_need_no_classes(home, tmp_path):
    loose = tmp_path / "loose"
    loose.mkdir()
    for number, path in enumerate(sorted((home / "pictures" / "train").rglob("*.jpg"))):
        shutil.copy(path, loose / f"{number}.jpg")
    words = ["--mode=export", f"--model_dir={home}/float", "--formats=tflite_int8", f"--output={tmp_path}/export"]
    run(*words, f"--calibration_dataset=folder:{loose}")
    assert (tmp_path / "export" / "model_int8.tflite").is_file()
    data = json.loads((tmp_path / "export" / "card.json").read_text())["data"]
    assert data == {"trained_on": f"folder:{home}/pictures", "int8_ranges": f"12 images of folder:{loose}"}
    (loose / "broken.jpg").write_bytes(b"no image")
    before = tree(tmp_path)
    with pytest.raises(UserError, match=r"calibration: corrupt image .*broken\.jpg: not an image"):
        run(*words, f"--calibration_dataset=folder:{loose}")
    assert tree(tmp_path) == before
    run(*words, f"--calibration_dataset=folder:{loose}", "--skip_corrupt")


def test_of_the_training_images_only_those_are_read_that_are_taken(home, tmp_path):
    shutil.copytree(home / "pictures", tmp_path / "pictures")
    (bad,) = sorted((tmp_path / "pictures").glob("train/*/*"))[:1]
    bad.write_bytes(b"no image")
    words = ["--mode=export", f"--model_dir={home}/float", "--formats=tflite_int8", "--max_accuracy_drop=100"]
    words += [f"--dataset=folder:{tmp_path}/pictures", f"--output={tmp_path}/export"]
    with pytest.raises(UserError, match=rf"calibration: corrupt image .*{bad.name}: not an image.*--skip_corrupt"):
        run(*words)
    run(*words, "--calibration_images=2")
    assert (tmp_path / "export" / "model_int8.tflite").is_file()


def test_int8_without_its_package_is_refused_before_anything_is_read(home, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    words = ["--mode=export", f"--model_dir={home}/none", "--formats=tflite_int8", f"--output={tmp_path}/export"]
    with pytest.raises(UserError, match=r"tflite_int8 needs ai-edge-quantizer: .*autonl-tf\[export\]"):
        parsing.checked("check_files", configure(*words, f"--calibration_dataset=folder:{home}/pictures"))


def test_a_set_without_training_images_needs_a_calibration_set(home, tmp_path):
    shutil.copytree(home / "pictures" / "val", tmp_path / "pictures" / "val")
    words = ["--mode=export", f"--model_dir={home}/float", "--formats=tflite_int8", "--max_accuracy_drop=100"]
    words += [f"--dataset=folder:{tmp_path}/pictures", f"--output={tmp_path}/export"]
    with pytest.raises(UserError, match="no train images to set int8's ranges; give --calibration_dataset"):
        run(*words)
    assert not (tmp_path / "export").exists()
    run(*words, f"--calibration_dataset=folder:{tmp_path}/pictures")
    assert (tmp_path / "export" / "model_int8.tflite").is_file()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--formats=tflite"], r"--formats=tflite: 'tflite' is none of savedmodel, tflite_fp32"),
        (["--formats=tflite_fp32,tflite_fp32"], r"tflite_qat, each once"),
        (["--formats="], r"--formats is empty"),
        (["--formats=tflite_int8"], r"--formats=tflite_int8 needs images"),
        (["--calibration_dataset=folder:x"], r"--calibration_dataset is for --formats=tflite_int8"),
        (["--max_accuracy_drop=2"], r"--max_accuracy_drop needs --dataset"),
        (["--calibration_images=64"], r"--calibration_images is for --formats=tflite_int8"),
        (["--formats=savedmodel", "--tflite_input=uint8"], r"--tflite_input is for TFLite files; --formats=savedmodel"),
        (["--formats=savedmodel", "--dataset=demo", "--max_accuracy_drop=2"], r"--max_accuracy_drop is for TFLite"),
        (["--eval_batch_size=7"], r"--eval_batch_size needs --dataset"),
    ],
)
def test_wrong_flags_of_export(given, message):
    with pytest.raises(UserError, match=message):
        configure("--mode=export", "--model_dir=x", "--output=y", *given)


def test_calibration_is_refused_where_nothing_is_quantized(home):
    for flag in ("--calibration_dataset=folder:x", "--calibration_images=3"):
        with pytest.raises(UserError, match=r"--calibration_\w+ is for --qat, which is not asked for"):
            configure(*words(home, "x"), flag)
    with pytest.raises(UserError, match=r"--calibration_dataset=folder:.*/none: no such directory"):
        run(*qat_words(home, "x"), f"--calibration_dataset=folder:{home}/none")
    assert not (home / "x").exists()


def test_what_cannot_be_quantized_is_refused(home, tmp_path):
    with pytest.raises(UserError, match="--qat starts from a trained float network"):
        configure(*words(home, "x"), "--qat")
    for extra, message in (
        ("--precision=bfloat16", "simulates int8 in float32"),
        ("--recalibrate_batches=2", "at 0"),
        ("--freeze=backbone", "every layer at one rate; leave --freeze out"),
        ("--lr_multipliers=head:0.1", "leave --lr_multipliers out"),
    ):
        with pytest.raises(UserError, match=message):
            configure(*qat_words(home, "x"), extra)
    with pytest.raises(UserError, match=r"tflite_qat: .*/float/.* was not trained with --qat"):
        directory = f"--output={tmp_path}/export"
        run("--mode=export", f"--model_dir={home}/float", "--formats=tflite_qat", directory)
    with pytest.raises(UserError, match=r"/qat/best/.*: was trained with --qat"):
        run(*words(home, "y"), "--train_steps=2", f"--init_checkpoint={home}/qat")
    for name in ("nothing", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=rf"--calibration_dataset=folder:.*{name}: no "):
            folder = f"--calibration_dataset=folder:{tmp_path}/{name}"
            words_ = ["--mode=export", f"--model_dir={home}/float", "--formats=tflite_int8", folder]
            run(*words_, f"--output={tmp_path}/export")
    assert not (tmp_path / "export").exists()
