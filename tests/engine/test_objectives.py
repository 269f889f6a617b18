"""Loss terms, top-k counts, and which variables are batch norm's."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given, settings
from hypothesis import strategies as st

from autonl_tf.arch.blockstring import parse
from autonl_tf.engine import batch_norm, objectives
from autonl_tf.engine.evaluate import Evaluator
from autonl_tf.networks.network import build_network


def test_cross_entropy_with_label_smoothing_in_closed_form():
    logits = np.array([[1.0, -2.0, 0.5, 3.0]], "f4")
    log_probabilities = logits - np.log(np.exp(logits).sum())
    targets = np.array([0.025, 0.025, 0.925, 0.025])
    reached = objectives.cross_entropy(tf.constant(logits), tf.constant([2]), 0.1).numpy()
    np.testing.assert_allclose(reached, [-(targets * log_probabilities[0]).sum()], rtol=1e-6)


@settings(max_examples=60)
@given(st.data())
def test_hits_equal_a_stable_sort(data):
    classes = data.draw(st.integers(2, 7))
    row = data.draw(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=classes, max_size=classes))
    label, k = data.draw(st.integers(0, classes - 1)), data.draw(st.integers(1, 9))
    best = np.argsort(-np.array(row), kind="stable")[:k]
    assert bool(objectives.hits(tf.constant([row]), tf.constant([label]), k)[0]) == (label in best)


def test_a_row_that_is_not_finite_is_never_a_hit():
    logits = tf.constant([[np.nan, 1.0], [0.0, np.inf], [0.0, 1.0]])
    assert objectives.hits(logits, tf.constant([1, 1, 1]), 1).numpy().tolist() == [False, False, True]


@keras.saving.register_keras_serializable("test")
class HomeMadeNorm(keras.layers.Layer):
    is_batch_norm = True

    def build(self, shape):
        self.gain = self.add_weight("gain", [shape[-1]])
        self.seen = self.add_weight("seen", [shape[-1]], trainable=False)

    def call(self, inputs):
        return inputs * self.gain


class Nested(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.layers.BatchNormalization(name="plainly_named")

    def call(self, inputs, training=None):
        return self.inner(inputs, training=training)


def make_model():
    x = image = keras.Input([4, 4, 3])
    x = keras.layers.Conv2D(2, 1, name="batch_normalization_by_name_only")(x)
    x = Nested(name="nested")(x)
    x = HomeMadeNorm(name="home_made")(x)
    return keras.Model(image, keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(x)))


def test_batch_norm_is_told_by_its_layer_not_its_name():
    model = make_model()
    decayed = [v.name for v in batch_norm.decayed_variables(model)]
    assert decayed == [
        "batch_normalization_by_name_only/kernel:0",
        "batch_normalization_by_name_only/bias:0",
        "logits/kernel:0",
        "logits/bias:0",
    ]
    averaged = batch_norm.averaged_variables(model)
    assert len(averaged) == len(model.trainable_variables) + 3
    assert {v.name for v in averaged} == {v.name for v in model.variables}


def test_objective_sums_up_to_mean_cross_entropy_plus_decay():
    model = make_model()
    images, labels = tf.random.stateless_normal([6, 4, 4, 3], [1, 2]), tf.constant([0, 1, 2, 0, 1, 2])
    objective = objectives.classification_objective(
        model, global_batch_size=12, num_micro_batches=2, label_smoothing=0.1, weight_decay_rate=0.5
    )
    loss, metrics = objective(images, labels, tf.constant(0))
    squares = sum(float((v.numpy() ** 2).sum()) for v in batch_norm.decayed_variables(model))
    entropy_sum, count = (float(x) for x in metrics["cross_entropy"])
    assert count == 6
    assert float(loss) == pytest.approx(entropy_sum / 12 + 0.5 * squares / 2 / 2, rel=1e-5)


def test_light_nls_scales_decay_if_asked_and_alone():
    model = build_network(parse("r2_k3_s22_e1_i32_o8_nonlocal0.25-1_noskip"), image_size=16, num_classes=3)
    gammas = [model.get_layer(f"block{index}_nl_bn").gamma for index in range(2)]
    assert [gamma.name for gamma in batch_norm.light_nl_gammas(model)] == [gamma.name for gamma in gammas]
    for gamma in gammas:
        gamma.assign(tf.fill([8], 0.5))
    images, labels = tf.random.stateless_normal([4, 16, 16, 3], [1, 2]), tf.constant([0, 1, 2, 0])
    losses = {}
    for decay in (0.0, 0.3):
        objective = objectives.classification_objective(
            model, global_batch_size=4, num_micro_batches=2, light_nl_decay=decay
        )
        losses[decay] = float(objective(images, labels, tf.constant(0))[0])
    assert losses[0.3] - losses[0.0] == pytest.approx(0.3 * 16 * 0.25 / 2 / 2, rel=1e-4)
    model.get_layer("block1_nl_bn").trainable = False
    assert len(batch_norm.light_nl_gammas(model)) == 1


def test_evaluation_counts_images_whose_logits_are_beyond_float16():
    image = keras.Input([1, 1, 3])
    model = keras.Model(image, keras.layers.Flatten()(image))
    images = np.array([[1, 2, 3], [1e5, 0, 0], [0, np.nan, 0], [0, -65504, 0], [np.inf, 0, 0]], "f4")[:, None, None]
    for weights, expected in (([1, 1, 1, 1, 0], 2), ([1, 0, 0, 1, 0], None)):
        scores = Evaluator(tf.distribute.get_strategy(), model)(batches(images, weights), sum(weights))
        assert scores.get("beyond_float16") == expected


def batches(model_images, weights):
    labels = tf.zeros([len(weights)], tf.int32)
    parts = (model_images, labels, tf.constant(weights, tf.float32))
    return tf.data.Dataset.from_tensor_slices(parts).batch(2)


def test_evaluation_ignores_padding_and_fails_on_a_wrong_count():
    image = keras.Input([1, 1, 3])
    model = keras.Model(image, keras.layers.Flatten()(image))  # the image is the logits
    images = np.array([[5, 0, 1], [0, 5, 1], [0, 5, 9], [7, 0, 0]], "f4").reshape(4, 1, 1, 3)
    strategy = tf.distribute.get_strategy()
    scores = Evaluator(strategy, model)(batches(images, [1, 1, 1, 0]), 3)
    assert (scores["top1"], scores["count"]) == (pytest.approx(1 / 3), 3)
    assert "top5" not in scores  # of three classes
    entropies = [np.log(np.exp(row).sum()) - row[0] for row in images.reshape(4, 3)[:3].astype("f8")]
    assert scores["loss"] == pytest.approx(np.mean(entropies), rel=1e-6)
    with pytest.raises(RuntimeError, match=r"counted 3 images.*holds 4"):
        Evaluator(strategy, model)(batches(images, [1, 1, 1, 0]), 4)


@pytest.mark.parametrize("batch", [512, 997, 4096])
def test_fifty_thousand_images_give_the_same_scores_for_any_batch(batch):
    """As many as ImageNet has for validation; padded to whole batches, as the input does."""
    count = 50_000
    logits = np.random.default_rng(0).normal(size=[count, 1, 1, 10]).astype("f4")
    labels = (np.arange(count) % 10).astype("i4")
    order = np.argsort(-logits.reshape(count, 10), axis=1)
    places = (order == labels[:, None]).argmax(axis=1)
    pad = -count % batch
    parts = (
        np.pad(logits, [(0, pad)] + [(0, 0)] * 3),
        np.pad(labels, (0, pad)),
        np.concatenate([np.ones(count, "f4"), np.zeros(pad, "f4")]),
    )
    image = keras.Input([1, 1, 10])
    model = keras.Model(image, keras.layers.Flatten()(image))
    dataset = tf.data.Dataset.from_tensor_slices(parts).batch(batch, drop_remainder=True)
    scores = Evaluator(tf.distribute.get_strategy(), model)(dataset, count)
    assert (scores["count"], scores["top1"], scores["top5"]) == (count, np.mean(places < 1), np.mean(places < 5))
