import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from autonl_tf.layers.dropout import Dropout


def model(rate=0.3):
    inputs = keras.Input([1000])
    return keras.Model(inputs, Dropout(rate)(inputs))


def test_dropout_keeps_the_mean_and_drops_its_share():
    keras.utils.set_random_seed(0)
    y = model()(tf.ones([50, 1000]), training=True).numpy()
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}


def test_dropout_is_the_identity_in_inference():
    x = tf.random.stateless_normal([3, 1000], [1, 2])
    np.testing.assert_array_equal(model()(x), x)


def test_a_restored_model_draws_on_where_the_saved_one_was(tmp_path):
    first, x = model(), tf.ones([2, 1000])
    first(x, training=True)
    path = tf.train.Checkpoint(model=first).save(str(tmp_path / "ckpt"))
    expected = [first(x, training=True) for _ in range(3)]
    second = model()
    tf.train.Checkpoint(model=second).restore(path).assert_existing_objects_matched()
    np.testing.assert_array_equal([second(x, training=True) for _ in range(3)], expected)


def test_draws_follow_the_global_seed_and_differ_from_step_to_step():
    draws = []
    for _ in range(2):
        keras.utils.set_random_seed(4)
        net = model()
        draws.append([net(tf.ones([1, 1000]), training=True).numpy() for _ in range(2)])
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0][0] != draws[0][1]).any()


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match="out of range"):
        Dropout(rate)
