"""What a TFLite file computes in: of every operator the type, and of every kernel and activation the scales.

Read from the file's own bytes: nothing is run, and TensorFlow is not needed.

A real value is scale * (integer - zero point). A kernel per output channel has one scale for each, along its axis of
output channels; source: the LiteRT 8-bit quantization specification.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from autonl_tf.errors import UserError

_IDENTIFIER = b"TFL3"  # bytes 4 to 7 of a TFLite file
# The axis of the output channels in a kernel's shape: [out, h, w, in], [1, h, w, out], [out, in].
CHANNEL_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
CUSTOM = "CUSTOM "  # how the kind of an op that is not built in begins
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@dataclasses.dataclass(frozen=True)
class Values:
    """A tensor of a file.

    Attributes:
      index: in its graph.
      type: `float32`, `float16`, `int8`, `int32` and so on.
      constant: whether the file holds its values.
      scales, zero_points: of quantized values, one for all or one each along `axis`; empty of others.
      axis: along which scales differ; None where there is one scale or none.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    type: str
    constant: bool
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator of a file.

    Attributes:
      kind: `CONV_2D` and so on; of one that is not built in `CUSTOM` and its name.
      type: what it computes in, which is its first output's type.
      activation: fused into it, `RELU6` and so on, or None.
      inputs: None where an optional one is left out.
      kernel: of a convolution, depthwise convolution or dense layer, as stored, behind a DEQUANTIZE too; else None.
    """

    kind: str
    type: str
    activation: str | None
    inputs: tuple[Values | None, ...]
    outputs: tuple[Values, ...]
    kernel: Values | None

    @property
    def channels(self) -> int | None:
        """The output channels of its kernel."""
        return self.kernel.shape[CHANNEL_AXES[self.kind]] if self.kernel else None

    @property
    def per_channel(self) -> bool:
        """Whether its kernel has a scale of its own for every output channel."""
        kernel = self.kernel
        if kernel is None or len(kernel.scales) != self.channels:
            return False
        return self.channels == 1 or kernel.axis == CHANNEL_AXES[self.kind]


@dataclasses.dataclass(frozen=True)
class Contents:
    """A file: what its main graph takes and gives, and the operators of all its graphs in order."""

    inputs: tuple[Values, ...]
    outputs: tuple[Values, ...]
    operators: tuple[Operator, ...]


def read(path: str | Path) -> Contents:
    """Reads a TFLite file.

    Raises:
      UserError: it cannot be read, or is not a whole TFLite file.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; accepted: a TFLite file") from None
    if data[4:8] != _IDENTIFIER:
        raise UserError(f"{path}: is not a TFLite file, which has {_IDENTIFIER.decode()} as its bytes 4 to 7")
    try:
        return contents(flatbuffer_utils.read_model_from_bytearray(data))
    except Exception as error:  # of any kind: the library follows whatever offsets the bytes give
        raise UserError(f"{path}: is a damaged TFLite file ({type(error).__name__}: {error})") from None


def contents(model: schema.ModelT) -> Contents:
    """As `read`, of a model in memory."""
    operators, ends = [], None
    for graph in model.subgraphs:
        tensors = [_values(model, index, tensor) for index, tensor in enumerate(graph.tensors)]
        sources = {
            operator.outputs[0]: operator.inputs[0]
            for operator in graph.operators
            if _kind(model, operator) == "DEQUANTIZE"
        }
        operators += [_operator(model, operator, tensors, sources) for operator in graph.operators]
        ends = ends or tuple(tuple(tensors[index] for index in side) for side in (graph.inputs, graph.outputs))
    return Contents(*ends, tuple(operators))


def _operator(
    model: schema.ModelT, operator: schema.OperatorT, tensors: list[Values], sources: dict[int, int]
) -> Operator:
    kind = _kind(model, operator)
    inputs = tuple(tensors[index] if index >= 0 else None for index in operator.inputs)
    outputs = tuple(tensors[index] for index in operator.outputs)
    kernel = tensors[sources.get(operator.inputs[1], operator.inputs[1])] if kind in CHANNEL_AXES else None
    fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
    kind_of_values = outputs[0].type if outputs else "none"
    return Operator(kind, kind_of_values, _ACTIVATIONS[fused] if fused else None, inputs, outputs, kernel)


def _names_of(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


_KINDS = _names_of(schema.BuiltinOperator)
_ACTIVATIONS = _names_of(schema.ActivationFunctionType)


def _kind(model: schema.ModelT, operator: schema.OperatorT) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    kind = _KINDS[flatbuffer_utils.get_builtin_code_from_operator_code(code)]
    return f"{CUSTOM}{(code.customCode or b'unnamed').decode()}" if kind == "CUSTOM" else kind


def _values(model: schema.ModelT, index: int, tensor: schema.TensorT) -> Values:
    data, quantization = model.buffers[tensor.buffer].data, tensor.quantization
    scales = zero_points = ()
    if quantization is not None and quantization.scale is not None:
        scales = tuple(float(scale) for scale in quantization.scale)
        zero_points = tuple(int(zero) for zero in quantization.zeroPoint)
    return Values(
        index,
        (tensor.name or b"").decode(),
        tuple(int(size) for size in tensor.shape) if tensor.shape is not None else (),
        flatbuffer_utils.type_to_name(tensor.type).lower(),
        data is not None and len(data) > 0,
        scales,
        zero_points,
        int(quantization.quantizedDimension) if len(scales) > 1 else None,
    )


def summary(operators: Iterable[Operator]) -> dict[str, Any]:
    """In short, for a card.

    Returns:
      `computed_in`: type -> how many operators compute in it, conversions between types left out; `float_kinds`: the
      kinds of those that compute in a floating type; `kernels`: kind -> type -> `count` and how many `per_channel`.
    """
    operators = list(operators)
    computing = [operator for operator in operators if operator.kind not in CONVERSIONS]
    kernels: dict[str, dict[str, dict[str, int]]] = {}
    for operator in operators:
        if operator.kernel is not None:
            row = kernels.setdefault(operator.kind, {}).setdefault(operator.kernel.type, {"count": 0, "per_channel": 0})
            row["count"] += 1
            row["per_channel"] += operator.per_channel
    return {
        "computed_in": dict(sorted(collections.Counter(operator.type for operator in computing).items())),
        "float_kinds": sorted({operator.kind for operator in computing if operator.type.startswith("float")}),
        "kernels": dict(sorted(kernels.items())),
    }


def summary_lines(short: Mapping[str, Any]) -> list[str]:
    computed = ", ".join(f"{count} in {kind}" for kind, count in short["computed_in"].items())
    floats = f" (float: {', '.join(short['float_kinds'])})" if "int8" in short["computed_in"] else ""
    kernels = [
        f"{kind}: {row['count']} {values}"
        + (f", {row['per_channel']} with a scale for every output channel" if values.startswith("int") else "")
        for kind, rows in short["kernels"].items()
        for values, row in rows.items()
    ]
    return [f"operators: {computed}{floats}", f"kernels: {'; '.join(kernels) or 'none'}"]
