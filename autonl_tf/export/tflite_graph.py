"""The graph of a TFLite file: kinds of operators, names and shapes of tensors, and int8 operators to add."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

_OP = schema.BuiltinOperator


def kind_of(model: schema.ModelT, operator: schema.OperatorT) -> int:
    return flatbuffer_utils.get_builtin_code_from_operator_code(model.operatorCodes[operator.opcodeIndex])


def operator_code(model: schema.ModelT, wanted: int, version: int = 1) -> int:
    """The index of a kind of operator among the model's codes, added if it is not there in this version or a later."""
    for index, code in enumerate(model.operatorCodes):
        if flatbuffer_utils.get_builtin_code_from_operator_code(code) == wanted and code.version >= version:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = wanted, min(wanted, 127), version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def options_of(kind: str, **fields) -> tuple[int, object]:
    """The options of operators of a kind, `DepthwiseConv2D` and so on: their type's number, and what they say."""
    options = getattr(schema, f"{kind}OptionsT")()
    for name, value in fields.items():
        setattr(options, name, value)
    return getattr(schema.BuiltinOptions, f"{kind}Options"), options


def new_operator(
    model: schema.ModelT, wanted: int, version: int, inputs: list[int], output: int, options: tuple[int, object]
) -> schema.OperatorT:
    """An operator with `options_of` its kind, not yet in the graph."""
    operator = schema.OperatorT()
    operator.opcodeIndex = operator_code(model, wanted, version)
    operator.inputs, operator.outputs = inputs, [output]
    operator.builtinOptionsType, operator.builtinOptions = options
    return operator


def name_of(tensor: schema.TensorT) -> str:
    return tensor.name.decode() if isinstance(tensor.name, bytes) else tensor.name


def shape_of(graph: schema.SubGraphT, tensor: int) -> list[int]:
    return [int(size) for size in graph.tensors[tensor].shape]


def new_tensor(
    graph: schema.SubGraphT, name: str, shape, kind: int, scales=None, zero: int = 0, dimension: int | None = None
) -> int:
    """The index of a tensor added to a graph; with `scales` it is quantized, along `dimension` where they are many."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, [int(size) for size in shape], kind
    tensor.buffer, tensor.hasRank = 0, True
    if scales is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = [float(scale) for scale in scales]
        tensor.quantization.zeroPoint = [zero] * len(scales)
        if dimension is not None:
            tensor.quantization.quantizedDimension = dimension
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


class Int8Writer:
    """Adds int8 tensors and operator codes to a model; `made` are the operators, which are not put into its graph.

    Args:
      model: of one graph.
      prefix: how the names of the tensors begin.
    """

    def __init__(self, model: schema.ModelT, prefix: str):
        self._model, self._prefix = model, prefix
        (self.graph,) = model.subgraphs
        self.made: list[schema.OperatorT] = []

    def shape(self, tensor: int) -> list[int]:
        return shape_of(self.graph, tensor)

    def subsampled(self, x: int, stride: int) -> int:
        """x[:, ::stride, ::stride] by a 1x1 depthwise convolution with ones, which is exact: as `layers.light_nl`."""
        if stride == 1:
            return x
        _, height, width, channels = self.shape(x)
        scale = self.graph.tensors[x].quantization.scale[0]
        ones = self._constant(np.ones([1, 1, 1, channels], np.int8), schema.TensorType.INT8, [1.0] * channels, 3)
        none = self._constant(np.zeros([channels], np.int32), schema.TensorType.INT32, [scale] * channels, 0)
        steps = {"strideH": stride, "strideW": stride}
        options = options_of("DepthwiseConv2D", padding=schema.Padding.VALID, depthMultiplier=1, **steps)
        shape = [1, -(-height // stride), -(-width // stride), channels]
        return self._operator(_OP.DEPTHWISE_CONV_2D, 3, [x, ones, none], shape, options, like=x)

    def reshape(self, x: int, shape: list[int], into: int | None = None) -> int:
        if into is None and self.shape(x) == list(shape):
            return x
        options = options_of("Reshape", newShape=list(shape))
        inputs = [x, self._constant(np.array(shape, np.int32), schema.TensorType.INT32)]
        return self._operator(_OP.RESHAPE, 1, inputs, shape, options, like=x, into=into)

    def transpose(self, x: int) -> int:
        batch, rows, columns = self.shape(x)
        inputs = [x, self._constant(np.array([0, 2, 1], np.int32), schema.TensorType.INT32)]
        return self._operator(_OP.TRANSPOSE, 2, inputs, [batch, columns, rows], options_of("Transpose"), like=x)

    def slice(self, x: int, shape: list[int]) -> int:
        kinds = (np.zeros(len(shape), np.int32), np.array(shape, np.int32))
        inputs = [x, *(self._constant(kind, schema.TensorType.INT32) for kind in kinds)]
        return self._operator(_OP.SLICE, 2, inputs, shape, options_of("Slice"), like=x)

    def quantize(self, x: int, scale: float) -> int:
        """x in int8 with another scale and zero point 0."""
        return self._operator(_OP.QUANTIZE, 2, [x], self.shape(x), options_of("Quantize"), scale=scale)

    def product(self, first: int, second: int, adjoint_first: bool = False, **quantization) -> int:
        """first second^T."""
        options = options_of("BatchMatMul", adjX=adjoint_first, adjY=True)
        *batch, rows, depth = self.shape(first)
        shape = [*batch, depth if adjoint_first else rows, self.shape(second)[-2]]
        return self._operator(_OP.BATCH_MATMUL, 2, [first, second], shape, options, **quantization)

    def _operator(self, code, version, inputs, shape, options, *, like=None, scale=None, into=None) -> int:
        """An operator with one int8 output, quantized as tensor `like` or with `scale` and zero point 0."""
        if into is None:
            given = self.graph.tensors[like].quantization if like is not None else None
            scales = given.scale if given is not None else [scale]
            zero = int(given.zeroPoint[0]) if given is not None else 0
            into = self._tensor(shape, schema.TensorType.INT8, scales, zero)
        self.made.append(new_operator(self._model, code, version, [int(tensor) for tensor in inputs], into, options))
        return into

    def _constant(self, values: np.ndarray, kind: int, scales=None, dimension: int | None = None) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        tensor = self._tensor(list(values.shape), kind, scales, 0, dimension)
        self.graph.tensors[tensor].buffer = len(self._model.buffers) - 1
        return tensor

    def _tensor(self, shape, *quantized) -> int:
        return new_tensor(self.graph, f"{self._prefix}{len(self.graph.tensors)}", shape, *quantized)
