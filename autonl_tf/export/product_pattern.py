"""LightNL's products in a TFLite file: each is found from the QUANTIZE it ends in, back to the int8 tensor it takes.

A product that is not made of exactly the expected ops, in an op scope of `SCOPES`, is not found.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from autonl_tf.export.tflite_graph import kind_of, name_of, shape_of

# A network's `block3_nl_product`, and the product within a `LightNL` layer (of such a name).
SCOPES = (".*nl_product.*", ".*light_nl[^/]*/product/.*")

_OP = schema.BuiltinOperator


@dataclasses.dataclass(frozen=True)
class Product:
    """One product in the file: the int8 tensors it goes from and to, and what it computes between.

    Attributes:
      x, y: int8 tensors [1, H, W, C], of which y's operator is the last of the product.
      operators: positions of its operators, ascending.
      reduced: c.
      stride: of g and phi.
      middle, phi: names of the float tensors of M or S, and of phi.
      factor: by which the float product is multiplied; 1 where the converter has put it into the convolution behind.
    """

    x: int
    y: int
    operators: tuple[int, ...]
    reduced: int
    stride: int
    affinity_first: bool
    middle: str
    phi: str
    factor: float


def match(model: schema.ModelT, last: int) -> Product | None:
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
    if shape_of(graph, y) != shape_of(graph, source):  # the converter's files reshape it as int8
        takers = [index for index, operator in enumerate(graph.operators) if y in operator.inputs]
        if len(takers) != 1 or kind_of(model, graph.operators[takers[0]]) != _OP.RESHAPE:
            return None
        indices, y = indices | {takers[0]}, graph.operators[takers[0]].outputs[0]
    positions = tuple(sorted(indices))
    operators = [graph.operators[index] for index in positions]
    kept = {tensor for operator in operators[:-1] for tensor in operator.outputs}
    others = [op for index, op in enumerate(graph.operators) if index not in indices]
    if kept & ({tensor for op in others for tensor in op.inputs} | set(graph.outputs)):
        return None
    products = [op for op in operators if kind_of(model, op) == _OP.BATCH_MATMUL]
    strides = [op.builtinOptions.strideH for op in operators if kind_of(model, op) == _OP.DEPTHWISE_CONV_2D]
    if len(products) != 2 or len(strides) > 1:
        return None
    first, second = products
    adjoint = [(bool(product.builtinOptions.adjX), bool(product.builtinOptions.adjY)) for product in products]
    if adjoint not in ([(True, False), (False, False)], [(False, True), (False, False)]):
        return None
    if not _in_scope(graph, second.outputs[0]):
        return None
    affinity_first = adjoint[0] == (False, True)
    phi = first.inputs[1] if affinity_first else first.inputs[0]
    if shape_of(graph, source) != shape_of(graph, y) or (factor != 1.0 and convolution_behind(model, y) is None):
        return None
    names = [name_of(graph.tensors[tensor]) for tensor in (first.outputs[0], phi)]
    stride = strides[0] if strides else 1
    return Product(source, y, positions, shape_of(graph, phi)[-1], stride, affinity_first, *names, factor)


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
    return any(re.fullmatch(scope, name_of(graph.tensors[tensor])) for scope in SCOPES)


def convolution_behind(model: schema.ModelT, tensor: int) -> schema.OperatorT | None:
    """The depthwise convolution that takes an int8 tensor, if nothing else takes that tensor or its weights."""
    (graph,) = model.subgraphs
    takers = [operator for operator in graph.operators if tensor in operator.inputs]
    if len(takers) != 1 or kind_of(model, takers[0]) != _OP.DEPTHWISE_CONV_2D or tensor in graph.outputs:
        return None
    weights = takers[0].inputs[1]
    return takers[0] if sum(weights in operator.inputs for operator in graph.operators) == 1 else None
