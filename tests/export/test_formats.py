"""Every TFLite format: what it takes, how far it is from the network, how the CPU delegate takes it, and its size."""

from __future__ import annotations

import contextlib
import json
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter
from export_cases import SIZE, lively, make_model, pictures, smooth_picture, snapshot

from autonl_tf.arch import blockstring, placement, presets
from autonl_tf.arch.spec import Normalization
from autonl_tf.commands.train.flags import check_quantizable
from autonl_tf.data.images import normalize
from autonl_tf.errors import UserError
from autonl_tf.export import accuracy_loss, bundle, int8, rewrite, tflite
from autonl_tf.export.card import Description
from autonl_tf.export.graph_facts import graph_facts
from autonl_tf.layers.embedded_nl import EmbeddedNonLocal
from autonl_tf.networks import quantizers
from autonl_tf.networks.insert import insert_behind
from autonl_tf.networks.network import build_network
from autonl_tf.networks.quantized import copy_float_weights, quantized_network

# Squeeze-excite and LightNL in both product orders, no grouped convolutions (they are not folded into batch norm).
MOBILE = """\
r1_k3_s22_e1_i32_o16_noskip
r1_k3_s11_e3_i16_o16_nonlocal0.25-1_se0.5
r1_k5_s22_e3_i16_o24_nonlocal0.25-2_se0.25
"""
NAMES = ("a", "b", "c", "d")
FORMATS = ("tflite_fp32", "tflite_fp16", "tflite_int8", "tflite_qat")


@pytest.fixture(scope="module")
def mobile():
    return make_model(MOBILE, len(NAMES))


@pytest.fixture(scope="module")
def quantized(mobile):
    """Its quantized form, ranges known, weights not trained."""
    return ranged(mobile)


def ranged(float_model):
    model = quantized_network(float_model)
    for layer in model.submodules:
        if hasattr(layer, "momentum"):
            layer.momentum = 1.0
    for _ in range(3):
        model(normalize(pictures(32), Normalization()), training=True)
    return model


@pytest.fixture(scope="module")
def held_out(mobile):
    """Images with the network's own answers as labels, so that a drop is what a file gets wrong."""
    images = pictures(60, first=100)
    labels = mobile(normalize(images, Normalization()), training=False).numpy().argmax(axis=1)
    return [(images[:32], labels[:32]), (images[32:], labels[32:])]


def export(mobile, quantized, held_out, directory, **changed) -> dict:
    request = {"formats": FORMATS, "quantized": quantized, "held_out": held_out, "max_accuracy_drop": 30.0}
    request |= {"calibration_images": pictures(32)} | changed
    return bundle.export_all(
        mobile,
        Description(blockstring.parse(MOBILE), SIZE, NAMES),
        directory,
        [tf.io.encode_jpeg(smooth_picture(1, 40, 40)).numpy()],
        bundle.Request(**request),
    )


@pytest.fixture(scope="module")
def formats(mobile, quantized, held_out, tmp_path_factory):
    """(directory, report) of an export of all four."""
    directory = tmp_path_factory.mktemp("formats") / "export"
    return directory, export(mobile, quantized, held_out, directory)


def files(formats) -> dict[str, str]:
    return {name: str(formats[0] / bundle.TFLITE[name]) for name in FORMATS}


@pytest.mark.slow
def test_every_file_is_one_partition_of_built_in_ops(formats):
    for name, path in files(formats).items():
        facts = graph_facts(path)
        assert facts.xnnpack_partitions == 1 and facts.xnnpack_whole, name
        assert CompiledModel.from_file(path).is_fully_accelerated(), name


