"""Whatever reads images normalises them as the network's own architecture says; checked on one that is not AutoNL's."""

import json

import numpy as np
import pytest
import tensorflow as tf
from mode_cases import ARCH, PUBLISHED, SHORT, configure, run

import autonl_tf
from autonl_tf.arch import blockstring
from autonl_tf.commands.eval import report
from autonl_tf.commands.explain import run as explain
from autonl_tf.data import images
from autonl_tf.errors import UserError
from autonl_tf.export import int8, tflite
from autonl_tf.export.accuracy_loss import TFLiteRunner
from autonl_tf.export.graph_facts import graph_facts
from autonl_tf.networks.network import build_network
from autonl_tf.prepare import checkpointed, inputs

HEADER = "network mean=10,100,200 stddev=20,40,80\n"
MEAN, STDDEV = np.float32([10, 100, 200]), np.float32([20, 40, 80])
FORMATS = "savedmodel,tflite_fp32,tflite_fp16,tflite_int8"


@pytest.fixture(scope="module")
def lite(home, tmp_path_factory):
    """A run directory of such a network, and the words that train it."""
    root = tmp_path_factory.mktemp("lite")
    (root / "mine.txt").write_text(HEADER + ARCH)
    words = ("--mode=train", f"--arch={root}/mine.txt", f"--dataset=folder:{home}/pictures", *SHORT, *PUBLISHED)
    run(*words, f"--model_dir={root}/run")
    return root


@pytest.fixture(scope="module")
def expected(home, lite):
    """The validation images' files, pixels [3, 32, 32, 3] of 0 to 255, and the logits that they must get."""
    files = sorted(map(str, (home / "pictures" / "val").rglob("*.jpg")))
    pixels = np.stack([images.preprocess_for_eval(tf.io.read_file(file), 32).numpy() for file in files])
    network = checkpointed.load(configure("--mode=predict", f"--model_dir={lite}/run", "--images=any"))
    return files, pixels, network.model((pixels - MEAN) / STDDEV, training=False).numpy()


def test_the_run_keeps_it(lite):
    assert (lite / "run" / "arch.txt").read_text().startswith(HEADER)
    assert json.loads((lite / "run" / "model.json").read_text())["arch"].startswith(HEADER)


def test_batches_for_training_and_evaluation_are_normalised_by_it(home, lite, tmp_path, monkeypatch):
    seen = []
    for name in ("train_batches", "eval_batches"):
        make = getattr(inputs, name)

        def record(*args, make=make, **kwargs):
            seen.append(make(*args, **kwargs))
            return seen[-1]

        monkeypatch.setattr(inputs, name, record)
    data = f"--dataset=folder:{home}/pictures"
    run("--mode=train", f"--arch={lite}/mine.txt", data, *SHORT, *PUBLISHED, f"--model_dir={tmp_path}/run")
    assert len(seen) >= 2
    for batches in seen:
        batch = next(iter(batches))[0].numpy()
        assert (batch * STDDEV + MEAN).min() > -60 and (batch * STDDEV + MEAN).max() < 315  # bicubic overshoot
        assert batch[..., 0].max() > 8 and batch[..., 2].min() < -2  # by AutoNL's: at most 3, at least -2.2


def test_predict_eval_and_its_report_follow(home, lite, expected, tmp_path, monkeypatch, capsys):
    _, pixels, logits = expected
    run(
        "--mode=predict",
        f"--model_dir={lite}/run",
        f"--images={home}/pictures/val",
        f"--output={tmp_path}/p.npz",
    )
    np.testing.assert_allclose(np.load(tmp_path / "p.npz")["logits"], logits, rtol=1e-4, atol=1e-5)
    shown = []
    monkeypatch.setattr(report, "draw_mistakes", lambda rows, *_, **__: shown.extend(row[0] for row in rows))
    capsys.readouterr()
    words = (
        "--mode=eval",
        f"--model_dir={lite}/run",
        f"--dataset=folder:{home}/pictures",
        f"--output={tmp_path}/r",
    )
    run(*words, "--json", "--eval_batch_size=3")
    cross_entropy = -np.log(tf.nn.softmax(logits).numpy()[np.arange(3), np.arange(3)]).mean()
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(cross_entropy, rel=1e-4)
    originals = np.clip(pixels / 255, 0, 1)
    assert shown and all(min(np.abs(picture - originals).max(axis=(1, 2, 3))) < 1e-5 for picture in shown)


