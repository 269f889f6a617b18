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
    named = autonl_tf.decode_predictions(scores, class_names=str(tmp_path / "labels.txt"))
    assert [name for _, name, _ in named[0]] == ["honey bee", "cat", "ant"]


@pytest.mark.parametrize(
    ("scores", "names", "culprit"),
    [(np.zeros(3), None, r"expected \[batch, classes\]"), (np.zeros([1, 3]), ["a", "b"], "2 names for 3 classes")],
)
def test_what_cannot_be_decoded_is_refused(scores, names, culprit):
    with pytest.raises(ValueError, match=culprit):
        autonl_tf.decode_predictions(scores, class_names=names)
