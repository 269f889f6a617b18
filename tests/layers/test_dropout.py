"""Dropout: its share, and that what it drops follows from seed, step and the example's position alone."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from autonl_tf.layers.draws import drawing
from autonl_tf.layers.dropout import Dropout

WIDTH = 200


def model(rate=0.3, name="dropout"):
    inputs = keras.Input([WIDTH])
    return keras.Model(inputs, Dropout(rate, name=name)(inputs))


def dropped(net, batch=8, *, seed=0, step=5, micro_batch=0, count=1):
    with drawing(seed, tf.constant(step), tf.constant(micro_batch), count):
        return net(tf.ones([batch, WIDTH]), training=True).numpy()


@pytest.mark.parametrize("placed", [True, False])
def test_dropout_keeps_the_mean_and_drops_its_share(placed):
    net, x = model(), tf.ones([250, WIDTH])
    y = dropped(net, 250) if placed else net(x, training=True).numpy()
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}


def test_dropout_is_the_identity_in_inference():
    x = tf.random.stateless_normal([3, WIDTH], [1, 2])
    np.testing.assert_array_equal(model()(x), x)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_micro_batches_drop_what_the_whole_batch_drops(count):
    net = model()
    pieces = [dropped(net, 8 // count, micro_batch=number, count=count) for number in range(count)]
    np.testing.assert_array_equal(np.concatenate(pieces), dropped(net))


def test_equal_places_drop_alike_and_others_differ():
    first = dropped(model())
    np.testing.assert_array_equal(dropped(model()), first)
    for other in (dropped(model(), seed=1), dropped(model(), step=6), dropped(model(name="another"))):
        assert (other != first).mean() > 0.3
    assert (first[0] != first[1]).any()  # examples of one batch


def test_outside_of_a_run_every_call_draws_anew():
    net, x = model(), tf.ones([8, WIDTH])
    assert (net(x, training=True).numpy() != net(x, training=True).numpy()).any()


def test_a_traced_step_draws_as_an_eager_one_does():
    net = model()
    traced = tf.function(lambda step: _in_graph(net, step))
    np.testing.assert_array_equal(traced(tf.constant(3)), dropped(net, step=3))
    np.testing.assert_array_equal(traced(tf.constant(4)), dropped(net, step=4))


def _in_graph(net, step):
    with drawing(0, step, tf.constant(0), 1):
        return net(tf.ones([8, WIDTH]), training=True)