def test_pictures_of_affinities_show_the_image_as_it_is(home, lite, expected, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(explain, "draw_affinities", lambda picture, *_, **__: shown.append(picture))
    run("--mode=explain", f"--model_dir={lite}/run", f"--images={home}/pictures/val", f"--output={tmp_path}/maps")
    np.testing.assert_allclose(shown, np.clip(expected[1] / 255, 0, 1), atol=1e-5)


def test_every_exported_file_has_it_inside_and_the_card_says_it(home, lite, expected, tmp_path):
    files, pixels, logits = expected
    words = ("--mode=export", f"--model_dir={lite}/run", f"--dataset=folder:{home}/pictures", f"--formats={FORMATS}")
    run(*words, f"--output={tmp_path}/out", "--max_accuracy_drop=100")
    served = tf.saved_model.load(f"{tmp_path}/out/saved_model/1").signatures
    by_bytes = served["serving_default"](image_bytes=tf.constant([tf.io.read_file(file).numpy() for file in files]))
    for got in (by_bytes, served["float_images"](images=tf.constant(pixels))):
        np.testing.assert_allclose(got["logits"], logits, rtol=1e-3, atol=1e-4)
    probabilities = tf.nn.softmax(logits).numpy()
    for name, tolerance in (("fp32", 1e-4), ("fp16", 0.01), ("int8", 0.1)):
        np.testing.assert_allclose(
            TFLiteRunner(tmp_path / "out" / f"model_{name}.tflite")(pixels), probabilities, atol=tolerance
        )
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert (card["input"]["mean"], card["input"]["stddev"]) == ([10, 100, 200], [20, 40, 80])
    assert "- mean 10, 100, 200; stddev 20, 40, 80" in (tmp_path / "out" / "card.md").read_text()
    # The Keras API takes run and export as weights; the same words name the pixels.
    for weights in (f"{lite}/run", f"{tmp_path}/out"):
        model = autonl_tf.from_arch(
            f"{lite}/run", weights=weights, input_shape=(32, 32, 3), classes=3, classifier_activation=None
        )
        x = autonl_tf.preprocess_input(pixels, arch=f"{lite}/run")
        np.testing.assert_allclose(model(x, training=False), logits, rtol=1e-4, atol=1e-5)
    with pytest.raises(
        UserError, match=r"holds the same layers with another normalisation \(mean 10/100/200, .* than "
    ):
        (lite / "plain.txt").write_text(ARCH)
        autonl_tf.from_arch(f"{lite}/plain.txt", weights=f"{tmp_path}/out", input_shape=(32, 32, 3), classes=3)


def test_a_checkpoint_of_other_pixels_is_refused_with_the_reason(home, lite, trained, tmp_path):
    data, arch = f"--dataset=folder:{home}/pictures", f"--arch={home}/arch.txt"
    difference = r"holds the same layers with another normalisation \(mean 10/100/200, stddev 20/40/80; not mean 123"
    with pytest.raises(UserError, match=difference):
        run("--mode=eval", arch, data, f"--model_dir={lite}/run")
    with pytest.raises(UserError, match=difference):
        run(
            "--mode=train",
            arch,
            data,
            *SHORT,
            *PUBLISHED,
            f"--init_checkpoint={lite}/run",
            f"--model_dir={tmp_path}/run",
        )


@pytest.mark.parametrize("header", ["mean=0 stddev=1", "mean=0 stddev=255", "mean=127.5 stddev=127.5"])
def test_int8_files_of_plain_scales_are_whole_and_right(tmp_path, header):
    """Where an operation of the normalisation changes nothing, the converter leaves it out."""
    spec = blockstring.parse(f"network activation=relu6 {header}\n{ARCH}")
    model = build_network(spec, image_size=32, num_classes=3)
    pixels = np.random.default_rng(0).uniform(0, 255, [8, 32, 32, 3]).astype(np.float32)
    tflite.convert_fp32(model, tmp_path / "float", normalization=spec.normalization)
    int8.quantize_int8(tmp_path / "float", tmp_path / "int8", pixels)
    assert graph_facts(tmp_path / "int8").xnnpack_whole
    mean, stddev = (np.float32(part.partition("=")[2]) for part in header.split())
    logits = model((pixels - mean) / stddev, training=False)
    for name, tolerance in (("float", 1e-5), ("int8", 0.1)):
        np.testing.assert_allclose(TFLiteRunner(tmp_path / name)(pixels), tf.nn.softmax(logits), atol=tolerance)
