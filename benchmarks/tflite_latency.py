"""Milliseconds of AutoNL and of its neighbours as TFLite files on this machine's CPU, all interleaved in one run.

AutoNL-S and -L as they are, without LightNL, and with conventional non-local blocks in its places, beside MobileNetV2,
MobileNetV3, EfficientNet-B0, MnasNet-A1 and EfficientNet-Lite 0 to 2 (at their own sizes: 224, 240 and 260 px), each in
float32 and int8 (uint8 pixels), at 1 and 2 threads. Weights are random but for Lite's, which are the published ones;
accuracies in the picture are the papers'.

    python benchmarks/tflite_latency.py --only=build                            # the files, about 5 minutes
    python benchmarks/tflite_latency.py --only=measure                          # alone on the machine, 4 minutes
    python benchmarks/tflite_latency.py                                         # both
    python benchmarks/tflite_latency.py --only=draw                             # the picture once more

Ends in one line of JSON; also writes latency.json and latency.png into --work. Median, and the 10th and 90th percentile
over rounds; a round runs every file once to warm up and --repeats times to measure, in a random order, in each of
several processes (`support/interleaved.py` says why).
"""

from __future__ import annotations

import argparse
import glob
import json
import pathlib
import shlex
import subprocess
import sys

import numpy as np
from support import interleaved
from support import latency_networks as networks

from autonl_tf.engine.rundir import git_commit, versions
from autonl_tf.export import int8, rewrite, tflite, timing
from autonl_tf.export.graph_facts import graph_facts


def photographs(pattern: str, size: int, count: int = 48) -> np.ndarray:
    """Prepared images for statistics and int8 ranges: float32 [N, size, size, 3]."""
    import tensorflow as tf

    from autonl_tf.data.datasets import open_dataset
    from autonl_tf.data.images import preprocess_for_eval

    if pattern:
        files = sorted(glob.glob(pattern, recursive=True))[:count]
        if not files:
            raise SystemExit(f"--photos={pattern}: no files")
        encoded = [tf.io.read_file(file) for file in files]
    else:
        examples = open_dataset("demo", data_dir="runs/data").examples("train", shuffle_seed=0).take(count)
        encoded = [example["image"] for example in examples]
    return np.stack([preprocess_for_eval(data, size).numpy() for data in encoded])


def build(name: str, work: pathlib.Path, photos: str) -> None:
    """Writes NAME_fp32.tflite, NAME_fp16.tflite, NAME_int8.tflite and what they are into `work`."""
    size, normalization = networks.image_size(name), networks.normalization(name)
    images = photographs(photos, size)
    model = networks.build(name, images[:32])
    paths = {kind: work / f"{name}_{kind}.tflite" for kind in ("fp32", "fp16", "int8")}
    tflite.convert_fp32(model, paths["fp32"], normalization=normalization)
    tflite.convert_fp16(model, paths["fp16"], normalization=normalization)
    int8.quantize_int8(paths["fp32"], paths["int8"], images)
    rewrite.take_uint8(paths["int8"])
    facts = {}
    for kind, path in paths.items():
        found = graph_facts(path)
        facts[kind] = {
            "bytes": path.stat().st_size,
            "partitions": found.xnnpack_partitions,
            "whole": found.xnnpack_whole,
            "input": found.input_type,
        }
    (work / f"{name}.json").write_text(json.dumps(facts))


def measure(work: pathlib.Path, names: list[str], seconds: float, processes: int, repeats: int) -> dict[str, dict]:
    """name -> `fp32_1` and so on -> median and percentiles in ms, and how many times as long as without LightNL."""
    files = {
        f"{name} {kind}_{threads}": (str(work / f"{name}_{kind}.tflite"), threads)
        for name in names
        for kind in ("fp32", "int8")
        for threads in (1, 2)
    }
    parts = interleaved.measure(files, seconds, processes, repeats)
    found: dict[str, dict] = {}
    for name in names:
        found[name] = {kind: interleaved.summary(parts, f"{name} {kind}") for kind in _COLUMNS}
        without = f"{name.removesuffix('_conventional')}_without"
        if without in names:
            for kind, row in found[name].items():
                row["times_without"] = interleaved.ratio(parts, f"{name} {kind}", f"{without} {kind}")
    return found


