"""Images a second of the training step, its memory, and where its time goes.

The step is that of `--mode=train` (model, averages, optimizer, loss), on one made-up batch. Images a second: all
networks and batch sizes interleaved in one process, medians over rounds. Memory: the peak resident size of a fresh
process less its size before the first step. Where time goes: TensorFlow's profiler over one more step; every op's time
goes to the family of its kind, and a share is that of all ops' time, summed over threads.

    python benchmarks/train_throughput.py [--networks=autonl_s,autonl_l] [--batches=16,64] [--size=224] [--rounds=5]
    python benchmarks/train_throughput.py --compare=tensorflows_gradients [--networks=autonl_s] [--batches=16]

The second compares the step without gradients of our own (`support/step_variants.py`) with the step as it is: each in a
process of its own, by turns; ratios of every round, of time and of processor time, which other work on the machine
hardly touches. Above 1: quicker than as it is.

Ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import pathlib
import re
import shlex
import statistics
import sys
import tempfile
import time

from support.main_py import child

CLASSES = 1000
# Family -> kinds of ops, by TensorFlow's names but for what marks a fused or a oneDNN form; the first that fits counts.
FAMILIES = {
    "depthwise convolutions": r"DepthwiseConv2dNative",
    "depthwise convolutions, gradients of inputs": r"DepthwiseConv2dNativeBackpropInput",
    "depthwise convolutions, gradients of kernels": r"DepthwiseConv2dNativeBackpropFilter",
    "convolutions": r"Conv2D",
    "convolutions, gradients of inputs": r"Conv2DBackpropInput",
    "convolutions, gradients of kernels": r"Conv2DBackpropFilter",
    "batch norm": r"BatchNorm(V\d)?",
    "batch norm, gradients": r"BatchNormGrad(V\d)?",
    "matrix products": r"(Batch)?MatMul(V\d)?",
    "activations and their gradients": r"(Swish|Sigmoid|Relu6?|Elu|Tanh|Softplus)(Grad)?",
    "reductions and losses": r"Sum|Mean|Max|Min|L2Loss|Softmax|LogSoftmax|.*CrossEntropy.*|InTopK\w*|TopK\w*|ArgMax"
    r"|BiasAddGrad|OneHot|All|Any",
    "reads and updates of variables": r"ReadVariableOp|Assign\w*VariableOp|ResourceApply\w+|VarHandleOp",
    "other elementwise": r"Mul|Add(V2)?|AddN|Sub|Neg|(Real)?Div(NoNan)?|Square|Sqrt|Rsqrt|Maximum|Minimum|Pow|Exp|Log"
    r"|Cast|Select(V2)?|Where|Greater\w*|Less\w*|Equal|LogicalAnd|LogicalNot|IsFinite|RsqrtGrad|Reciprocal",
    "shapes and copies": r"Reshape|Transpose|Pad(V2)?|Slice|StridedSlice\w*|Concat(V2)?|Split\w*|Tile|BroadcastTo|Pack"
    r"|Unpack|Fill|ZerosLike|Shape\w*|Identity\w*|ExpandDims|Squeeze|Gather\w*|Const|_\w*ToTf",
    "random numbers": r"(Stateless)?Random\w*",
}
OTHER = "everything else"


def family(kind: str) -> str:
    """The family of an op such as `_MklNativeFusedConv2D`."""
    plain = re.sub(r"^_?(Mkl)?(Native)?_?(Fused)?", "", kind).removesuffix("WithBias")
    return next((name for name, kinds in FAMILIES.items() if re.fullmatch(kinds, plain)), OTHER)


def op_times(folder: pathlib.Path) -> collections.Counter:
    """Kind of op -> nanoseconds, of what the profiler wrote into `folder`."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    found: collections.Counter = collections.Counter()
    for path in folder.rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace()
        space.ParseFromString(path.read_bytes())
        for plane in space.planes:
            names = {key: re.fullmatch(r"[^:]+:(\w+)", entry.name) for key, entry in plane.event_metadata.items()}
            for line in plane.lines:
                if line.name.startswith("tf_Compute"):
                    for event in line.events:
                        if names[event.metadata_id]:
                            found[names[event.metadata_id][1]] += event.duration_ps / 1e3
    return found


def shares(times: collections.Counter) -> dict:
    """`by_family`, shares of all ops' time, largest first, and the kinds of the largest `other` ops."""
    total, by_family = sum(times.values()), collections.Counter()
    for kind, time_ in times.items():
        by_family[family(kind)] += time_
    others = [kind for kind, _ in times.most_common() if family(kind) == OTHER]
    return {
        "by_family": {name: round(time_ / total, 4) for name, time_ in by_family.most_common()},
        "largest_of_everything_else": others[:5],
    }


