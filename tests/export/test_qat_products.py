"""LightNL's products in a quantization-aware file: what training simulates is what the file computes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_litert.tools import flatbuffer_utils
from export_cases import EVERYTHING, make_model, pictures

from autonl_tf.arch.spec import Normalization
from autonl_tf.data.images import normalize
from autonl_tf.export import int8, int8_products, rewrite, tflite
from autonl_tf.export.graph_facts import graph_facts
from autonl_tf.export.tflite_graph import kind_of
from autonl_tf.networks.quantized import calibrate, nothing_too_small, products_left_float, quantized_network
from autonl_tf.networks.quantizers import QuantizedProduct, RangeQuantizer

_BATCH_MATMUL = schema.BuiltinOperator.BATCH_MATMUL


@pytest.fixture(scope="module")
def quantized():
    """With both orders and strides, ranges known, weights as they were."""
    model = quantized_network(make_model(EVERYTHING, 5))
    calibrate(model, normalize(pictures(32), Normalization()).numpy())
    found = {(layer.affinity_first, layer.stride) for layer in products(model).values()}
    assert found >= {(True, 2), (False, 1), (False, 2)}
    return model


@pytest.fixture(scope="module")
def files(quantized, tmp_path_factory):
    folder = tmp_path_factory.mktemp("qat_products")
    paths = {float_products: folder / f"{float_products}.tflite" for float_products in (False, True)}
    facts = {"normalization": Normalization()}
    int8.convert_trained(quantized, paths[False], **facts)
    with products_left_float(quantized), nothing_too_small(quantized):
        tflite.convert_simulated(quantized, paths[True], **facts)
    rewrite.float_softmax(paths[True])
    return paths


def products(model) -> dict[str, QuantizedProduct]:
    return {layer.name: layer.layer for layer in model.layers if layer.name.endswith("nl_product")}


def operators(path):
    model = flatbuffer_utils.read_model(str(path))
    (graph,) = model.subgraphs
    return graph, [(kind_of(model, operator), operator) for operator in graph.operators]


@pytest.mark.parametrize("float_products", [False, True])
def test_every_product_is_int8_and_the_file_one_piece(quantized, files, float_products):
    graph, found = operators(files[float_products])
    kinds = [[graph.tensors[i].type for i in op.inputs] for kind, op in found if kind == _BATCH_MATMUL]
    wanted = schema.TensorType.FLOAT32 if float_products else schema.TensorType.INT8
    assert kinds == [[wanted] * 2] * 2 * len(products(quantized))
    facts = graph_facts(files[float_products])
    assert facts.xnnpack_partitions == 1 and facts.xnnpack_whole


@pytest.mark.parametrize("narrow", ["phi", "middle", "g"])
def test_a_range_that_holds_next_to_nothing_leaves_the_file_one_piece(quantized, files, tmp_path, narrow):
    path = tmp_path / "narrow.tflite"
    path.write_bytes(files[True].read_bytes())
    with products_left_float(quantized) as ranges:
        known = {name: {**found, **({narrow: 1e-6} if narrow in found else {})} for name, found in ranges.items()}
    assert int8_products.quantize_products(path, int8_products.trained(known)) == len(known)
    assert graph_facts(path).xnnpack_whole


def steps_apart(quantized, path, images) -> dict[str, np.ndarray]:
    """For every product in a file, y there less y of the network for the same x, in int8 steps of y."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    graph, found = operators(path)
    names = {tensor: graph.tensors[tensor].name.decode() for _, op in found for tensor in op.outputs}

    def by_name(kind, part):
        return [op for code, op in found if code == kind and part in names[op.outputs[0]]]

    def value(tensor):
        given = graph.tensors[tensor].quantization
        return interpreter.get_tensor(tensor).astype(np.float32) - np.float32(given.zeroPoint[0]), given.scale[0]

    apart = {}
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis])
        interpreter.invoke()
        for name in products(quantized):
            block = name.removeprefix("quant_").removesuffix("_product")
            (addition,) = by_name(schema.BuiltinOperator.ADD, f"{block}_add")
            (depthwise,) = by_name(schema.BuiltinOperator.DEPTHWISE_CONV_2D, f"{block}_bn")
            (x,) = [tensor for tensor in addition.inputs if tensor != depthwise.outputs[0]]
            integers, scale = value(x)
            wrapper = quantized.get_layer(name)
            expected = wrapper(tf.constant(integers * scale), training=False).numpy()
            low, high = _range(wrapper)
            got, _ = value(depthwise.inputs[0])
            apart.setdefault(name, []).append(got - np.rint(expected / ((high - low) / 255)))
    return {name: np.stack(values) for name, values in apart.items()}


