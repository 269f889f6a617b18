"""The files answer as the model does, asked without the export's own verification."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter
from export_cases import SIZE, pictures

from autonl_tf.arch import presets
from autonl_tf.arch.spec import Normalization
from autonl_tf.data.images import normalize, preprocess_for_eval
from autonl_tf.errors import UserError
from autonl_tf.export import tflite
from autonl_tf.export.graph_facts import graph_facts
from autonl_tf.networks.network import build_network


@pytest.fixture(scope="module")
def served(exported):
    return tf.saved_model.load(str(exported[0] / "saved_model" / "1"))


def logits_of(case, images) -> np.ndarray:
    return case.model(normalize(tf.constant(images), Normalization()), training=False).numpy()


def test_the_network_of_these_tests_has_everything(everything):
    products = [layer for layer in everything.model.layers if layer.name.endswith("nl_product")]
    assert {layer.affinity_first for layer in products} == {True, False}
    assert {layer.stride for layer in products} == {1, 2}
    images = pictures(3, first=10)
    probabilities = tf.nn.softmax(logits_of(everything, images)).numpy()
    assert np.ptp(probabilities, axis=0).max() > 0.05  # answers depend on the image
    without = keras.models.clone_model(everything.model)
    without.set_weights(everything.model.get_weights())
    for layer in without.layers:
        if layer.name.endswith("nl_bn"):
            layer.gamma.assign(tf.zeros_like(layer.gamma))
    difference = without(normalize(images, Normalization()), training=False).numpy() - logits_of(everything, images)
    assert np.abs(difference).max() > 0.05  # and on LightNL


def test_float_images_signature_equals_the_model(everything, served):
    images = pictures(3, first=10)
    got = served.signatures["float_images"](images=tf.constant(images))
    expected = logits_of(everything, images)
    np.testing.assert_allclose(got["logits"], expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(got["probabilities"], tf.nn.softmax(expected), rtol=0, atol=1e-5)
    assert {name: value.dtype for name, value in got.items()} == {
        "classes": tf.string,
        "scores": tf.float32,
        "probabilities": tf.float32,
        "logits": tf.float32,
    }


def test_encoded_images_of_several_sizes_and_formats_go_in_one_batch(everything, served):
    encoded = everything.encoded_images
    got = served.signatures["serving_default"](image_bytes=tf.constant(encoded))
    images = np.stack([preprocess_for_eval(tf.constant(data), SIZE) for data in encoded])
    np.testing.assert_allclose(got["logits"], logits_of(everything, images), rtol=0, atol=1e-4)
    alone = served.signatures["serving_default"](image_bytes=tf.constant(encoded[2:3]))
    np.testing.assert_allclose(alone["logits"][0], got["logits"][2], rtol=0, atol=1e-4)


def test_the_five_best_classes_are_named_best_first(everything, served):
    got = served.signatures["float_images"](images=tf.constant(pictures(3, first=10)))
    names = everything.description.class_names
    for row, probabilities in enumerate(got["probabilities"].numpy()):
        best = sorted(range(len(names)), key=lambda label, p=probabilities: -p[label])[:5]
        assert [name.decode() for name in got["classes"].numpy()[row]] == [names[label] for label in best]
        np.testing.assert_array_equal(got["scores"][row], probabilities[best])


def test_fewer_classes_than_five_are_all_named(small, exported_small):
    served = tf.saved_model.load(str(exported_small[0] / "saved_model" / "1"))
    got = served.signatures["float_images"](images=tf.constant(pictures(3, first=10)))
    assert got["classes"].shape == got["scores"].shape == (3, 3)
    assert all(set(row) == {b"a", b"b", b"c"} for row in got["classes"].numpy())


def test_bytes_that_are_no_image_are_an_error_and_the_next_request_works(everything, served):
    run = served.signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        run(image_bytes=tf.constant([b"no image"]))
    assert run(image_bytes=tf.constant(everything.encoded_images[:1]))["logits"].shape == (1, 7)


def test_signatures_take_any_batch_and_the_stated_shape_only(served):
    by_bytes, by_pixels = (served.signatures[name] for name in ("serving_default", "float_images"))
    assert by_bytes.structured_input_signature[1] == {
        "image_bytes": tf.TensorSpec([None], tf.string, name="image_bytes")
    }
    assert by_pixels.structured_input_signature[1] == {
        "images": tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="images")
    }


def test_no_keras_object_is_in_the_saved_model(exported):
    names = {path.name for path in (exported[0] / "saved_model" / "1").iterdir()}
    assert {"saved_model.pb", "variables"} <= names
    assert "keras_metadata.pb" not in names


def test_tflite_equals_the_model(everything, exported):
    images = pictures(3, first=10)
    interpreter = Interpreter(model_path=str(exported[0] / "model_fp32.tflite"))
    assert interpreter.get_signature_list() == {"classify": {"inputs": ["images"], "outputs": ["probabilities"]}}
    run = interpreter.get_signature_runner("classify")
    got = np.concatenate([run(images=image[None])["probabilities"] for image in images])
    np.testing.assert_allclose(got, tf.nn.softmax(logits_of(everything, images)), rtol=0, atol=1e-5)
    (entry,) = interpreter.get_input_details()
    assert entry["shape"].tolist() == [1, SIZE, SIZE, 3] and entry["dtype"] == np.float32


def test_the_whole_tflite_graph_is_one_partition_of_built_in_ops(exported):
    path = exported[0] / "model_fp32.tflite"
    facts = graph_facts(path)
    assert facts.xnnpack_partitions == 1 and facts.xnnpack_whole
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "BATCH_MATMUL", "SOFTMAX"} <= set(facts.ops)
    assert CompiledModel.from_file(str(path)).is_fully_accelerated()


def convert(function, path, ops):
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.target_spec.supported_ops = ops
    path.write_bytes(converter.convert())
    return path


def test_a_graph_that_the_delegate_does_not_take_whole_is_reported_so(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 4])])
    def strided(x):
        return tf.nn.relu(tf.nn.relu(x * 2.0)[:, ::2, ::2] * 3.0 + 1.0)

    path = convert(strided, tmp_path / "m.tflite", [tf.lite.OpsSet.TFLITE_BUILTINS])
    facts = graph_facts(path)
    assert facts.xnnpack_partitions == 2 and not facts.xnnpack_whole
    assert not CompiledModel.from_file(str(path)).is_fully_accelerated()

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 4])])
    def one_sided(x):
        return x[:, ::2, ::2] * 3.0 + 1.0

    facts = graph_facts(convert(one_sided, tmp_path / "n.tflite", [tf.lite.OpsSet.TFLITE_BUILTINS]))
    assert facts.xnnpack_partitions == 1 and not facts.xnnpack_whole


def test_an_op_that_is_not_built_in_is_an_error_with_its_name(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([3, 3])])
    def determinant(x):
        return tf.linalg.det(x)

    path = convert(determinant, tmp_path / "m.tflite", [tf.lite.OpsSet.SELECT_TF_OPS])
    with pytest.raises(UserError, match="FlexMatrixDeterminant"):
        graph_facts(path)


def test_autonl_s_at_224_pixels_is_one_partition(tmp_path):
    model = build_network(presets.load("autonl_s"), image_size=224, num_classes=1000)
    for layer in model.layers:
        if layer.name.endswith("nl_bn"):  # at zero the converter could fold LightNL away
            layer.gamma.assign(tf.ones_like(layer.gamma))
    tflite.convert_fp32(model, tmp_path / "s.tflite", normalization=Normalization())
    facts = graph_facts(tmp_path / "s.tflite")
    assert facts.xnnpack_partitions == 1 and facts.xnnpack_whole
    assert {"BATCH_MATMUL", "STRIDED_SLICE"} <= set(facts.ops)
    assert [path.name for path in tmp_path.iterdir()] == ["s.tflite"]
