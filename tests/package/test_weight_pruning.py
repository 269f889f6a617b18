"""benchmarks/weight_pruning.py's networks have the zeros and the values that they are said to have."""

import importlib
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch import blockstring
from autonl_tf.networks.network import build_network

SPEC = "r1_k3_s22_e1_i32_o16_noskip\nr1_k3_s11_e3_i16_o16_nonlocal0.25-1_se0.5\n"


@pytest.fixture
def imported(monkeypatch):
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks"))
    return importlib.import_module


def network():
    keras.utils.set_random_seed(0)
    return build_network(blockstring.parse(SPEC, "test"), image_size=32, num_classes=4)


def batches():
    images = np.random.default_rng(0).normal(size=[8, 32, 32, 3]).astype(np.float32)
    return tf.data.Dataset.from_tensors((images, np.arange(8) % 4)).repeat()


def test_the_least_weights_of_1x1_convolutions_alone_become_zero(imported):
    pruning, model, before = imported("support.pruning"), network(), network()
    pruning.prune(model, 0.75)
    for layer, whole in zip(model.layers, before.layers, strict=True):
        for kernel, old in zip(layer.get_weights(), whole.get_weights(), strict=True):
            if not pruning.is_pointwise(layer) or kernel.ndim < 4:
                np.testing.assert_array_equal(kernel, old)
                continue
            assert np.sum(kernel == 0) == round(0.75 * kernel.size)
            np.testing.assert_array_equal(kernel[kernel != 0], old[kernel != 0])
            assert np.abs(old[kernel == 0]).max() <= np.abs(old[kernel != 0]).min()
    assert pruning.facts(model)["zeros"] == 0.75


def test_zeros_and_clusters_outlast_training(imported):
    pruning = imported("support.pruning")

    def train(model, callbacks):
        pruning.fit(model, callbacks, batches(), 12, 4)

    for made in (
        lambda: pruning.pruned_in_training(network(), 0.75, 12, train),
        lambda: pruning.clustered(network(), 8, train),
        lambda: pruning.clustered(network(), 8),
    ):
        model = network()
        pruning.take_weights(model, made())
        found = pruning.facts(model)
        assert found["zeros"] == pytest.approx(0.75, abs=0.01) or found["values"] <= 8
        trained = [not np.array_equal(a, b) for a, b in zip(model.get_weights(), network().get_weights(), strict=True)]
        assert any(trained)


def test_sparse_encoding_is_a_smaller_file_of_the_same_answers(imported, tmp_path):
    pruning, kernels = imported("support.pruning"), imported("support.sparse_kernels")
    model = network()
    pruning.prune(model, 0.9)
    paths = {kind: tmp_path / f"{kind}.tflite" for kind in ("dense", "sparse")}
    pruning.convert(model, 32, paths)
    assert paths["sparse"].stat().st_size < 0.8 * paths["dense"].stat().st_size
    found = kernels.compare(str(paths["dense"]), str(paths["sparse"]), runs=1)
    assert found["largest_difference"] < 1e-5 and found["pieces"] == 1
    model.get_layer("head_conv").kernel.assign(2 * model.get_layer("head_conv").kernel)
    pruning.convert(model, 32, {"dense": paths["sparse"]})
    assert not kernels.compare(str(paths["dense"]), str(paths["sparse"]), runs=1)["same_bits"]
