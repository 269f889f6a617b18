"""Changes to a TFLite file that the converter does not make itself; all are exact.

`take_uint8`: the input becomes uint8 of scale 1 and zero point 0, as a camera gives it, followed by one DEQUANTIZE. The
converters' own ways, a QUANTIZE from uint8 to int8 or a CAST, keep the CPU delegate from taking the whole graph.

`float_softmax`: the converter turns a softmax behind int8 logits into an int8 one, whose steps of 1/256 are too coarse
for many classes and which the delegate does not take. This moves the DEQUANTIZE behind it to its front.

`norms_as_convolutions`: a batch norm behind a concatenation, which no convolution takes up, is a MUL and an ADD with
constants. In int8 these have one scale for all channels; the kernel of a 1x1 depthwise convolution has one for each.
"""

from __future__ import annotations

from pathlib import Path

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from autonl_tf.export import tflite
from autonl_tf.export.tflite_graph import kind_of, new_operator, new_tensor, operator_code, options_of


def take_uint8(path: str | Path) -> None:
    """Rewrites the file at `path` in place; its signature, names and outputs stay.

    Raises:
      ValueError: the file does not have exactly one signature with one float32 input.
    """
    model = flatbuffer_utils.read_model(str(path))
    (graph,) = model.subgraphs
    (signature,) = model.signatureDefs
    (entry,) = signature.inputs
    pixels = graph.tensors[entry.tensorIndex]
    if pixels.type != schema.TensorType.FLOAT32:
        raise ValueError(f"{path}: its input is not float32")
    index = new_tensor(graph, f"{tflite.INPUT}_uint8", pixels.shape, schema.TensorType.UINT8, [1.0])
    graph.tensors[index].shapeSignature = pixels.shapeSignature
    kind, options = schema.BuiltinOperator.DEQUANTIZE, options_of("Dequantize")
    graph.operators.insert(0, new_operator(model, kind, 1, [index], entry.tensorIndex, options))
    graph.inputs = [index]
    entry.tensorIndex = index
    flatbuffer_utils.write_model(model, str(path))


def float_softmax(path: str | Path) -> None:
    """Rewrites the file at `path` in place, if it ends in an int8 softmax and a DEQUANTIZE; else leaves it alone."""
    model = flatbuffer_utils.read_model(str(path))
    (graph,) = model.subgraphs
    softmax, last = graph.operators[-2:]
    kinds = [kind_of(model, operator) for operator in (softmax, last)]
    if kinds != [schema.BuiltinOperator.SOFTMAX, schema.BuiltinOperator.DEQUANTIZE]:
        return
    (logits,), (between,), (probabilities,) = softmax.inputs, softmax.outputs, last.outputs
    tensor = graph.tensors[between]
    tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
    last.inputs, last.outputs = [logits], [between]
    softmax.inputs, softmax.outputs = [between], [probabilities]
    graph.operators[-2:] = [last, softmax]
    flatbuffer_utils.write_model(model, str(path))


def norms_as_convolutions(path: str | Path) -> None:
    """Rewrites the file at `path` in place, of float32: MUL by and ADD of constants [C] on [1, H, W, C]."""
    model = flatbuffer_utils.read_model(str(path))
    (graph,) = model.subgraphs

    def by_constant(operator, wanted: int) -> bool:
        if kind_of(model, operator) != wanted or len(operator.inputs) != 2:
            return False
        x, constant = (graph.tensors[index] for index in operator.inputs)
        held = model.buffers[constant.buffer].data is not None
        return held and len(x.shape) == 4 and list(constant.shape) == [x.shape[-1]]

    def takers(tensor: int) -> list:
        return [operator for operator in graph.operators if tensor in operator.inputs]

    for product in list(graph.operators):
        behind = takers(product.outputs[0])
        if not by_constant(product, schema.BuiltinOperator.MUL) or product.builtinOptions.fusedActivationFunction:
            continue
        if len(behind) != 1 or not by_constant(behind[0], schema.BuiltinOperator.ADD):
            continue
        (total,), (x, kernel) = behind, product.inputs
        if len(takers(kernel)) != 1:
            continue
        graph.tensors[kernel].shape = [1, 1, 1, *graph.tensors[kernel].shape]
        graph.tensors[kernel].shapeSignature = None
        ones = dict.fromkeys(("depthMultiplier", "strideH", "strideW", "dilationHFactor", "dilationWFactor"), 1)
        fused = total.builtinOptions.fusedActivationFunction
        options = options_of("DepthwiseConv2D", padding=schema.Padding.VALID, fusedActivationFunction=fused, **ones)
        total.opcodeIndex = operator_code(model, schema.BuiltinOperator.DEPTHWISE_CONV_2D)
        total.inputs = [x, kernel, total.inputs[1]]
        total.builtinOptionsType, total.builtinOptions = options
        graph.operators.remove(product)
    flatbuffer_utils.write_model(model, str(path))
