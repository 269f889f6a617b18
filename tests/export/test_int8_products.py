"""LightNL's products in an int8 file: how they are computed there, and how far from the float products."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tf_keras as keras
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_litert.tools import flatbuffer_utils
from export_cases import EVERYTHING, SIZE, make_model, pictures

from autonl_tf.arch.spec import Normalization
from autonl_tf.export import int8, int8_products, tflite
from autonl_tf.export.graph_facts import graph_facts
from autonl_tf.export.tflite_graph import kind_of
from autonl_tf.layers.light_nl import LightNL, LightNLProduct


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The float file of a network with both orders and strides, its int8 files with float and int8 products."""
    folder = tmp_path_factory.mktemp("products")
    names = ("float32", "float_products", "int8_products")
    paths = {name: folder / f"{name}.tflite" for name in names}
    model = make_model(EVERYTHING, 5)
    layers = [layer for layer in model.layers if isinstance(layer, LightNLProduct)]
    assert {(layer.affinity_first, layer.stride) for layer in layers} >= {(True, 2), (False, 1), (False, 2)}
    tflite.convert_fp32(model, paths["float32"], normalization=Normalization())
    int8.quantize_int8(paths["float32"], paths["float_products"], pictures(24), float_products=True)
    int8.quantize_int8(paths["float32"], paths["int8_products"], pictures(24))
    return paths | {"count": len(layers)}


def products(path) -> list[list[int]]:
    """The types of the operands of every BATCH_MATMUL."""
    model = flatbuffer_utils.read_model(str(path))
    (graph,) = model.subgraphs
    found = [op for op in graph.operators if kind_of(model, op) == schema.BuiltinOperator.BATCH_MATMUL]
    return [[graph.tensors[tensor].type for tensor in op.inputs] for op in found]


def test_every_product_is_int8_and_the_file_one_piece(files):
    assert products(files["float_products"]) == [[schema.TensorType.FLOAT32] * 2] * 2 * files["count"]
    assert products(files["int8_products"]) == [[schema.TensorType.INT8] * 2] * 2 * files["count"]
    for name in ("float_products", "int8_products"):
        facts = graph_facts(files[name])
        assert facts.xnnpack_partitions == 1 and facts.xnnpack_whole


@pytest.mark.parametrize("float_products", [False, True])
def test_the_layer_in_another_network_and_still_adding_nothing_is_one_piece(tmp_path, float_products):
    keras.utils.set_random_seed(0)
    inputs = keras.Input([SIZE, SIZE, 3])
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(inputs)
    x = LightNL(0.5, 2, name="light_nl_0")(x)
    outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    path, quantized = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    tflite.convert_fp32(keras.Model(inputs, outputs), path, normalization=Normalization())
    int8.quantize_int8(path, quantized, pictures(4), float_products=float_products)
    kind = schema.TensorType.FLOAT32 if float_products else schema.TensorType.INT8
    assert products(quantized) == [[kind] * 2] * 2
    assert graph_facts(quantized).xnnpack_whole


def test_products_of_parallel_branches_are_all_int8_and_answer_as_float_products(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input([SIZE, SIZE, 3])
    maps = [keras.layers.Conv2D(8, 3, strides=2, padding="same")(inputs) for _ in range(2)]
    branches = [LightNL(0.5, stride, name=f"light_nl_{stride}")(x) for x, stride in zip(maps, (2, 1), strict=True)]
    outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(keras.layers.Add()(branches)))
    model = keras.Model(inputs, outputs)
    for layer in model.layers:
        if isinstance(layer, LightNL):
            layer.bn.gamma.assign(keras.backend.ones_like(layer.bn.gamma))
    path, *quantized = (tmp_path / f"{name}.tflite" for name in ("float", "float_products", "int8_products"))
    tflite.convert_fp32(model, path, normalization=Normalization())
    for file, float_products in zip(quantized, (True, False), strict=True):
        int8.quantize_int8(path, file, pictures(8), float_products=float_products)
    assert products(quantized[1]) == [[schema.TensorType.INT8] * 2] * 4
    answers = []
    for file in (path, *quantized):
        interpreter = Interpreter(str(file), num_threads=1)
        run = interpreter.get_signature_runner("classify")
        (name,) = run.get_input_details()
        answers.append(np.stack([next(iter(run(**{name: one[np.newaxis]}).values()))[0] for one in pictures(8)]))
    before, after = (np.abs(found - answers[0]).max() for found in answers[1:])
    assert after < 1.5 * before + 0.02 * np.abs(answers[0]).max(), (before, after)


def values(path, image, part: str) -> dict[str, np.ndarray]:
    """The tensors that go into the depthwise convolutions of LightNL, by the name of what they give."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[np.newaxis])
    interpreter.invoke()
    model = flatbuffer_utils.read_model(str(path))
    (graph,) = model.subgraphs
    found = {}
    for operator in graph.operators:
        name = graph.tensors[operator.outputs[0]].name.decode()
        if part in name and kind_of(model, operator) == schema.BuiltinOperator.DEPTHWISE_CONV_2D:
            tensor = graph.tensors[operator.outputs[0]].quantization
            raw = interpreter.get_tensor(operator.outputs[0]).astype(np.float32)
            if tensor is not None and tensor.scale is not None:
                raw = (raw - tensor.zeroPoint[0]) * tensor.scale[0]
            found[name] = raw
    return found


def test_int8_products_are_as_near_to_the_float_network_as_float_products(files):
    errors = {"float_products": [], "int8_products": []}
    for image in pictures(8):
        exact = values(files["float32"], image, "nl_bn")
        assert len(exact) == files["count"]
        for kind, found in errors.items():
            got = values(files[kind], image, "nl_bn")
            assert got.keys() == exact.keys()
            found.append([np.linalg.norm(got[name] - exact[name]) / np.linalg.norm(exact[name]) for name in exact])
    before, after = (np.median(errors[kind], axis=0) for kind in ("float_products", "int8_products"))
    assert (after < 1.25 * before + 0.02).all(), (before, after)


def test_other_kernels_than_the_delegates_agree_as_well_as_with_float_products(files):
    apart = {}
    for name in ("float_products", "int8_products"):
        found = []
        for kind in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
            interpreter = Interpreter(str(files[name]), num_threads=1, experimental_op_resolver_type=kind)
            run = interpreter.get_signature_runner("classify")
            found.append(np.concatenate([run(images=image[np.newaxis])["probabilities"] for image in pictures(16)]))
        apart[name] = np.abs(found[0] - found[1]).mean()
    assert apart["int8_products"] < 1.5 * apart["float_products"] + 0.005, apart


def test_a_product_with_anything_else_in_it_stays_float(files, tmp_path):
    ranges = int8.ranges(files["float32"], pictures(4))
    unknown = tmp_path / "unknown.tflite"
    unknown.write_bytes(files["float_products"].read_bytes())
    without = {name: value for name, value in ranges.items() if "nl_product" not in name}
    assert int8_products.quantize_products(unknown, int8_products.measured(without)) == 0
    assert unknown.read_bytes() == files["float_products"].read_bytes()

    model = flatbuffer_utils.read_model(str(files["float_products"]))
    (graph,) = model.subgraphs
    inner = next(op for op in graph.operators if kind_of(model, op) == schema.BuiltinOperator.BATCH_MATMUL)
    graph.outputs = [*graph.outputs, inner.outputs[0]]  # M is asked for: it has to stay float32
    path = tmp_path / "asked.tflite"
    flatbuffer_utils.write_model(model, str(path))
    assert int8_products.quantize_products(path, int8_products.measured(ranges)) == files["count"] - 1
