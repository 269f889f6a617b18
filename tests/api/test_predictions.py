import numpy as np
import pytest
import tensorflow as tf

import autonl_tf
from autonl_tf.arch.spec import Normalization


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_preprocessing_normalises_by_channel_and_leaves_its_argument(dtype):
    x = np.random.default_rng(0).integers(0, 256, [2, 4, 5, 3]).astype(dtype)
    before = x.copy()
    y = autonl_tf.preprocess_input(x)
    np.testing.assert_allclose(
        y, (before.astype(np.float64) - Normalization().mean) / Normalization().stddev, rtol=1e-5, atol=1e-6
    )
    assert y.dtype == np.float32 and isinstance(y, np.ndarray)
    np.testing.assert_array_equal(x, before)
    assert tf.is_tensor(autonl_tf.preprocess_input(tf.constant(x)))


def test_pixels_are_normalised_within_tf_data_without_a_warning(caplog):
    def normalised(x):
        return autonl_tf.preprocess_input(x, arch="efficientnet_lite3")

    (y,) = tf.data.Dataset.from_tensors(tf.fill([2, 2, 3], 255)).map(normalised)
    np.testing.assert_allclose(y, 1.0)
    assert "AutoGraph" not in caplog.text


def test_each_network_gets_pixels_as_its_architecture_says(tmp_path):
    x = np.full([1, 2, 2, 3], 255, np.uint8)
    np.testing.assert_allclose(autonl_tf.preprocess_input(x, arch="efficientnet_lite3"), 1.0)
    (tmp_path / "arch.txt").write_text("network mean=55 stddev=1,2,4\nr1_k3_s11_e1_i32_o16\n")
    for arch in (str(tmp_path), str(tmp_path / "arch.txt")):
        np.testing.assert_allclose(autonl_tf.preprocess_input(x, arch=arch)[0, 0, 0], [200, 100, 50])
    np.testing.assert_array_equal(autonl_tf.preprocess_input(x, "channels_last"), autonl_tf.preprocess_input(x))
    with pytest.raises(ValueError, match=r"data_format='channels_first': accepted: 'channels_last'; TensorFlow on"):
        autonl_tf.preprocess_input(x, "channels_first")
    with pytest.raises(autonl_tf.UserError, match="--arch=nosuch"):
        autonl_tf.preprocess_input(x, arch="nosuch")


def test_pixels_are_normalised_in_a_pipeline_that_knows_little_of_their_shape():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    encoded = tf.io.encode_png(pixels).numpy()
    for decode in (tf.io.decode_image, tf.io.decode_png):
        images = tf.data.Dataset.from_tensors(encoded).map(lambda one, of=decode: autonl_tf.preprocess_input(of(one)))
        np.testing.assert_allclose(next(iter(images)), autonl_tf.preprocess_input(pixels), rtol=1e-6)


@pytest.mark.parametrize("scores", [np.array([[0, 200, 55]], np.uint8), np.array([[-128, 100, 5]], np.int8)])
def test_a_quantized_files_whole_numbers_are_ranked_by_their_values(scores):
    ((best, *_),) = decoded = autonl_tf.decode_predictions(scores, top=3, class_names=["ant", "bee", "cat"])
    assert [name for _, name, _ in decoded[0]] == ["bee", "cat", "ant"] and best[2] == scores.max()
    assert autonl_tf.decode_predictions(scores > 60, top=1)[0][0][0] == 1


def test_preprocessing_wants_rgb():
    with pytest.raises(ValueError, match="channels come last"):
        autonl_tf.preprocess_input(np.zeros([1, 3, 4, 4]))


def test_predictions_are_decoded_best_first(tmp_path):
    scores = np.array([[0.1, 0.6, 0.3], [0.5, 0.0, 0.5]])
    assert autonl_tf.decode_predictions(scores, top=2) == [
        [(1, "1", 0.6), (2, "2", 0.3)],
        [(0, "0", 0.5), (2, "2", 0.5)],
    ]
    (tmp_path / "labels.txt").write_text("ant\nhoney bee\ncat\n")
    for path in (str(tmp_path / "labels.txt"), tmp_path / "labels.txt", str(tmp_path), tmp_path):
        named = autonl_tf.decode_predictions(scores, class_names=path)
        assert [name for _, name, _ in named[0]] == ["honey bee", "cat", "ant"]
    named = autonl_tf.decode_predictions(scores, class_names=np.array(["x", "y", "z"]))
    assert [entry[:2] for entry in named[0]] == [(1, "y"), (2, "z"), (0, "x")]


@pytest.mark.parametrize("names", [None, "imagenet"])
def test_a_thousand_classes_are_imagenets_unless_named(names):
    scores = np.zeros([1, 1000])
    scores[0, [281, 517]] = 0.75, 0.25
    found = [("n02123045", "tabby", 0.75), ("n03126707", "crane", 0.25)]
    assert autonl_tf.decode_predictions(scores, top=2, class_names=names) == [found]
    own = [f"mine {number}" for number in range(1000)]
    assert autonl_tf.decode_predictions(scores, top=1, class_names=own) == [[(281, "mine 281", 0.75)]]


def test_synsets_among_a_runs_labels_are_shown_with_their_names(tmp_path):
    (tmp_path / "labels.txt").write_text("n02123045\nmy cat\n")
    ((best,),) = autonl_tf.decode_predictions(np.array([[0.9, 0.1]]), top=1, class_names=tmp_path)
    assert best == (0, "n02123045 tabby", 0.9)


@pytest.mark.parametrize(
    ("scores", "names", "culprit"),
    [(np.zeros(3), None, r"expected \[batch, classes\]"), (np.zeros([1, 3]), ["a", "b"], "2 names for 3 classes")],
)
def test_what_cannot_be_decoded_is_refused(scores, names, culprit):
    with pytest.raises(ValueError, match=culprit):
        autonl_tf.decode_predictions(scores, class_names=names)
    for top in (0, -1, "2"):
        with pytest.raises(ValueError, match=rf"top={top!r}: accepted: a whole number from 1 on"):
            autonl_tf.decode_predictions(np.zeros([1, 3]), top)


def test_labels_that_are_not_there_are_named(tmp_path):
    with pytest.raises(autonl_tf.UserError, match=rf"label file {tmp_path}/labels\.txt: No such file"):
        autonl_tf.decode_predictions(np.zeros([1, 3]), class_names=tmp_path)
    with pytest.raises(ValueError, match="1000 names for 3 classes"):
        autonl_tf.decode_predictions(np.zeros([1, 3]), class_names="imagenet")
