"""What the parts of LightNL take within a network's TFLite file: its residual addition, its depthwise convolution, its
products.

Each file is measured as it is and with LightNL cut down: to nothing, to the addition alone (of x to itself), to the
depthwise convolution of x itself and the addition. Nothing but time means anything in these.

    python benchmarks/tflite_light_nl.py [--files=a.tflite,b.tflite] [--seconds=100]     # alone on the machine

Default: AutoNL-S and -L as built by tflite_latency.py, float32 and int8. Ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
import sys
import tempfile

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from support import interleaved

from autonl_tf.engine.rundir import git_commit, versions
from autonl_tf.export import timing
from autonl_tf.export.tflite_graph import kind_of

CUTS = ("nothing", "addition", "depthwise")


def cut(source: str, kind: str, path: pathlib.Path) -> int:
    """Writes the file with every LightNL cut down to `kind`; gives how many there are."""
    model = flatbuffer_utils.read_model(source)
    (graph,) = model.subgraphs
    made = {tensor: operator for operator in graph.operators for tensor in operator.outputs}
    count = 0
    for addition in list(graph.operators):
        if kind_of(model, addition) != schema.BuiltinOperator.ADD:
            continue
        (out,) = addition.outputs
        if b"_nl_add" not in graph.tensors[out].name:
            continue
        (branch,) = [
            tensor
            for tensor in addition.inputs
            if kind_of(model, made[tensor]) == schema.BuiltinOperator.DEPTHWISE_CONV_2D
            and b"_nl_" in graph.tensors[tensor].name
        ]
        (x,) = [tensor for tensor in addition.inputs if tensor != branch]
        count += 1
        if kind == "addition":
            addition.inputs = [x, x]
        elif kind == "depthwise":
            made[branch].inputs = [x, *made[branch].inputs[1:]]
        else:
            for operator in graph.operators:
                operator.inputs = [x if tensor == out else tensor for tensor in operator.inputs]
    while True:  # what nothing needs any more
        needed = {tensor for operator in graph.operators for tensor in operator.inputs} | set(graph.outputs)
        kept = [operator for operator in graph.operators if needed & set(operator.outputs)]
        if len(kept) == len(graph.operators):
            break
        graph.operators = kept
    flatbuffer_utils.write_model(model, str(path))
    return count


def parts(source: str, seconds: float, processes: int) -> dict:
    """Milliseconds without LightNL, and of each part of it: medians of the processes' differences of medians."""
    with tempfile.TemporaryDirectory() as name:
        files = {"whole": (source, 1)}
        for kind in CUTS:
            path = pathlib.Path(name) / f"{kind}.tflite"
            count = cut(source, kind, path)
            files[kind] = (str(path), 1)
        found = interleaved.measure(files, seconds, processes)
    steps = {"addition": "nothing", "depthwise": "addition", "products": "depthwise"}
    rows = {
        part: interleaved.difference(found, part if part != "products" else "whole", before)
        for part, before in steps.items()
    }
    without = interleaved.summary(found, "nothing")["median_ms"]
    return {
        "light_nl": count,
        "without_ms": without,
        "parts_ms": rows,
        "times_without": interleaved.ratio(found, "whole", "nothing"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    work = "runs/tflite_latency"
    default = ",".join(f"{work}/{name}_{kind}.tflite" for name in ("autonl_s", "autonl_l") for kind in ("fp32", "int8"))
    parser.add_argument("--files", default=default)
    parser.add_argument("--seconds", type=float, default=100.0, help="of measuring, divided among the files")
    parser.add_argument("--processes", type=int, default=10, help="for each file")
    options = parser.parse_args()
    paths = options.files.split(",")
    found = {pathlib.Path(path).name: parts(path, options.seconds / len(paths), options.processes) for path in paths}
    print("| file | without, ms | addition | depthwise | products | times without |")
    print("|---|---|---|---|---|---|")
    for name, row in found.items():
        cells = [f"{value:.3f} ({value / row['without_ms']:.1%})" for value in row["parts_ms"].values()]
        print(f"| {name} | {row['without_ms']:.2f} | {' | '.join(cells)} | {row['times_without']['median']:.3f} |")
    command = shlex.join(["python", "benchmarks/tflite_light_nl.py", *sys.argv[1:]])
    runtime = {"ai_edge_litert": timing.runtime_version()}
    facts = {"command": command, "commit": git_commit(), "versions": versions() | runtime, "processor": timing.device()}
    print(json.dumps(facts | {"files": found}))


if __name__ == "__main__":
    main()
