"""The SavedModel behind TensorFlow Serving's API: a real gRPC client, warm-up, batches, and requests that are wrong."""

from __future__ import annotations

import struct
import zlib
from concurrent import futures

import numpy as np
import pytest
import tensorflow as tf
from export_cases import SIZE, smooth_picture

import autonl_tf
from autonl_tf.arch import presets
from autonl_tf.checkpoint.opening import open_checkpoint
from autonl_tf.data.images import preprocess_for_eval
from autonl_tf.export import saved_model, serving

grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving.apis.predict_pb2")

from google.protobuf import text_format  # noqa: E402
from serving_stub import serving as served_by  # noqa: E402
from tensorflow_serving.apis import prediction_log_pb2  # noqa: E402
from tensorflow_serving.config import model_server_config_pb2  # noqa: E402


@pytest.fixture(scope="module")
def client(exported):
    with served_by(exported[0] / "saved_model" / "1", serving.MODEL_NAME) as found:
        yield found


@pytest.fixture(scope="module")
def encoded():
    """32 files of different sizes, JPEG and PNG."""
    pictures = [smooth_picture(seed, 40 + seed, 60) for seed in range(32)]
    encoders = (tf.io.encode_jpeg, tf.io.encode_png)
    return [encoders[seed % 2](picture).numpy() for seed, picture in enumerate(pictures)]


def good(client, encoded):
    """The next request works."""
    assert client.predict(image_bytes=encoded[:1])["probabilities"].shape == (1, 7)


def refused(client, words: str | None, **inputs):
    with pytest.raises(grpc.RpcError, match=words) as caught:
        client.predict(**inputs)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, caught.value.details()


def test_batch_32_answers_as_batch_1(client, encoded):
    together = client.predict(image_bytes=encoded)
    for index in (0, 7, 31):
        alone = client.predict(image_bytes=[encoded[index]])
        np.testing.assert_allclose(together["logits"][index], alone["logits"][0], rtol=1e-4, atol=1e-4)
        assert together["classes"][index].tolist() == alone["classes"][0].tolist()
    images = np.stack([preprocess_for_eval(tf.constant(data), SIZE).numpy() for data in encoded])
    by_pixels = client.predict("float_images", images=images)
    np.testing.assert_allclose(by_pixels["logits"], together["logits"], rtol=1e-4, atol=1e-4)


def test_eight_at_a_time_answer_as_one_by_one(client, encoded):
    alone = [client.predict(image_bytes=[data])["logits"][0] for data in encoded]
    with futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda data: client.predict(image_bytes=[data])["logits"][0], encoded))
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-4)


def test_the_warm_up_file_replays(client, exported):
    path = exported[0] / "saved_model" / "1" / serving.WARMUP
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    assert 0 < len(records) <= 1000
    seen = set()
    for record in records:
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        response = client.stub.Predict(request, timeout=60)
        size = response.outputs["probabilities"].tensor_shape.dim[0].size
        seen.add((request.model_spec.signature_name, size))
    signatures = (saved_model.BYTES_SIGNATURE, saved_model.FLOAT_SIGNATURE)
    assert seen == {(name, size) for name in signatures for size in serving.BATCH_SIZES}


def test_the_configuration_samples_are_what_the_server_reads(exported):
    text = (exported[0] / serving.MODELS_CONFIG).read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert model.name == serving.MODEL_NAME and model.model_platform == "tensorflow" and model.base_path
    batching = (exported[0] / serving.BATCHING_CONFIG).read_text()
    fields = [line for line in batching.splitlines() if not line.startswith("#")]
    sizes = [int(line.split(":")[1]) for line in fields if line.startswith("allowed_batch_sizes")]
    largest = next(line for line in fields if line.startswith("max_batch_size"))
    # The server insists: ascending, the last equal to the largest batch.
    assert sizes == sorted(sizes) and largest == f"max_batch_size {{ value: {sizes[-1]} }}"


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_bytes_that_are_no_image(client, encoded, data):
    refused(client, None, image_bytes=[data])
    refused(client, None, image_bytes=[encoded[0], data])
    good(client, encoded)