def _range(wrapper) -> tuple[float, float]:
    held = {variable.name.split("/")[-1]: float(variable.read_value()) for variable in wrapper.variables}
    return held["output_low:0"], held["output_high:0"]


def test_the_file_computes_what_training_simulates(quantized, files):
    """But for the reference kernels' double rounding; float products for simulated int8 ones are further off, most
    where a calibrated range within the product cuts a picture's values."""

    def differing(float_products, alike=True):
        found = steps_apart(quantized, files[float_products], pictures(6, first=100))
        assert not alike or max(np.abs(apart).max() for apart in found.values()) <= 1
        return np.array([np.mean(apart != 0) for apart in found.values()])

    matched, crossed = differing(False), differing(True, alike=False)
    assert (matched < 0.04).all() and (matched < 0.6 * crossed).all(), (matched, crossed)
    with products_left_float(quantized):
        assert (differing(True) < 0.04).all()
    assert all(layer.simulated for layer in products(quantized).values())


def test_the_delegate_and_the_network_agree_as_with_float_products(quantized, files):
    images = pictures(40, first=200)
    distance = {}
    for float_products, path in files.items():
        run = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=OpResolverType.AUTO)
        run = run.get_signature_runner("classify")
        got = np.concatenate([run(images=image[np.newaxis])["probabilities"] for image in images])
        expected = tf.nn.softmax(quantized(normalize(images, Normalization()), training=False)).numpy()
        if float_products:
            with products_left_float(quantized):
                expected = tf.nn.softmax(quantized(normalize(images, Normalization()), training=False)).numpy()
        distance[float_products] = np.abs(got - expected).mean()
    assert distance[False] < 1.5 * distance[True] + 0.005, distance


def test_a_centred_range_holds_int8_around_zero_and_moves_with_the_greatest_magnitude():
    class Held:
        def add_weight(self, name, shape, initializer, **_):
            return tf.Variable(initializer(shape))

    quantizer = RangeQuantizer(centred=True)
    weights = quantizer.build([], "phi", Held())
    quantizer(tf.constant([[-5.08, 1.0]]), True, weights)
    assert float(weights["high"]) == pytest.approx(5.08) and float(weights["low"]) == pytest.approx(-5.08)
    values = np.linspace(-8.0, 8.0, 999, dtype=np.float32)
    got = quantizer(tf.constant(values), False, weights).numpy()
    np.testing.assert_allclose(got, np.clip(np.rint(values / 0.04), -128, 127) * 0.04, atol=1e-5)
    quantizer(tf.constant([[3.0, 7.08]]), True, weights)
    assert float(weights["high"]) == pytest.approx(6.08) and quantizer(tf.constant(0.0), False, weights) == 0.0


def test_gradients_pass_simulated_products_about_as_they_pass_float_ones(quantized):
    for name, layer in products(quantized).items():
        noise = np.random.default_rng(0).normal(size=[2, *layer.input_shape[1:]])
        x = tf.constant(noise * layer.ranges()["phi"] / 8, tf.float32)

        def gradient(layer=layer, x=x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.reduce_sum(layer(x, training=False) ** 2)
            return tape.gradient(y, x).numpy()

        got = gradient()
        with products_left_float(quantized):
            expected = gradient()
        likeness = np.vdot(got, expected) / (np.linalg.norm(got) * np.linalg.norm(expected))
        assert likeness > 0.9, (name, likeness)  # 0 where nothing passes
