import numpy as np
import pytest
import tf_keras as keras
from golden_data import VALUES

from autonl_tf.arch import blockstring
from autonl_tf.networks.affinity import affinities
from autonl_tf.networks.network import build_network

POINTS = [(0.0, 0.0), (0.6, 0.3), (1.0, 1.0)]
TEXT = "r1_k3_s22_e1_i32_o8_{}\nr1_k3_s11_e2_i8_o8"


@pytest.mark.parametrize("token", ["nonlocal0.5-1", "nonlocal0.25-2", "embedded0.5-2", "embedded1-1"])
def test_affinities_weigh_the_values_to_what_the_block_computes(token):
    """y(q) = sum_p a(q, p) g(p), over H * W in LightNL."""
    model = build_network(blockstring.parse(TEXT.format(token)), image_size=32, num_classes=2)
    images = VALUES.inputs(0, 2, 32)
    (block,) = affinities(model, images, POINTS)
    light = token.startswith("nonlocal")
    layer = model.get_layer("block0_nl_product" if light else "block0_embedded_product")
    values = layer.input if light else layer.input[2]
    y, g = keras.Model(model.input, [layer.output, values])(images)
    if light:
        g = g[:, :: layer.stride, :: layer.stride]
    for index, (x, top) in enumerate(POINTS):
        weighed = np.einsum("bhw,bhwc->bc", block.maps[:, index], g) / (64 if light else 1)
        row, column = min(int(top * 8), 7), min(int(x * 8), 7)
        np.testing.assert_allclose(weighed, y[:, row, column], rtol=1e-3, atol=1e-6)


def test_a_network_without_non_local_blocks_has_none():
    model = build_network(blockstring.parse("r1_k3_s22_e1_i32_o8"), image_size=16, num_classes=2)
    assert affinities(model, np.zeros([1, 16, 16, 3], np.float32), POINTS) == []
