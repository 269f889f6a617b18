import numpy as np
import tensorflow as tf

from autonl_tf.layers.gated import GatedBatchNormalization


def test_synchronized_variance_is_right_beside_a_large_mean():
    x = np.random.default_rng(0).normal(300, 1, [8, 16, 16, 4]).astype(np.float32)
    layer = GatedBatchNormalization(synchronized=True, momentum=0.0)
    layer(tf.constant(x), training=True)
    np.testing.assert_allclose(layer.moving_variance, x.astype(np.float64).var((0, 1, 2)), rtol=1e-3)