def measure_time(networks: list[str], sizes: list[int], options: argparse.Namespace) -> dict[str, dict]:
    """`NETWORK, BATCH` -> seconds a step of every round, and the shares of its ops."""
    import tensorflow as tf
    from support import training_step

    from autonl_tf.arch import presets

    steps, seconds, found = {}, collections.defaultdict(list), {}
    for batch in sizes:
        iterator = training_step.batches(options.size, batch, CLASSES)
        for name in networks:
            spec = presets.load(name)
            made = training_step.train_function(spec, image_size=options.size, batch=batch, classes=CLASSES)
            steps[name, batch] = made, iterator
    for round_number in range(options.rounds + 1):
        for key, (function, iterator) in steps.items():
            began = time.perf_counter()
            function(iterator, options.steps if round_number else 1)
            if round_number:  # the first traces
                seconds[key].append((time.perf_counter() - began) / options.steps)
        print(f"round {round_number} of {options.rounds}", file=sys.stderr, flush=True)
    for (name, batch), (function, iterator) in steps.items():
        with tempfile.TemporaryDirectory() as folder:
            tracers = tf.profiler.experimental.ProfilerOptions(host_tracer_level=3, python_tracer_level=0)
            tf.profiler.experimental.start(folder, tracers)
            function(iterator, 1)
            tf.profiler.experimental.stop()
            traced = shares(op_times(pathlib.Path(folder)))
        found[f"{name}, {batch}"] = {"network": name, "batch": batch, "seconds": seconds[name, batch], **traced}
    return found


def measure_memory(name: str, batch: int, options: argparse.Namespace) -> float:
    """Bytes above the start."""
    from support import training_step

    from autonl_tf.arch import presets

    function = training_step.train_function(presets.load(name), image_size=options.size, batch=batch, classes=CLASSES)
    iterator, before = training_step.batches(options.size, batch, CLASSES), training_step.resident()
    function(iterator, 3)
    return training_step.peak() - before


def compare(names: list[str], networks: list[str], sizes: list[int], options: argparse.Namespace) -> list[dict]:
    """As-it-is and each variant, images a second; the median, least and greatest ratio of their times."""
    from support.step_variants import VARIANTS, Server

    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise SystemExit(f"--compare: {', '.join(unknown)} unknown; accepted: {', '.join(VARIANTS)}")
    rows = []
    for name, batch in itertools.product(networks, sizes):
        words = [f"--networks={name}", f"--batches={batch}", f"--size={options.size}"]
        command = [sys.executable, __file__, *words, "--measure=variant"]
        servers = {kind: Server(kind, [*command, f"--compare={kind}"]) for kind in ("as_it_is", *names)}
        rounds = [{kind: server(options.steps) for kind, server in servers.items()} for _ in range(options.rounds)]
        for server in servers.values():
            server.close()
        for kind in names:
            seconds = [statistics.median(one[part][0] for one in rounds) for part in ("as_it_is", kind)]
            row = {"network": name, "batch": batch, "variant": kind}
            row["images_per_second"] = [round(batch / second, 2) for second in seconds]
            for index, measure in enumerate(("time", "processor_time")):
                ratios = [one["as_it_is"][index] / one[kind][index] for one in rounds]
                summary = statistics.median(ratios), min(ratios), max(ratios)
                row[measure] = [round(ratio, 3) for ratio in summary]
            said = ", ".join(f"{key} {row[key]}" for key in ("images_per_second", "time", "processor_time"))
            print(f"{name}, batch {batch}, {kind}: {said}", flush=True)
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="autonl_s,autonl_l")
    parser.add_argument("--batches", default="16,64")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--compare", help="variants, see support/step_variants.py")
    parser.add_argument("--measure", choices=("time", "memory", "variant"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    networks, sizes = options.networks.split(","), [int(batch) for batch in options.batches.split(",")]
    if options.measure == "time":
        print(json.dumps(measure_time(networks, sizes, options)))
        return
    if options.measure == "memory":
        print(json.dumps(measure_memory(networks[0], sizes[0], options)))
        return
    if options.measure == "variant":
        from support.step_variants import serve

        serve(options.compare, networks[0], sizes[0], options.size, CLASSES)
        return
    if options.compare:
        rows = compare(options.compare.split(","), networks, sizes, options)
        print(json.dumps(result(rows, options)))
        return
    words = [f"--size={options.size}", f"--rounds={options.rounds}", f"--steps={options.steps}"]
    of_all = (f"--networks={options.networks}", f"--batches={options.batches}")
    found = child(__file__, "--measure=time", *of_all, *words)
    rows = []
    for row in found.values():
        name, batch, seconds = row["network"], row["batch"], row.pop("seconds")
        row["images_per_second"] = round(batch / statistics.median(seconds), 2)
        row["slowest_and_fastest_round"] = [round(batch / extreme(seconds), 2) for extreme in (max, min)]
        row["seconds_a_step"] = round(statistics.median(seconds), 4)
        of_this = (f"--networks={name}", f"--batches={batch}", f"--size={options.size}")
        memory = child(__file__, "--measure=memory", *of_this)
        row["megabytes"] = round(memory / 1e6)
        largest = ", ".join(f"{part} {share:.0%}" for part, share in list(row["by_family"].items())[:5])
        print(f"{name}, batch {batch}: {row['images_per_second']} images/s, {row['megabytes']} MB; {largest}")
        rows.append(row)
    print(json.dumps(result(rows, options)))


def result(rows: list[dict], options: argparse.Namespace) -> dict:
    from autonl_tf.engine.rundir import git_commit, versions
    from autonl_tf.export import timing

    return {
        "command": shlex.join(["python", "benchmarks/train_throughput.py", *sys.argv[1:]]),
        "commit": git_commit(),
        "versions": versions(),
        "processor": timing.device(),
        "image_size": options.size,
        "rounds": options.rounds,
        "rows": rows,
    }


if __name__ == "__main__":
    main()
