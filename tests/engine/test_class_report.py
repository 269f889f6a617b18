import numpy as np
import pytest
import tensorflow as tf

from autonl_tf.engine.class_report import class_report
from autonl_tf.pictures.mistakes import draw_confusion, draw_mistakes


def batches():
    """Images whose first pixel's channels are the logits; two batches, the last padded with weight 0."""
    rows = [([9, 0, 0], 0), ([0, 5, 0], 0), ([0, 9, 0], 0), ([0, 1, 0], 1), ([0, 0, 3], 1), ([7, 7, 7], 2)]
    for start in (0, 4):
        part = rows[start : start + 4] + [([0, 0, 9], 0)] * (start // 2)
        images = np.zeros([4, 2, 2, 3], np.float32)
        images[:, 0, 0] = [logits for logits, _ in part]
        weights = [1.0] * len(rows[start : start + 4]) + [0.0] * (start // 2)
        yield tf.constant(images), tf.constant([label for _, label in part]), tf.constant(weights)


def model(images, training):
    return images[:, 0, 0]


def test_every_example_counts_once_and_padding_never():
    report = class_report(model, batches(), 3)
    np.testing.assert_array_equal(report.confusion, [[1, 2, 0], [0, 1, 1], [1, 0, 0]])
    np.testing.assert_allclose(report.accuracy, [1 / 3, 1 / 2, 0])
    np.testing.assert_allclose(report.precision, [1 / 2, 1 / 3, 0])
    assert [report.taken_for(label) for label in range(3)] == [(1, 2), (2, 1), (0, 1)]


def test_the_surest_mistakes_are_kept_in_order():
    mistakes = class_report(model, batches(), 3).mistakes
    assert [(m.label, m.predicted) for m in mistakes] == [(0, 1), (0, 1), (1, 2), (2, 0)]
    assert mistakes[0].probability > mistakes[1].probability > mistakes[2].probability
    np.testing.assert_array_equal(mistakes[0].image[0, 0], [0, 9, 0])
    two = class_report(model, batches(), 3, kept=2).mistakes
    assert [m.probability for m in two] == [m.probability for m in mistakes[:2]]


def test_an_image_whose_logits_are_not_finite_is_of_no_class():
    def broken(images, training):
        logits = model(images, training)
        return tf.where(logits == 9, np.nan, tf.where(logits == 7, np.inf, logits))  # of labels 0, 0 and 2

    report = class_report(broken, batches(), 3)
    np.testing.assert_array_equal(report.confusion, [[0, 1, 0], [0, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(report.not_finite, [2, 0, 1])
    np.testing.assert_array_equal(report.counts, [3, 2, 1])
    np.testing.assert_allclose(report.accuracy, [0, 1 / 2, 0])
    assert [(m.label, m.predicted) for m in report.mistakes] == [(0, 1), (1, 2)]


def test_a_class_without_images_has_no_accuracy():
    report = class_report(model, list(batches()), 4 - 1)
    assert not np.isnan(report.accuracy).any()
    report = class_report(lambda images, training: tf.pad(model(images, training), [[0, 0], [0, 1]]), batches(), 4)
    assert np.isnan(report.accuracy[3]) and report.taken_for(3) is None


@pytest.mark.parametrize("count", [2, 15, 80])
def test_a_confusion_of_any_size_is_drawn(tmp_path, count):
    confusion = np.eye(count, dtype=np.int64) * 5
    draw_confusion(confusion, [f"class {i}" for i in range(count)], tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_drawn(tmp_path):
    draw_mistakes([(np.zeros([8, 8, 3]), "ant", "bee", 0.9)] * 5, tmp_path / "m.png", title="Mistakes")
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
