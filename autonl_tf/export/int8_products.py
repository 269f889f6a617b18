"""LightNL's products in int8: a rewrite of an int8 TFLite file, in which the quantizer or converter left them float32.

With T = g^T [C, n], phi^T its first c rows and theta [N, c], context first is M^T = T phi, y = theta M; affinity first
is S = theta phi^T, y = S g. Each is a BATCH_MATMUL whose second operand is given transposed (`adj_y`): the CPU delegate
packs such an operand up to fifteen times as fast as an upright one, so that T costs less than it saves. The second
operand has zero point 0, which the delegate asks for: phi^T (and T in the second order) are requantized for it, and M
and S get a range of their own around 0. x and y keep theirs. The ranges are measured on images, or trained: then
`networks.quantizers.QuantizedProduct` computes as the rewritten file does.

A product that is not made of exactly the expected ops, in an op scope of `SCOPES`, stays float32.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from autonl_tf.export.rewrite import kind_of, operator_code

# A network's `block3_nl_product`, and the product within a `LightNL` layer (of such a name).
SCOPES = (".*nl_product.*", ".*light_nl[^/]*/product/.*")

_OP = schema.BuiltinOperator
_LIMIT = 127
_FINER = 64  # how many times as fine as what it is made of a step may be: the delegate takes a requantization up to 128


@dataclasses.dataclass(frozen=True)
class Reach:
    """The greatest magnitudes of M or S, of phi, and of g where the second product takes it (None: those of x)."""

    middle: float
    phi: float
    g: float | None = None

    def usable(self) -> bool:
        return all(0 < value < np.inf for value in (self.middle, self.phi, self.g) if value is not None)


# The names of the tensors of M or S and of phi -> their reach; None: not known.
Reaches = Callable[[str, str], Reach | None]


@dataclasses.dataclass(frozen=True)
class _Product:
    """One product in the file: the int8 tensors it goes from and to, and what it computes between.

    Attributes:
      x, y: int8 tensors [1, H, W, C], of which y's operator is the last of the product.
      operators: positions of its operators, ascending.
      reduced: c.
      stride: of g and phi.
      affinity_first: the order.
      reach: the ranges in between.
      factor: by which the float product is multiplied; 1 where the converter has put it into the convolution behind.
    """

    x: int
    y: int
    operators: tuple[int, ...]
    reduced: int
    stride: int
    affinity_first: bool
    reach: Reach
    factor: float


def measured(ranges: dict[str, tuple[float, float]]) -> Reaches:
    """By ranges (low, high) of the float32 file's tensors, by their names."""

    def reach(*names: str) -> Reach | None:
        if not set(names) <= set(ranges):
            return None
        return Reach(*(max(abs(value) for value in ranges[name]) for name in names))

    return reach


def trained(ranges: dict[str, dict[str, float]]) -> Reaches:
    """By the ranges of `networks.quantized.products_left_float`, whose layers the tensors' names begin with."""

    def reach(middle: str, phi: str) -> Reach | None:
        found = [values for layer, values in ranges.items() if layer in middle.split("/")]
        return Reach(**found[0]) if len(found) == 1 else None

    return reach


def quantize_products(path: str | Path, reaches: Reaches) -> int:
    """Rewrites the file at `path` in place.

    Args:
      path: an int8 file with float32 LightNL products, by ai-edge-quantizer or by the converter.
      reaches: the ranges within them.

    Returns:
      How many products are int8 now.
    """
    model = flatbuffer_utils.read_model(str(path))
    count = 0
    while (product := _next_product(model, reaches)) is not None:
        _rewrite(model, product)
        count += 1
    if count:
        flatbuffer_utils.write_model(model, str(path))
    return count


def _next_product(model: schema.ModelT, reaches: Reaches) -> _Product | None:
    """The first that is left; looked for anew after every rewrite, which moves what parallel branches interleave."""
    (graph,) = model.subgraphs
    for position, operator in enumerate(graph.operators):
        if kind_of(model, operator) == _OP.QUANTIZE:
            product = _match(model, position, reaches)
            if product is not None:
                return product
    return None