def test_signature_types_and_shapes(formats):
    for name, path in files(formats).items():
        interpreter = Interpreter(model_path=path)
        assert interpreter.get_signature_list() == {"classify": {"inputs": ["images"], "outputs": ["probabilities"]}}
        (entry,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
        wanted = np.uint8 if name in ("tflite_int8", "tflite_qat") else np.float32
        assert entry["dtype"] == wanted and entry["shape"].tolist() == [1, SIZE, SIZE, 3]
        assert out["dtype"] == np.float32 and out["shape"].tolist() == [1, len(NAMES)]
        if wanted == np.uint8:
            assert entry["quantization"] == (1.0, 0)  # plain pixels


def test_probabilities_are_float_and_finer_than_an_int8_softmax(formats):
    for name, path in files(formats).items():
        answers = accuracy_loss.TFLiteRunner(path)(pictures(20, first=200))
        np.testing.assert_allclose(answers.sum(axis=1), 1.0, atol=1e-5, err_msg=name)
        steps = answers * 256
        assert np.abs(steps - np.rint(steps)).max() > 0.05, name


def test_float16_is_the_network_but_for_its_weights_rounding(mobile, formats):
    images = pictures(20, first=200)
    expected = tf.nn.softmax(mobile(normalize(images, Normalization()), training=False)).numpy()
    got = accuracy_loss.TFLiteRunner(files(formats)["tflite_fp16"])(images)
    np.testing.assert_allclose(got, expected, atol=0.05)


def test_the_quantization_aware_file_answers_as_the_network_trained_did(quantized, formats):
    images = pictures(40, first=200)
    expected = tf.nn.softmax(quantized(normalize(images, Normalization()), training=False)).numpy()
    got = accuracy_loss.TFLiteRunner(files(formats)["tflite_qat"])(images)
    assert np.mean(got.argmax(axis=1) == expected.argmax(axis=1)) >= 0.9
    assert np.abs(got - expected).mean() < 0.05


def test_the_card_has_a_table_of_every_file(formats):
    directory, report = formats
    rows = {row["artifact"]: row for row in report["scores"]["files"]}
    assert set(rows) == {bundle.TFLITE[name] for name in FORMATS}
    for row in rows.values():
        assert row["images"] == 60 and row["reference_top1"] == 1.0 and row["not_finite"] == 0
        assert row["drop_points"] == pytest.approx(100 * (1 - row["top1"]))
        assert row["top1_agreement"] == row["top1"]  # the labels are the network's answers
    assert rows["model_fp32.tflite"]["top1"] == 1.0
    assert rows["model_fp32.tflite"]["worst_logit_error"] < 1e-2 < rows["model_int8.tflite"]["worst_logit_error"]
    text = (directory / "card.md").read_text(encoding="utf-8")
    assert "| model_int8.tflite | 60 |" in text and "uint8 [1, 32, 32, 3]" in text
    assert json.loads((directory / "card.json").read_text())["scores"]["max_accuracy_drop"] == 30.0


def test_a_file_that_loses_too_much_fails_the_export_and_leaves_nothing(mobile, quantized, held_out, tmp_path):
    wrong = [(images, (labels + 1) % len(NAMES)) for images, labels in held_out]
    half = [held_out[0], wrong[1]]  # the network itself: 32 of 60 right
    export(mobile, quantized, half, tmp_path / "fine", formats=("tflite_fp32",), max_accuracy_drop=0.0)
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=r"model_int8\.tflite: top-1 .* on 60 held-out images, .* points below .*30"):
        bad = np.zeros_like(pictures(1))  # ranges of a black image fit nothing
        export(mobile, quantized, held_out, tmp_path / "bad", formats=("tflite_int8",), calibration_images=bad)
    assert snapshot(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["fine"]


def test_images_on_which_the_network_overflows_set_no_ranges(formats, tmp_path):
    path = formats[0] / bundle.TFLITE["tflite_fp32"]
    good, bad = pictures(39), np.full([1, SIZE, SIZE, 3], 1e30, np.float32)
    plain, mixed = int8.ranges(path, good), int8.ranges(path, np.concatenate([good, bad]))
    assert plain == mixed and np.isfinite(list(plain.values())).all()
    with pytest.raises(UserError, match="on 3 of 42 calibration images"):
        int8.quantize_int8(path, tmp_path / "q.tflite", np.concatenate([good, bad, bad, bad]))
    with pytest.raises(ValueError, match="at least one"):
        int8.quantize_int8(path, tmp_path / "q.tflite", [])


def test_a_range_covers_95_of_100_images(formats):
    path = formats[0] / bundle.TFLITE["tflite_fp32"]
    tops = np.arange(1.0, 101.0)
    images = np.zeros([100, SIZE, SIZE, 3], np.float32) + tops[:, None, None, None].astype(np.float32)
    (name,) = [tensor["name"] for tensor in Interpreter(str(path)).get_input_details()]
    assert int8.ranges(path, images)[name] == pytest.approx((np.quantile(tops, 0.05), np.quantile(tops, 0.95)))


def test_pixels_as_bytes_give_the_float_files_answers(formats, tmp_path):
    path = shutil.copy(formats[0] / bundle.TFLITE["tflite_fp32"], tmp_path / "m.tflite")
    images = pictures(10)
    expected = accuracy_loss.TFLiteRunner(path)(images)
    rewrite.take_uint8(path)
    assert graph_facts(path).input_type == "uint8" and graph_facts(path).xnnpack_whole
    np.testing.assert_array_equal(accuracy_loss.TFLiteRunner(path)(images), expected)
    with pytest.raises(ValueError, match="not float32"):
        rewrite.take_uint8(path)


def beside(file_hits: int, network_hits: int, images: int = 100) -> accuracy_loss._Tally:
    """A file and a network that are right on the first so many images."""
    found = accuracy_loss._Tally()
    right = [np.repeat([[0.9, 0.1], [0.1, 0.9]], [hits, images - hits], axis=0) for hits in (file_hits, network_hits)]
    found.add(*right, np.zeros(images, int))
    return found


def scored(file_hits: int, network_hits: int, quantized_hits: int, images: int = 100) -> accuracy_loss.Score:
    tallies = [beside(file_hits, hits, images) for hits in (network_hits, quantized_hits)]
    return accuracy_loss._score("model_qat.tflite", tallies[0], True, tallies[1])


def test_a_quantized_file_far_from_its_own_network_fails_too():
    accuracy_loss.check(scored(90, 85, 91), 1.0)
    with pytest.raises(UserError, match=r"top-1 90\.00% .*, 5\.00 points below the quantized network's 95\.00%"):
        accuracy_loss.check(scored(90, 85, 95), 1.0)


def test_each_drop_has_a_standard_error_of_its_own():
    found = scored(10, 10, 11, images=24)  # one image between the file and the network of simulated int8
    assert (found.drop_points, found.drop_standard_error) == (0, pytest.approx(100 / 24))  # that of one image
    assert found.quantized_drop_points == found.quantized_drop_standard_error == pytest.approx(100 / 24)
    accuracy_loss.check(found, None)
    # Far from the float network, which says nothing of the drop against the other.
    with pytest.raises(UserError, match=r"below the quantized network's 91\.00%; accepted: at most 4\.32"):
        accuracy_loss.check(scored(80, 40, 91), None)


@pytest.mark.parametrize("hits", range(1, 100))
def test_a_drop_just_as_large_as_accepted_is_accepted(hits):
    """0.95 - 0.94 is a little more than 0.01."""
    found = scored(hits - 1, hits, hits)
    accuracy_loss.check(found, 1.0)
    with pytest.raises(UserError, match=r"1\.00 points below the checkpoint"):
        accuracy_loss.check(found, 0.99)
    with pytest.raises(UserError, match=r"2\.00 points below the quantized"):
        accuracy_loss.check(scored(hits - 1, hits, hits + 1), 1.0)


@pytest.mark.parametrize(
    ("images", "lost", "gained", "fails"),
    [
        (90, 1, 0, False),
        (90, 2, 0, False),
        (90, 4, 0, True),
        (200, 20, 3, True),
        (200, 6, 4, False),
        (10_000, 130, 10, True),
    ],
)
def test_by_default_a_drop_counts_beyond_one_point_and_its_standard_error(images, lost, gained, fails):
    right = np.array([[0.9, 0.1]] * (images - gained) + [[0.1, 0.9]] * gained)
    file = np.concatenate([right[:lost, ::-1], right[lost : images - gained], right[images - gained :, ::-1]])
    tally = accuracy_loss._Tally()
    tally.add(file, right, np.zeros(images, int))
    found = accuracy_loss._score("model_int8.tflite", tally, True)
    assert found.drop_points == pytest.approx(100 * (lost - gained) / images)
    assert found.drop_standard_error == pytest.approx(100 * max(1, lost + gained) ** 0.5 / images)
    with pytest.raises(UserError, match="points below") if fails else contextlib.nullcontext():
        accuracy_loss.check(found, None)


def test_a_relu6_network_becomes_one_int8_piece_that_answers_as_trained(tmp_path):
    text = "network activation=relu6\n" + MOBILE
    keras_model = make_model(text, len(NAMES))
    model = ranged(keras_model)
    assert any(layer.__class__.__name__ == "ReLU" for layer in keras_model.layers)
    path = tmp_path / "m.tflite"
    int8.convert_trained(model, path, normalization=Normalization())
    facts = graph_facts(path)
    assert facts.xnnpack_partitions == 1 and facts.xnnpack_whole and "RELU6" not in facts.ops  # within convolutions
    images = pictures(40, first=200)
    expected = tf.nn.softmax(model(normalize(images, Normalization()), training=False)).numpy()
    got = accuracy_loss.TFLiteRunner(path)(images)
    assert np.mean(got.argmax(axis=1) == expected.argmax(axis=1)) >= 0.8
    assert np.abs(got - expected).mean() < 0.05


@pytest.mark.parametrize(
    ("header", "line", "culprit"),
    [
        ("network activation=relu6", "r1_k3.5_s22_a1.1_p1.1_e2_i16_o24_se0.5_nonlocal0.25-2", None),
        ("network activation=relu", "r1_k3_s22_e2_i16_o24_sw", None),
        ("network activation=hswish", "r1_k3_s22_e2_i16_o24", r"HardSwish \(hswish\)"),
        ("network shuffle=on", "r1_k3_s22_e2_i16_o24_p1.1", r"ChannelShuffle \(shuffle=on\)"),
        ("network shuffle=on", "r1_k3_s22_e2_i16_o24", None),
        ("network padding=symmetric", "r1_k3_s11_e2_i16_o24", r"ZeroPadding2D \(padding=symmetric\)"),
        ("", "r1_k3_s22_e2_i16_o24_embedded0.5-1", r"EmbeddedProduct \(embedded\);"),
        ("", "r1_k3_s22_e2_i16_o24_embedded0.5-2", r"EmbeddedProduct \(embedded\), MaxPooling2D"),
    ],
)
def test_what_the_check_lets_through_is_what_can_be_quantized(header, line, culprit):
    text = f"{header}\nr1_k3_s22_e1_i32_o16\n{line}"
    spec = blockstring.parse(text, "mine.txt")
    model = build_network(spec, image_size=SIZE, num_classes=3)
    if culprit is None:
        check_quantizable(spec)
        quantized_network(model)
    else:
        with pytest.raises(UserError, match=rf"mine\.txt: .* no int8 form of {culprit}"):
            check_quantizable(spec)
        with pytest.raises(ValueError, match="no quantization is defined"):
            quantized_network(model)


def test_all_of_the_zoo_but_one_may_be_trained_for_int8():
    refused = []
    for name in presets.names():
        try:
            check_quantizable(presets.load(name))
        except UserError:
            refused.append(name)
    assert refused == ["fbnet_a"]


def test_weights_come_back_out_of_the_quantized_network(mobile, quantized):
    other = make_model(MOBILE, len(NAMES), seed=3)
    copy_float_weights(quantized, other)
    images = normalize(pictures(4), Normalization())
    np.testing.assert_array_equal(other(images, training=False), mobile(images, training=False))


def test_a_kernel_of_one_filter_has_one_range_and_a_depthwise_one_a_range_a_channel():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=[1, 1, 6, 1]).astype(np.float32) * 10.0 ** np.arange(-3, 3).reshape([1, 1, 6, 1])
    greatest = np.abs(kernel).max()
    limits = {"kernel": greatest, "depthwise_kernel": np.maximum(np.abs(kernel), greatest * 2.0**-12)}
    for attribute, limit in limits.items():
        layer = types.SimpleNamespace(**{attribute: tf.constant(kernel, tf.float32)})
        ((held, quantizer),) = quantizers.LayerConfig(attribute).get_weights_and_quantizers(layer)
        expected = np.rint(kernel / limit * 127) / 127 * limit
        np.testing.assert_allclose(quantizer(held, False, {}), expected, rtol=1e-5, atol=1e-9, err_msg=attribute)


def test_a_conventional_non_local_block_is_one_piece_in_int8_too(tmp_path):
    """As one of a network's own blocks, and as a layer in another network."""
    text = "r1_k3_s22_e1_i32_o16_noskip\n"
    spec = placement.place_nonlocal(blockstring.parse(text), "0:embedded0.5-2")
    own = lively(build_network(spec, image_size=SIZE, num_classes=len(NAMES)))
    block = EmbeddedNonLocal(name="block0_non_local")
    other = insert_behind(make_model(text, len(NAMES)), {"block0_project_bn": block})
    block.branch.get_layer("bn").gamma.assign(np.full(16, 0.3))
    for model in (own, other):
        path, quantized = tmp_path / "float.tflite", tmp_path / "int8.tflite"
        tflite.convert_fp32(model, path, normalization=Normalization())
        int8.quantize_int8(path, quantized, pictures(8))
        assert graph_facts(quantized).xnnpack_whole, model.name


def test_a_layer_without_a_configuration_is_refused():
    import tf_keras as keras

    inputs = keras.Input([4])
    with pytest.raises(ValueError, match=r"layer odd \(LeakyReLU\): no quantization"):
        quantized_network(keras.Model(inputs, keras.layers.LeakyReLU(name="odd")(inputs)))
