"""Int8 TFLite files: a float file quantized after training, or a network trained with simulated int8.

After training ranges come from the user's own images. Weights are int8 per output channel, activations int8 with a
zero point. LightNL's products, which the quantizer leaves float32, are made int8 after it in the form that the CPU
delegate takes (`int8_products`). What stays float32: the products of a conventional non-local block; the final softmax,
whose int8 form has steps of 1/256; the normalisation of the input, which as int8 would round twice; and the beginning
of the network: the first convolution and the depthwise ones behind it, up to the next convolution. The first channels
differ much in scale: in one int8 tensor the small ones have a few steps, and the depthwise kernel, with its batch norm,
enlarges them: most of what int8 would lose (`benchmarks/int8_ranges.py`). As float32 the beginning makes a file up to
6% slower (x86).

The classifier's weights are int8, its output is float32: the runtime finds the range of what it takes image by image. A
range of logits that covers most images would be coarse beside the small differences that decide on the others.

Ranges cover 95% of the images (`networks.ranges`).

The converter takes trained weights and ranges (`networks.quantized`) as they are.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tf_keras as keras
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from autonl_tf.arch.spec import Normalization
from autonl_tf.errors import UserError
from autonl_tf.export import int8_products, product_pattern, quantization, rewrite, tflite
from autonl_tf.export.directory import QUANTIZER_NEEDED
from autonl_tf.export.tflite_graph import kind_of
from autonl_tf.networks.quantized import nothing_too_small, products_left_float
from autonl_tf.networks.ranges import COVERED, addable, covering

# By the ops' names: LightNL's products; a network's `block3_embedded_product` and the products within an
# `EmbeddedNonLocal` layer (of such a name); and `tflite`'s own scope.
FLOAT_SCOPES = (
    *product_pattern.SCOPES,
    *(".*embedded_product.*", ".*non_local[^/]*/.*/product/.*"),
    f".*{tflite.NORMALIZATION}.*",
)
_ENDS_BEGINNING = ("CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")
# Since that version a dense layer of float32 values and int8 weights has a scale for every output channel. The library
# writes 1, by which an older runtime would take the first channel's for all; so it refuses the file.
_CLASSIFIER_VERSION = 12
_STEPS, _LIMIT = 255, 127  # an activation's range in steps; the greatest weight
_GREATEST_BIAS = 2**30  # in steps
_TINY = 1e-12


def quantize_int8(
    float_path: str | Path,
    path: str | Path,
    calibration_images: Iterable[np.ndarray],
    covered: float = COVERED,
    float_products: bool = False,
    float_beginning: bool = True,
) -> None:
    """Quantizes a file of `tflite.convert_fp32` and writes it to `path`; its input stays float32.

    Args:
      calibration_images: float32 [S, S, 3] each, scale of 0 to 255.
      covered: share of them that every range is to cover.
      float_products: LightNL's products stay float32.
      float_beginning: the beginning stays float32.

    Raises:
      UserError: ai-edge-quantizer is not installed, or on too many images a value is not finite.
      ValueError: no calibration images.
    """
    try:
        from ai_edge_quantizer import qtyping, quantizer, recipe
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
    except ImportError as error:
        raise UserError(f"{QUANTIZER_NEEDED} ({error})") from None
    with tempfile.TemporaryDirectory(dir=Path(path).parent, prefix=".int8_") as folder:
        source = Path(shutil.copy(float_path, folder))
        rewrite.norms_as_convolutions(source)
        model = flatbuffer_utils.read_model(str(source))
        measured = _addable(model, ranges(source, calibration_images, covered))
        op = qtyping.TFLOperationName
        work = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
    for scope in (*FLOAT_SCOPES, *(_beginning(model) if float_beginning else ())):
        work.update_quantization_recipe(scope, op.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE)
    for operation in (op.INPUT, op.OUTPUT, op.SOFTMAX):
        work.update_quantization_recipe(".*", operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    by_channel = qtyping.TensorQuantizationConfig(8, symmetric=True, granularity=qtyping.QuantGranularity.CHANNELWISE)
    precise = qtyping.OpQuantizationConfig(None, by_channel, qtyping.ComputePrecision.INTEGER)
    classifier = _classifier(model)
    for scope in classifier:
        work.update_quantization_recipe(scope, op.FULLY_CONNECTED, precise)
    found = {
        name: {"min": np.reshape(low, [1]), "max": np.reshape(high, [1])} for name, (low, high) in measured.items()
    }
    found |= {name: {"min": -reach, "max": reach} for name, reach in _kernel_reaches(model, measured).items()}
    # The library draws progress bars and prints sizes, which nothing turns off.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        quantized = work.quantize(found).quantized_model
    written = flatbuffer_utils.read_model_from_bytearray(bytes(quantized))
    for code in written.operatorCodes if classifier else ():
        if code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED:
            code.version = _CLASSIFIER_VERSION
    # The library puts large constants behind the flat buffer, where older runtimes do not look.
    flatbuffer_utils.write_model(written, str(path))
    if not float_products:
        int8_products.quantize_products(path, int8_products.measured(measured))


def convert_trained(model: keras.Model, path: str | Path, *, normalization: Normalization) -> None:
    """Writes the file that a network of `networks.quantized.quantized_network` simulated; its input stays float32.

    LightNL's products, which the converter would make int8 in a form that the CPU delegate does not take, are given to
    it in float32 and made int8 after it, by their trained ranges; its int8 softmax becomes float32.
    """
    with products_left_float(model) as ranges, nothing_too_small(model):
        tflite.convert_simulated(model, path, normalization=normalization)
    rewrite.float_softmax(path)
    int8_products.quantize_products(path, int8_products.trained(ranges))


def _beginning(model: schema.ModelT) -> list[str]:
    """The scopes of the beginning's operators; none where LightNL's product is next, which goes from int8 to int8."""
    operators = quantization.contents(model).operators
    product = re.compile("|".join(product_pattern.SCOPES))
    products = [operator for operator in operators if product.match(operator.outputs[0].name)]
    ends = (i for i, operator in enumerate(operators) if operator.kind in _ENDS_BEGINNING or operator in products)
    _, end, *_ = (*ends, 0, 0)
    kernels = [i for i, operator in enumerate(operators[:end]) if operator.kernel]
    if not kernels or any(operators[kernels[-1]].outputs[0] in operator.inputs for operator in products):
        return []
    return [_scope(operator) for operator in operators[: kernels[-1] + 1]]


def _classifier(model: schema.ModelT) -> list[str]:
    """The scope of the dense layer in front of the softmax, if there is one."""
    *_, operator, _ = quantization.contents(model).operators
    return [_scope(operator)] if operator.kind == "FULLY_CONNECTED" else []


def _scope(operator: quantization.Operator) -> str:
    """What the library finds this operator by, and no other."""
    return f"^{re.escape(''.join(f'{output.name};' for output in operator.outputs))}$"


def _addable(model: schema.ModelT, measured: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """The ranges, those of terms of sums as `networks.ranges.addable` gives them."""
    (graph,) = model.subgraphs
    found = dict(measured)
    for operator in graph.operators:
        if kind_of(model, operator) == schema.BuiltinOperator.ADD:
            total, *terms = (graph.tensors[tensor].name.decode() for tensor in (*operator.outputs, *operator.inputs))
            found |= {name: addable(found[name], found[total]) for name in terms if {name, total} <= found.keys()}
    return found


def _kernel_reaches(model: schema.ModelT, measured: dict[str, tuple[float, float]]) -> dict[str, np.ndarray]:
    """The greatest magnitude of every output channel of every kernel, in the kernel's rank; of some channels more.

    A bias is int32 in steps of the input's times the kernel's. In a channel whose weights are about 0, as real networks
    have some, it would not fit and be cut off: such a channel gets steps with which it takes half of int32's range.
    """
    (graph,) = model.subgraphs
    found = {}
    for operator in graph.operators:
        axis = quantization.CHANNEL_AXES.get(flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex))
        if axis is None:
            continue
        x, kernel, *rest = (graph.tensors[index] if index >= 0 else None for index in operator.inputs)
        if x.name.decode() not in measured:
            continue
        weights = np.abs(_constant(model, kernel))
        reach = weights.max(axis=tuple(set(range(weights.ndim)) - {axis}), keepdims=True)
        for bias in filter(None, rest):
            low, high = measured[x.name.decode()]
            step = (max(high, 0.0) - min(low, 0.0)) / _STEPS
            least = np.abs(_constant(model, bias)) * _LIMIT / (max(step, _TINY) * _GREATEST_BIAS)
            reach = np.maximum(reach, least.reshape(reach.shape).astype(reach.dtype))
        found[kernel.name.decode()] = reach
    return found


def _constant(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray:
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)


def ranges(
    float_path: str | Path, images: Iterable[np.ndarray], covered: float = COVERED
) -> dict[str, tuple[float, float]]:
    """Name -> (low, high) over images [S, S, 3]: the quantiles 1 - covered and covered of their extremes.

    Only computed tensors have one: a range given for a constant kernel would replace those of its output channels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the memory that kept tensors take
        interpreter = Interpreter(str(float_path), num_threads=1, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    contents = quantization.read(float_path)
    outputs = [values for operator in contents.operators for values in operator.outputs]
    computed = {values.name: values.index for values in (*contents.inputs, *outputs) if values.type == "float32"}
    rows = []
    for image in images:
        interpreter.set_tensor(entry["index"], np.asarray(image, np.float32)[np.newaxis])
        interpreter.invoke()
        values = map(interpreter.get_tensor, computed.values())
        rows.append([(value.min(), value.max()) for value in values])
    extremes = np.reshape(np.array(rows, np.float32), [len(rows), len(computed), 2])
    return covering({name: extremes[:, index] for index, name in enumerate(computed)}, covered)
