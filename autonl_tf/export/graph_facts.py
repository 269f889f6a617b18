"""What a TFLite file runs: its kinds of ops, and how much of it the CPU delegate (XNNPACK) takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter

from autonl_tf.errors import UserError
from autonl_tf.export import quantization


@dataclasses.dataclass(frozen=True)
class GraphFacts:
    """What a TFLite file runs.

    Attributes:
      ops: the kinds of built-in ops, sorted.
      xnnpack_partitions: how many pieces of the graph the CPU delegate takes; 0 where the runtime has none.
      xnnpack_whole: whether one piece goes from the graph's inputs to its outputs, with nothing left outside.
      input_type: of the images, `float32` or `uint8`.
      quantization: the summary of `quantization`.
    """

    ops: tuple[str, ...]
    xnnpack_partitions: int
    xnnpack_whole: bool
    input_type: str
    quantization: dict[str, Any]


def graph_facts(path: str | Path) -> GraphFacts:
    """Reads a TFLite file and prepares it as the runtime does on a CPU.

    Raises:
      UserError: it holds ops that are not built in (custom ones, TensorFlow's through the Flex delegate).
    """
    contents = quantization.read(path)
    ops = sorted({operator.kind for operator in contents.operators})
    if others := [kind.removeprefix(quantization.CUSTOM) for kind in ops if kind.startswith(quantization.CUSTOM)]:
        raise UserError(f"{path}: needs ops that are not built in: {', '.join(others)}")
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    # The list of nodes is the only place where the runtime's Python interface tells of its delegates.
    delegates = [node for node in interpreter._get_ops_details() if node["op_name"] == "DELEGATE"]
    whole = len(delegates) == 1 and _spans(contents, delegates[0])
    input_type = interpreter.get_input_details()[0]["dtype"].__name__
    return GraphFacts(tuple(ops), len(delegates), whole, input_type, quantization.summary(contents.operators))


def _spans(contents: quantization.Contents, delegate: dict) -> bool:
    """Whether a delegate's node computes the graph's outputs from nothing but its inputs and constants."""
    constants = {
        values.index for operator in contents.operators for values in operator.inputs if values and values.constant
    }
    computed = {int(tensor) for tensor in delegate["inputs"] if tensor >= 0} - constants
    inputs, outputs = ({values.index for values in end} for end in (contents.inputs, contents.outputs))
    return computed <= inputs and outputs <= set(map(int, delegate["outputs"]))