def table(result: dict) -> str:
    lines = [
        "| network | MACs | fp32, 1 thread | fp32, 2 | int8, 1 | int8, 2 | fp32 MB | int8 MB | partitions | top-1 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result["networks"].items():
        cells = [f"{row[k]['median_ms']:.2f} ({row[k]['p10_ms']:.2f}-{row[k]['p90_ms']:.2f})" for k in _COLUMNS]
        macs = f"{row['macs'] / 1e6:.0f}M" if row["macs"] else "-"
        parts = "/".join(str(row["files"][kind]["partitions"]) for kind in ("fp32", "fp16", "int8"))
        sizes = [f"{row['files'][kind]['bytes'] / 1e6:.1f}" for kind in ("fp32", "int8")]
        lines.append(f"| {name} | {macs} | {' | '.join(cells + sizes)} | {parts} | {row['published_top1'] or '-'} |")
    return "\n".join(lines)


_COLUMNS = ("fp32_1", "fp32_2", "int8_1", "int8_2")


def draw(result: dict, path: pathlib.Path) -> None:
    """Published top-1 against milliseconds measured here, one thread: float32 and int8 side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [(name, row) for name, row in result["networks"].items() if row["published_top1"]]
    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4.5), sharey=True)
    for axes, kind, title in zip(
        panels, ("fp32", "int8"), ("float32", "int8 (accuracy: the float network's)"), strict=True
    ):
        axes.set_title(title, size=10)
        for name, row in rows:
            place = (row[f"{kind}_1"]["median_ms"], row["published_top1"])
            whole, ours = row["files"][kind]["whole"], name.startswith("autonl")
            colour = "tab:red" if ours else "tab:blue"
            axes.scatter(*place, s=36, color=colour if whole else "none", edgecolors=colour)
            label = name if whole else f"{name},\nin {row['files'][kind]['partitions']} pieces"
            if name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_b0"):
                shift, across, along = (7, 0), "left", "center"
            elif name == "mnasnet_a1" or not whole:
                shift, across, along = (0, -7), "center", "top"
            else:
                shift, across, along = (0, 7), "center", "bottom"
            axes.annotate(label, place, shift, textcoords="offset points", size=8, ha=across, va=along)
        axes.margins(x=0.25, y=0.13)
        axes.set_xlabel("milliseconds measured, one thread")
    panels[0].set_ylabel("ImageNet top-1 (%), as published")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="runs/tflite_latency")
    parser.add_argument(
        "--photos", default="", help="glob of photographs for int8 ranges; default: the built-in images"
    )
    parser.add_argument("--only", choices=("all", "build", "measure", "draw", "one"), default="all")
    parser.add_argument("--network", choices=networks.NAMES, help="with --only=one: build this one, in this process")
    parser.add_argument("--networks", default=",".join(networks.NAMES), help="which, of these")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=220.0, help="of measuring, divided among the processes")
    parser.add_argument("--processes", type=int, default=8)
    options = parser.parse_args()
    work = pathlib.Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    names = options.networks.split(",")
    if options.only == "one":
        build(options.network, work, options.photos)
        return
    if options.only == "draw":
        draw(json.loads((work / "latency.json").read_text()), work / "latency.png")
        return
    if options.only in ("all", "build"):
        for name in names:  # a process each: converters keep memory, and the names of layers
            if not (work / f"{name}.json").exists():
                command = [sys.executable, __file__, "--only=one", f"--network={name}", f"--work={work}"]
                subprocess.run([*command, f"--photos={options.photos}"], check=True, stdout=sys.stderr)
                print(f"built {name}", file=sys.stderr, flush=True)
        if options.only == "build":
            return
    found = measure(work, names, options.seconds, options.processes, options.repeats)
    for name, row in found.items():
        row["files"] = json.loads((work / f"{name}.json").read_text())
        row["macs"], row["published_top1"] = networks.macs(name), networks.PUBLISHED_TOP1.get(name)
    result = {
        "command": shlex.join(["python", "benchmarks/tflite_latency.py", *sys.argv[1:]]),
        "commit": git_commit(),
        "versions": versions() | {"ai_edge_litert": timing.runtime_version()},
        "processor": timing.device(),
        "networks": found,
    }
    print(table(result))
    draw(result, work / "latency.png")
    (work / "latency.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