def _rewrite(model: schema.ModelT, product: _Product) -> None:
    (graph,) = model.subgraphs
    if product.factor != 1.0:  # moved into the weights behind: the integers stay the same
        weights = graph.tensors[_convolution_behind(model, product.y).inputs[1]].quantization
        weights.scale = [float(scale) * product.factor for scale in weights.scale]
        values = graph.tensors[product.y].quantization
        values.scale = [float(scale) / product.factor for scale in values.scale]
    made = _Writer(model).write(product)
    for position in reversed(product.operators):
        del graph.operators[position]
    # Behind what made x: nothing of another kind lies between a product's operators that it would have to follow.
    start = 1 + max(index for index, operator in enumerate(graph.operators) if product.x in operator.outputs)
    graph.operators[start:start] = made


def _match(model: schema.ModelT, last: int, reaches: Reaches) -> _Product | None:
    """The product that ends in the QUANTIZE at position `last`, or None."""
    (graph,) = model.subgraphs
    made_at = {tensor: index for index, operator in enumerate(graph.operators) for tensor in operator.outputs}
    indices, waiting, source, factor = {last}, [graph.operators[last].inputs[0]], None, 1.0
    while waiting:  # back from y to the one int8 tensor that all of it comes from
        tensor = waiting.pop()
        index = made_at.get(tensor)
        if index is None or index in indices:
            continue
        operator, indices = graph.operators[index], indices | {index}
        kind = kind_of(model, operator)
        if kind == _OP.DEQUANTIZE:
            root, moved = _root(model, made_at, operator.inputs[0])
            if source not in (None, root):
                return None
            source, indices = root, indices | moved
        elif kind == _OP.MUL:
            value = model.buffers[graph.tensors[operator.inputs[1]].buffer].data
            if value is None or len(value) != 4:
                return None
            factor *= float(np.frombuffer(bytes(value), np.float32)[0])
            waiting.append(operator.inputs[0])
        elif kind in (_OP.BATCH_MATMUL, _OP.RESHAPE, _OP.STRIDED_SLICE, _OP.SLICE, _OP.DEPTHWISE_CONV_2D):
            waiting.extend(tensor for tensor in operator.inputs if tensor >= 0)
        else:
            return None
        if len(indices) > 16:
            return None
    if source is None:
        return None
    y = graph.operators[last].outputs[0]
    if _shape(graph, y) != _shape(graph, source):  # the converter's files reshape it as int8
        takers = [index for index, operator in enumerate(graph.operators) if y in operator.inputs]
        if len(takers) != 1 or kind_of(model, graph.operators[takers[0]]) != _OP.RESHAPE:
            return None
        indices, y = indices | {takers[0]}, graph.operators[takers[0]].outputs[0]
    operators = tuple(sorted(indices))
    kept = {tensor for index in operators[:-1] for tensor in graph.operators[index].outputs}
    others = [op for index, op in enumerate(graph.operators) if index not in indices]
    if kept & ({tensor for op in others for tensor in op.inputs} | set(graph.outputs)):
        return None
    products = [index for index in operators if kind_of(model, graph.operators[index]) == _OP.BATCH_MATMUL]
    strides = [
        (graph.operators[index].builtinOptions.strideH, graph.operators[index].builtinOptions.strideW)
        for index in operators
        if kind_of(model, graph.operators[index]) == _OP.DEPTHWISE_CONV_2D
    ]
    if len(products) != 2 or len(strides) > 1:
        return None
    first, second = (graph.operators[index] for index in products)
    orders = (_adjoint(first), _adjoint(second))
    if orders not in (((True, False), (False, False)), ((False, True), (False, False))):
        return None
    if not _in_scope(graph, second.outputs[0]):
        return None
    affinity_first = orders[0] == (False, True)
    phi = first.inputs[1] if affinity_first else first.inputs[0]
    reach = reaches(*(_name(graph.tensors[tensor]) for tensor in (first.outputs[0], phi)))
    if reach is None or not reach.usable() or _shape(graph, source) != _shape(graph, y):
        return None
    if factor != 1.0 and _convolution_behind(model, y) is None:
        return None
    stride = strides[0][0] if strides else 1
    return _Product(source, y, operators, _shape(graph, phi)[-1], stride, affinity_first, reach, factor)


