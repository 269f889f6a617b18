import numpy as np
import pytest
import tensorflow as tf

from autonl_tf.layers.gated import GatedBatchNormalization, GatedLightNL, GatedSqueezeExcite
from autonl_tf.layers.gates import explored_gate, indicator


def test_indicator_is_hard_forward_and_soft_backward():
    z = tf.constant([-2.0, -1e-6, 0.0, 0.5, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(z)
        gate = indicator(z)
    np.testing.assert_array_equal(gate, [0, 0, 1, 1, 1])
    sigmoid = 1 / (1 + np.exp(-z.numpy()))
    np.testing.assert_allclose(tape.gradient(gate, z), sigmoid * (1 - sigmoid), rtol=1e-6)


def test_a_flipped_gate_takes_its_other_value_and_the_sigmoids_slope():
    z, flip = tf.constant([-0.3, 0.3]), tf.constant([1.0, 1.0])
    with tf.GradientTape() as tape:
        tape.watch(z)
        gate = explored_gate(z, flip)
    np.testing.assert_array_equal(gate, [1, 0])
    np.testing.assert_allclose(tape.gradient(gate, z), tf.sigmoid(z) * tf.sigmoid(-z), rtol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_a_masked_channel_is_zero_after_batch_norm_and_the_others_are_untouched(training):
    x = tf.random.stateless_normal([4, 5, 5, 6], [1, 2]) * 3 + 1
    layer = GatedBatchNormalization()
    layer.build(x.shape)
    layer.beta.assign(tf.range(6.0) + 1)
    plain = layer(x, training=training)
    masked = layer(x, tf.constant([1.0, 0, 1, 0, 1, 0]), training=training)
    np.testing.assert_array_equal(masked[..., 1::2], tf.zeros_like(masked[..., 1::2]))
    if not training:
        np.testing.assert_array_equal(masked[..., ::2], plain[..., ::2])
    np.testing.assert_allclose(masked[..., ::2], plain[..., ::2], atol=1e-5)


def test_batch_norm_statistics_of_a_closed_channel_stay_alive():
    x = tf.random.stateless_normal([64, 5, 5, 2], [1, 2]) * 3 + 7
    layer = GatedBatchNormalization()
    for _ in range(500):
        layer(x, tf.constant([1.0, 0.0]), training=True)
    np.testing.assert_allclose(layer.moving_mean, tf.reduce_mean(x, [0, 1, 2]), rtol=0.02)
    np.testing.assert_allclose(layer.moving_variance, tf.math.reduce_variance(x, [0, 1, 2]), rtol=0.02)


def test_squeeze_excite_off_is_a_scale_of_exactly_1():
    x = tf.random.stateless_normal([2, 4, 4, 8], [1, 2])
    layer = GatedSqueezeExcite((2, 4))
    np.testing.assert_array_equal(layer(x, [tf.constant(0.0), tf.constant(1.0)]), x)


def test_a_smaller_squeeze_excite_is_the_first_part_of_the_largest():
    x = tf.random.stateless_normal([2, 4, 4, 8], [1, 2])
    large = GatedSqueezeExcite((2, 4))
    large(x, [tf.constant(1.0)] * 2)
    large.reduce.bias.assign([1.0, 2.0, 3.0, 4.0])
    small = GatedSqueezeExcite((2,))
    small(x, [tf.constant(1.0)])
    small.reduce.set_weights([large.reduce.kernel[..., :2], large.reduce.bias[:2]])
    small.expand.set_weights([large.expand.kernel[:, :, :2], large.expand.bias])
    got = large(x, [tf.constant(1.0), tf.constant(0.0)])
    np.testing.assert_allclose(got, small(x, [tf.constant(1.0)]), atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_squeeze_excites_scale_and_its_gates_gradient_are_not_rounded_by_a_short_type(precision):
    x = tf.cast(tf.random.stateless_normal([2, 16, 16, 64], [1, 2]), precision)
    layer = GatedSqueezeExcite((4,), dtype="float32" if precision == "float32" else f"mixed_{precision}")
    gate = tf.Variable(1.0)
    layer(x, [gate])
    layer.expand.bias.assign(tf.fill([64], -5.0))  # scales of about 0.007, of which 1 - (1 - s) leaves few digits
    wide = tf.cast(x, tf.float64)
    mean = tf.reduce_mean(x, [1, 2], keepdims=True)
    scale = tf.sigmoid(tf.cast(layer.expand(tf.nn.silu(layer.reduce(mean))), tf.float64))
    with tf.GradientTape() as tape:
        y = layer(x, [gate])
        loss = tf.reduce_sum(tf.cast(y, tf.float32))
    unit = {"float32": 2.0**-20, "bfloat16": 2.0**-8, "float16": 2.0**-11}[precision]
    np.testing.assert_allclose(tf.cast(y, tf.float64), wide * scale, rtol=2 * unit, atol=1e-7)
    expected = -tf.reduce_sum(wide * (1 - scale))
    # The layer's sum over height and width is in the compute type.
    np.testing.assert_allclose(tape.gradient(loss, gate), expected, rtol=8 * unit)


def distances_by_definition(x, filters, strides):
    """Affinities and contexts written out, float64."""
    batch, _, _, channels = x.shape
    flat = x.reshape(batch, -1, channels).astype(np.float64)
    affinity = [np.einsum("bpc,bqc->bpq", flat[..., :c], flat[..., :c]) for c in filters]
    norm = lambda a: np.sqrt((a**2).sum((1, 2)))  # noqa: E731
    by_ratio = [(norm(a - affinity[-1]) / norm(affinity[-1])).mean() for a in affinity[:-1]]
    contexts = []
    for stride in strides:
        g = x[:, ::stride, ::stride].reshape(batch, -1, channels).astype(np.float64)
        contexts.append(np.einsum("bqc,bqd->bcd", g[..., : filters[-1]], g) / g.shape[1])
    by_stride = [(norm(k - contexts[-1]) / norm(contexts[-1])).mean() for k in contexts[:-1]]
    return by_ratio, by_stride


@pytest.mark.parametrize(("filters", "strides"), [((2, 4, 6), (4, 2, 1)), ((6,), (2, 1)), ((2, 6), (1,)), ((6,), (1,))])
def test_light_nl_distances_equal_their_definition(filters, strides):
    x = np.random.default_rng(0).normal(size=[3, 8, 8, 12]).astype(np.float32)
    layer = GatedLightNL(filters, strides)
    gates = [[tf.constant(1.0)] * (len(options) - 1) for options in (filters, strides)]
    _, (by_ratio, by_stride) = layer(x, tf.constant(1.0), *gates, training=True)
    expected = distances_by_definition(x, filters, strides)
    np.testing.assert_allclose(by_ratio, expected[0], rtol=1e-4)
    np.testing.assert_allclose(by_stride, expected[1], rtol=1e-4)


def test_light_nl_distances_take_no_gradient():
    x = tf.random.stateless_normal([2, 4, 4, 8], [1, 2])
    layer = GatedLightNL((1, 2), (2, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        _, distances = layer(x, tf.constant(1.0), [tf.constant(1.0)], [tf.constant(1.0)], training=True)
        total = tf.add_n([*distances[0], *distances[1]])
    assert tape.gradient(total, x) is None


def test_light_nl_off_is_the_identity():
    x = tf.random.stateless_normal([2, 4, 4, 8], [1, 2])
    layer = GatedLightNL((1, 2), (2, 1))
    layer(x, tf.constant(1.0), [tf.constant(1.0)], [tf.constant(1.0)])
    layer.bn.gamma.assign(tf.ones([8]))
    layer.bn.beta.assign(tf.ones([8]))
    out, _ = layer(x, tf.constant(0.0), [tf.constant(1.0)], [tf.constant(1.0)], training=True)
    np.testing.assert_array_equal(out, x)


def test_light_nl_presence_value_is_about_1_at_initialisation():
    layer = GatedLightNL((100, 200), (1,))
    layer.build([None, 4, 4, 800])
    assert float(layer.presence_value()) == pytest.approx(1.0, abs=0.05)
