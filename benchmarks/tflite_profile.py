"""Where a TFLite network's time goes: milliseconds by block, and of LightNL within it, under the CPU delegate.

The delegate runs the whole graph as one op and tells nothing of its parts. So the graph is cut behind every part, each
prefix is timed, all interleaved, and a part costs what its prefix takes more than the one before. Differences:
parts of a few microseconds drown in the noise, and may come out negative.

    python benchmarks/tflite_profile.py [--files=a.tflite,b.tflite] [--rounds=100]     # alone on the machine

Default: AutoNL-S as built by tflite_latency.py, float32 and int8. Ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import pathlib
import random
import re
import statistics
import tempfile
import time

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from autonl_tf.engine.rundir import git_commit, versions


def part_of(name: str) -> str | None:
    """`stem`, `block3`, `block3 LightNL`, `head`, `logits`: where an op with this output belongs."""
    found = re.search(r"(stem|block\d+|head|logits)_?(nl_)?", name)
    return None if found is None else found[1] + (" LightNL" if found[2] else "")


def prefixes(path: str, folder: pathlib.Path) -> list[tuple[str, str]]:
    """(part, file of the graph up to its end), in order; the last is the whole graph."""
    model = flatbuffer_utils.read_model(path)
    (graph,) = model.subgraphs
    parts, ends = [], []
    for index, operator in enumerate(graph.operators):
        name = graph.tensors[operator.outputs[0]].name
        part = part_of(name.decode() if isinstance(name, bytes) else name) or (parts[-1] if parts else "input")
        if not parts or part != parts[-1]:
            parts.append(part)
            ends.append(index)
        ends[-1] = index
    found = []
    for number, (part, end) in enumerate(zip(parts, ends, strict=True)):
        cut = copy.deepcopy(model)
        (graph,) = cut.subgraphs
        made = [tensor for operator in graph.operators[: end + 1] for tensor in operator.outputs]
        later = {tensor for operator in graph.operators[end + 1 :] for tensor in operator.inputs}
        graph.operators = graph.operators[: end + 1]
        if end + 1 < len(model.subgraphs[0].operators):
            graph.outputs = [tensor for tensor in made if tensor in later]
            cut.signatureDefs = []
        file = folder / f"{number}.tflite"
        flatbuffer_utils.write_model(cut, str(file))
        found.append((part, str(file)))
    return found


def measure(files: list[str], rounds: int) -> list[float]:
    """Median milliseconds of each file at one thread."""
    runs = []
    for file in files:
        runs.append(Interpreter(model_path=file, num_threads=1))
        runs[-1].allocate_tensors()
    times: list[list[float]] = [[] for _ in files]
    order = list(range(len(files)))
    for done in range(rounds):
        random.Random(done).shuffle(order)
        for index in order:
            runs[index].invoke()
            start = time.perf_counter()
            runs[index].invoke()
            times[index].append(1e3 * (time.perf_counter() - start))
    return [statistics.median(values) for values in times]


def profile(path: str, rounds: int) -> dict:
    with tempfile.TemporaryDirectory() as name:
        cuts = prefixes(path, pathlib.Path(name))
        medians = measure([file for _, file in cuts], rounds)
    parts: dict[str, float] = {}
    before = 0.0
    for (part, _), median in zip(cuts, medians, strict=True):
        parts[part] = parts.get(part, 0.0) + median - before
        before = median
    light = sum(value for part, value in parts.items() if "LightNL" in part)
    kinds = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = flatbuffer_utils.read_model(path)
    counts: dict[str, int] = {}
    for operator in model.subgraphs[0].operators:
        kind = kinds[flatbuffer_utils.get_builtin_code_from_operator_code(model.operatorCodes[operator.opcodeIndex])]
        counts[kind] = counts.get(kind, 0) + 1
    rounded = {part: round(value, 4) for part, value in parts.items()}
    return {"total_ms": round(before, 4), "light_nl_ms": round(light, 4), "parts_ms": rounded, "ops": counts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    work = "runs/tflite_latency"
    parser.add_argument("--files", default=f"{work}/autonl_s_fp32.tflite,{work}/autonl_s_int8.tflite")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    found = {pathlib.Path(path).name: profile(path, options.rounds) for path in options.files.split(",")}
    for name, row in found.items():
        print(f"{name}: {row['total_ms']:.2f} ms, of which LightNL {row['light_nl_ms']:.2f}")
        for part, value in row["parts_ms"].items():
            print(f"  {part:18}{value:8.3f} ms{value / row['total_ms']:8.1%}")
    print(json.dumps({"commit": git_commit(), "versions": versions(), "files": found}))


if __name__ == "__main__":
    main()