def _root(model: schema.ModelT, made_at: dict[int, int], tensor: int) -> tuple[int, set[int]]:
    """The int8 tensor that a product's int8 reshapes and slices take, and their positions: the converter's files."""
    (graph,) = model.subgraphs
    indices = set()
    while (index := made_at.get(tensor)) is not None and _in_scope(graph, tensor):
        operator = graph.operators[index]
        if kind_of(model, operator) not in (_OP.RESHAPE, _OP.STRIDED_SLICE, _OP.SLICE):
            break
        tensor, indices = operator.inputs[0], indices | {index}
    return tensor, indices


def _in_scope(graph: schema.SubGraphT, tensor: int) -> bool:
    return any(re.fullmatch(scope, _name(graph.tensors[tensor])) for scope in SCOPES)


def _shape(graph: schema.SubGraphT, tensor: int) -> list[int]:
    return [int(size) for size in graph.tensors[tensor].shape]


def _convolution_behind(model: schema.ModelT, tensor: int) -> schema.OperatorT | None:
    """The depthwise convolution that takes an int8 tensor, if nothing else takes that tensor or its weights."""
    (graph,) = model.subgraphs
    takers = [operator for operator in graph.operators if tensor in operator.inputs]
    if len(takers) != 1 or kind_of(model, takers[0]) != _OP.DEPTHWISE_CONV_2D or tensor in graph.outputs:
        return None
    weights = takers[0].inputs[1]
    return takers[0] if sum(weights in operator.inputs for operator in graph.operators) == 1 else None