def test_an_empty_batch(client, encoded):
    refused(client, "the batch is empty", image_bytes=np.zeros([0], object))
    refused(client, "the batch is empty", signature="float_images", images=np.zeros([0, SIZE, SIZE, 3], np.float32))
    good(client, encoded)


@pytest.mark.parametrize("shape", [[1, 16, 16, 3], [1, SIZE, SIZE, 1], [SIZE, SIZE, 3], [0, 16, 16, 3], [SIZE], []])
def test_a_wrong_shape(client, encoded, shape):
    words = r"images must have shape \[batch, 32, 32, 3\]"
    refused(client, words, signature="float_images", images=np.zeros(shape, np.float32))
    good(client, encoded)


@pytest.mark.parametrize("shape", [[], [1, 1], [1, 2], [0, 1]])
def test_strings_that_are_no_list(client, encoded, shape):
    images = np.empty(shape, object)
    images[...] = encoded[0]
    refused(client, r"image_bytes must have shape \[batch\]", image_bytes=images)
    good(client, encoded)


def test_a_wrong_type_and_a_wrong_name(client, encoded):
    refused(client, None, signature="float_images", images=np.zeros([1, SIZE, SIZE, 3], np.uint8))
    refused(client, "inputs must be", image=encoded[:1])
    good(client, encoded)


def test_an_image_whose_crop_is_empty(client, encoded):
    for encode in (tf.io.encode_jpeg, tf.io.encode_png):
        refused(client, "too small to leave a crop", image_bytes=[encode(smooth_picture(0, 1, 1)).numpy()])
        refused(client, "too small to leave a crop", image_bytes=[encode(smooth_picture(0, 1, 50)).numpy()])
    good(client, encoded)


def test_six_thousand_pixels_squared_are_answered(client):
    large = tf.io.encode_jpeg(tf.fill([6000, 6000, 3], tf.constant(127, tf.uint8))).numpy()
    assert client.predict(image_bytes=[large])["probabilities"].shape == (1, 7)


def test_more_pixels_than_the_limit_are_refused_before_they_are_decoded(client, encoded):
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    refused(client, "more than 120000000 pixels", image_bytes=[b"\x89PNG\r\n\x1a\n" + chunk])
    wide = tf.io.encode_jpeg(tf.fill([1, 60_000, 3], tf.constant(1, tf.uint8))).numpy()
    # A JPEG's height stands in its frame header, at a fixed place behind the marker.
    place = wide.index(b"\xff\xc0") + 5
    refused(client, "more than", image_bytes=[wide[:place] + struct.pack(">H", 60_000) + wide[place + 2 :]])
    good(client, encoded)


def test_published_weights_answer_behind_the_server_as_in_keras(encoded, tmp_path):
    size, spec = 96, presets.load("efficientnet_lite0")
    sizes = {"input_shape": (size, size, 3), "classifier_activation": None}
    model = autonl_tf.from_arch("efficientnet_lite0", weights="imagenet", **sizes)
    names = open_checkpoint("imagenet", spec).class_names
    directory = tmp_path / "1"
    saved_model.export_saved_model(model, directory, class_names=names, normalization=spec.normalization)
    images = np.stack([preprocess_for_eval(tf.constant(data), size).numpy() for data in encoded[:4]])
    expected = model((images - 127) / 128).numpy()  # Lite's normalisation, by its release
    with served_by(directory, serving.MODEL_NAME) as client:
        found = client.predict(image_bytes=encoded[:4])
    np.testing.assert_allclose(found["logits"], expected, rtol=1e-4, atol=1e-4)
    best = found["classes"][:, 0].tolist()
    assert best == [names[index].encode() for index in expected.argmax(axis=1)]
