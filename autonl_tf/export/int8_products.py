"""LightNL's products in int8: a rewrite of an int8 TFLite file, in which the quantizer or converter left them float32.

With T = g^T [C, n], phi^T its first c rows and theta [N, c], context first is M^T = T phi, y = theta M; affinity first
is S = theta phi^T, y = S g. Each is a BATCH_MATMUL whose second operand is given transposed (`adj_y`): the CPU delegate
packs such an operand up to fifteen times as fast as an upright one, so that T costs less than it saves. The second
operand has zero point 0, which the delegate asks for: phi^T (and T in the second order) are requantized for it, and M
and S get a range of their own around 0. x and y keep theirs. The ranges are measured on images, or trained: then
`networks.quantizers.QuantizedProduct` computes as the rewritten file does.

A product that `product_pattern` does not find, or whose ranges are not known, stays float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from autonl_tf.export.product_pattern import Product, convolution_behind, match
from autonl_tf.export.tflite_graph import Int8Writer, kind_of, name_of

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

    Returns:
      How many products are int8 now.
    """
    model = flatbuffer_utils.read_model(str(path))
    count = 0
    while (product := _next_product(model, reaches)) is not None:
        _rewrite(model, *product)
        count += 1
    if count:
        flatbuffer_utils.write_model(model, str(path))
    return count


def _next_product(model: schema.ModelT, reaches: Reaches) -> tuple[Product, Reach] | None:
    """The first that is left; looked for anew after every rewrite, which moves what parallel branches interleave."""
    (graph,) = model.subgraphs
    for position, operator in enumerate(graph.operators):
        if kind_of(model, operator) == _OP.QUANTIZE:
            product = match(model, position)
            reach = reaches(product.middle, product.phi) if product else None
            if reach is not None and reach.usable():
                return product, reach
    return None


def _rewrite(model: schema.ModelT, product: Product, reach: Reach) -> None:
    (graph,) = model.subgraphs
    if product.factor != 1.0:  # moved into the weights behind: the integers stay the same
        weights = graph.tensors[convolution_behind(model, product.y).inputs[1]].quantization
        weights.scale = [float(scale) * product.factor for scale in weights.scale]
        values = graph.tensors[product.y].quantization
        values.scale = [float(scale) / product.factor for scale in values.scale]
    made = _written(model, product, reach)
    for position in reversed(product.operators):
        del graph.operators[position]
    # Behind what made x: nothing of another kind lies between a product's operators that it would have to follow.
    start = 1 + max(index for index, operator in enumerate(graph.operators) if product.x in operator.outputs)
    graph.operators[start:start] = made


def _written(model: schema.ModelT, product: Product, reach: Reach) -> list[schema.OperatorT]:
    """The operators of a product in int8, not yet in the graph."""
    (graph,) = model.subgraphs
    writer = Int8Writer(model, f"{name_of(graph.tensors[product.y])}_int8_")
    _, height, width, channels = writer.shape(product.x)
    g = writer.subsampled(product.x, product.stride)
    positions = int(np.prod(writer.shape(g)[1:3]))
    reduced = product.reduced
    flat = writer.reshape(g, [1, positions, channels])
    turned = writer.transpose(flat)
    middle = reach.middle / _LIMIT
    if product.affinity_first:
        x = flat if product.stride == 1 else writer.reshape(product.x, [1, height * width, channels])
        theta = writer.slice(x, [1, height * width, reduced])
        phi = theta if product.stride == 1 else writer.slice(flat, [1, positions, reduced])
        affinity = writer.product(theta, _centred(writer, phi, reach.phi), scale=middle)
        y = writer.product(affinity, _centred(writer, turned, reach.g or _reach(writer, turned)), like=product.y)
    else:
        phi = writer.slice(turned, [1, reduced, positions])
        context = writer.product(turned, _centred(writer, phi, reach.phi), scale=middle)
        if product.stride == 1:
            y = writer.product(phi, context, like=product.y, adjoint_first=True)
        else:
            theta = writer.slice(product.x, [1, height, width, reduced])
            y = writer.product(theta, context, like=product.y)
    writer.reshape(y, writer.shape(product.y), into=product.y)
    return writer.made


def _centred(writer: Int8Writer, x: int, reach: float) -> int:
    """x with zero point 0 and values up to `reach`; more where its steps would be too fine for the delegate."""
    finest = float(writer.graph.tensors[x].quantization.scale[0]) / _FINER
    return writer.quantize(x, max(reach / _LIMIT, finest))


def _reach(writer: Int8Writer, x: int) -> float:
    """The greatest magnitude that an int8 tensor's range holds."""
    found = writer.graph.tensors[x].quantization
    return float(found.scale[0]) * max(_LIMIT - int(found.zeroPoint[0]), int(found.zeroPoint[0]) + _LIMIT + 1)