class _Writer:
    """Adds tensors and operator codes to a model, and gives operators, which are not put into it."""

    def __init__(self, model: schema.ModelT):
        self._model = model
        (self._graph,) = model.subgraphs
        self._made: list[schema.OperatorT] = []

    def write(self, product: _Product) -> list[schema.OperatorT]:
        _, height, width, channels = self._shape(product.x)
        self._base = _name(self._graph.tensors[product.y])
        g = self._subsampled(product.x, product.stride)
        positions = int(np.prod(self._shape(g)[1:3]))
        reduced = product.reduced
        flat = self._reshape(g, [1, positions, channels])
        turned = self._transpose(flat)
        reach, middle = product.reach, product.reach.middle / _LIMIT
        if product.affinity_first:
            x = flat if product.stride == 1 else self._reshape(product.x, [1, height * width, channels])
            theta = self._slice(x, [1, height * width, reduced])
            phi = theta if product.stride == 1 else self._slice(flat, [1, positions, reduced])
            affinity = self._product(theta, self._centred(phi, reach.phi), scale=middle)
            y = self._product(affinity, self._centred(turned, reach.g or self._reach(turned)), like=product.y)
        else:
            phi = self._slice(turned, [1, reduced, positions])
            context = self._product(turned, self._centred(phi, reach.phi), scale=middle)
            if product.stride == 1:
                y = self._product(phi, context, like=product.y, adjoint_first=True)
            else:
                theta = self._slice(product.x, [1, height, width, reduced])
                y = self._product(theta, context, like=product.y)
        self._reshape(y, self._shape(product.y), into=product.y)
        return self._made

    def _subsampled(self, x: int, stride: int) -> int:
        """x[:, ::stride, ::stride] by a 1x1 depthwise convolution with ones, which is exact: as `layers.light_nl`."""
        if stride == 1:
            return x
        _, height, width, channels = self._shape(x)
        scale = self._graph.tensors[x].quantization.scale[0]
        ones = self._constant(np.ones([1, 1, 1, channels], np.int8), schema.TensorType.INT8, [1.0] * channels, 3)
        none = self._constant(np.zeros([channels], np.int32), schema.TensorType.INT32, [scale] * channels, 0)
        options = schema.DepthwiseConv2DOptionsT()
        options.padding, options.depthMultiplier = schema.Padding.VALID, 1
        options.strideH = options.strideW = stride
        shape = [1, -(-height // stride), -(-width // stride), channels]
        kind = schema.BuiltinOptions.DepthwiseConv2DOptions
        return self._operator(_OP.DEPTHWISE_CONV_2D, 3, [x, ones, none], shape, (kind, options), like=x)

    def _reshape(self, x: int, shape: list[int], into: int | None = None) -> int:
        if into is None and self._shape(x) == list(shape):
            return x
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        inputs = [x, self._constant(np.array(shape, np.int32), schema.TensorType.INT32)]
        return self._operator(
            _OP.RESHAPE, 1, inputs, shape, (schema.BuiltinOptions.ReshapeOptions, options), like=x, into=into
        )

    def _transpose(self, x: int) -> int:
        batch, rows, columns = self._shape(x)
        inputs = [x, self._constant(np.array([0, 2, 1], np.int32), schema.TensorType.INT32)]
        options = (schema.BuiltinOptions.TransposeOptions, schema.TransposeOptionsT())
        return self._operator(_OP.TRANSPOSE, 2, inputs, [batch, columns, rows], options, like=x)

    def _slice(self, x: int, shape: list[int]) -> int:
        kinds = (np.zeros(len(shape), np.int32), np.array(shape, np.int32))
        inputs = [x, *(self._constant(kind, schema.TensorType.INT32) for kind in kinds)]
        options = (schema.BuiltinOptions.SliceOptions, schema.SliceOptionsT())
        return self._operator(_OP.SLICE, 2, inputs, shape, options, like=x)

    def _centred(self, x: int, reach: float) -> int:
        """x with zero point 0 and values up to `reach`; more where its steps would be too fine for the delegate."""
        options = (schema.BuiltinOptions.QuantizeOptions, schema.QuantizeOptionsT())
        finest = float(self._graph.tensors[x].quantization.scale[0]) / _FINER
        return self._operator(_OP.QUANTIZE, 2, [x], self._shape(x), options, scale=max(reach / _LIMIT, finest))

    def _reach(self, x: int) -> float:
        """The greatest magnitude that an int8 tensor's range holds."""
        found = self._graph.tensors[x].quantization
        return float(found.scale[0]) * max(_LIMIT - int(found.zeroPoint[0]), int(found.zeroPoint[0]) + _LIMIT + 1)

    def _product(self, first: int, second: int, adjoint_first: bool = False, **quantization) -> int:
        """first second^T."""
        options = schema.BatchMatMulOptionsT()
        options.adjX, options.adjY = adjoint_first, True
        *batch, rows, depth = self._shape(first)
        shape = [*batch, depth if adjoint_first else rows, self._shape(second)[-2]]
        kind = schema.BuiltinOptions.BatchMatMulOptions
        return self._operator(_OP.BATCH_MATMUL, 2, [first, second], shape, (kind, options), **quantization)

    def _operator(self, code, version, inputs, shape, options, *, like=None, scale=None, into=None) -> int:
        """An operator with one int8 output, quantized as tensor `like` or with `scale` and zero point 0."""
        if into is None:
            given = self._graph.tensors[like].quantization if like is not None else None
            scales = given.scale if given is not None else [scale]
            zero = int(given.zeroPoint[0]) if given is not None else 0
            into = self._tensor(shape, schema.TensorType.INT8, scales, zero)
        operator = schema.OperatorT()
        operator.opcodeIndex = operator_code(self._model, code, version)
        operator.inputs, operator.outputs = [int(tensor) for tensor in inputs], [into]
        operator.builtinOptionsType, operator.builtinOptions = options
        self._made.append(operator)
        return into

    def _constant(self, values: np.ndarray, kind: int, scales=None, dimension: int | None = None) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        tensor = self._tensor(list(values.shape), kind, scales, 0, dimension)
        self._graph.tensors[tensor].buffer = len(self._model.buffers) - 1
        return tensor

    def _tensor(self, shape, kind, scales, zero: int, dimension: int | None = None) -> int:
        tensor = schema.TensorT()
        tensor.name = f"{self._base}_int8_{len(self._graph.tensors)}"
        tensor.shape, tensor.type, tensor.buffer, tensor.hasRank = [int(size) for size in shape], kind, 0, True
        if scales is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = [float(scale) for scale in scales]
            tensor.quantization.zeroPoint = [zero] * len(scales)
            if dimension is not None:
                tensor.quantization.quantizedDimension = dimension
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _shape(self, tensor: int) -> list[int]:
        return _shape(self._graph, tensor)


def _adjoint(operator: schema.OperatorT) -> tuple[bool, bool]:
    return bool(operator.builtinOptions.adjX), bool(operator.builtinOptions.adjY)


def _name(tensor: schema.TensorT) -> str:
    return tensor.name.decode() if isinstance(tensor.name, bytes) else tensor.name
