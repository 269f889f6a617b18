"""Does pruning or clustering weights earn its place? Time, bytes and accuracy of networks whose 1x1 convolutions have
zeros, or few values.

    python benchmarks/weight_pruning.py --only=build                            # the files, about 20 minutes
    python benchmarks/weight_pruning.py --only=measure                          # alone on the machine, 6 minutes
    python benchmarks/weight_pruning.py --only=trained [--checkpoints=runs/demo/train] [--data_dir=runs/data]
    python benchmarks/weight_pruning.py --only=kernels [--python=PYTHON]        # another processor's, see below
    python benchmarks/weight_pruning.py                                         # all of them; ends in one line of JSON

Time and bytes: random weights, pruned by magnitude, as ordinary files and with sparse encoding (converter option
EXPERIMENTAL_SPARSITY); clustered by tensorflow-model-optimization. The delegate has sparse kernels for float32, and
says nowhere whether it uses them: `kernels` tells by the answers' last bits (`support/sparse_kernels.py`), also under
another processor's Python, such as `--python="qemu-aarch64 -L root -E PYTHONPATH=site root/usr/bin/python3.13"`
(docs/deployment.md has how to set that up). `mobilenet_v2_symmetric` is a network that they can take, the others
differ from AutoNL-S in what may rule them out.

Accuracy: trained networks on their dataset's validation images, pruned at once, pruned within an epoch of training
(tensorflow-model-optimization's prune_low_magnitude), and clustered without and with an epoch; batch norm's statistics
are measured anew each time. Both also as int8 files after training.

Parts are written into --work, and put together from there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import shlex
import subprocess
import sys
from importlib import metadata

import numpy as np
from support import interleaved

from autonl_tf.engine.rundir import git_commit, versions

SHARES = (0.0, 0.5, 0.7, 0.8, 0.9)
CLUSTERS = (16, 32, 64)
SIZE = 224
# network -> shares of zeros; the first two are those in question, the third the control.
NETWORKS = {
    "autonl_s": SHARES,
    "autonl_l": SHARES,
    "mobilenet_v2_symmetric": SHARES,
    "mobilenet_v2": (0.8,),
    "autonl_s_without": (0.0, 0.8),
    "autonl_s_symmetric": (0.8,),
    "autonl_s_without_symmetric": (0.0, 0.8),
}
MAIN = ("autonl_s", "autonl_l")
INT8_SPARSE = ("autonl_s", "autonl_s_without", "mobilenet_v2_symmetric")  # the converter's own int8, dense and sparse
INT8_SHARE = 0.8
LIBRARIES = ("tensorflow-model-optimization", "ai-edge-quantizer")
CALIBRATION, HELD_OUT_BATCH = 256, 200


def spec_of(name: str):
    """`BASE[_without][_symmetric]`: without LightNL; as much padding on one side as on the other."""
    from support import latency_networks

    from autonl_tf.arch import presets

    base = name.removesuffix("_symmetric").removesuffix("_without")
    spec = presets.load(base)
    if "_without" in name:
        spec = latency_networks.without_light_nl(spec)
    if name.endswith("_symmetric"):
        blocks = tuple(dataclasses.replace(block, padding="symmetric") for block in spec.blocks)
        spec = dataclasses.replace(spec, padding="symmetric", blocks=blocks)
    return spec


def build(name: str, work: pathlib.Path) -> None:
    """Writes the files of a network, and what they are as NAME.json."""
    import tf_keras as keras
    from support import latency_networks, pruning
    from tflite_latency import photographs

    from autonl_tf.export import int8, rewrite
    from autonl_tf.networks.network import build_network

    images = photographs("")
    spec = spec_of(name)

    def fresh():
        keras.utils.set_random_seed(0)  # the same weights every time
        return build_network(spec, image_size=SIZE, num_classes=latency_networks.CLASSES)

    rows: dict[str, dict] = {}

    def note(key: str, made) -> None:
        path = work / f"{name}_{key}.tflite"
        rows[key] = {**weights, **pruning.file_facts(path), **made}
        print(f"{name} {key}: {rows[key]}", file=sys.stderr, flush=True)

    def quantize(key: str) -> None:
        path = work / f"{name}_{key}_int8.tflite"
        int8.quantize_int8(work / f"{name}_{key}.tflite", path, images[:32])
        rewrite.take_uint8(path)
        note(f"{key}_int8", {})

    for share in NETWORKS[name]:
        model = fresh()
        pruning.prune(model, share)
        latency_networks.set_statistics(model, images[:32])
        weights, key = pruning.facts(model), f"zeros{share:.0%}".rstrip("%")
        files = {"dense": work / f"{name}_{key}.tflite", "sparse": work / f"{name}_{key}_sparse.tflite"}
        pruning.convert(model, SIZE, files)
        note(key, {})
        note(f"{key}_sparse", {})
        if name in MAIN:
            quantize(key)
        if name in INT8_SPARSE and share == INT8_SHARE:
            names = {"dense": f"{key}_converter_int8", "sparse": f"{key}_converter_int8_sparse"}
            pruning.convert(model, SIZE, {kind: work / f"{name}_{k}.tflite" for kind, k in names.items()}, images[:8])
            for kind in names.values():
                note(kind, {})
    for count in CLUSTERS if name in MAIN else ():
        model = fresh()
        pruning.take_weights(model, pruning.clustered(fresh(), count))
        latency_networks.set_statistics(model, images[:32])
        weights, key = pruning.facts(model), f"clusters{count}"
        pruning.convert(model, SIZE, {"dense": work / f"{name}_{key}.tflite"})
        note(key, {})
        quantize(key)
    (work / f"{name}.json").write_text(json.dumps(rows, indent=1))


def files_of(work: pathlib.Path) -> dict[str, dict[str, dict]]:
    return {name: json.loads((work / f"{name}.json").read_text()) for name in NETWORKS}


def measure(work: pathlib.Path, seconds: float, processes: int) -> dict[str, dict]:
    """network -> file -> median and percentiles in ms at one thread, and times the file of no zeros (or its like)."""
    files = {
        f"{name} {key}": (str(work / f"{name}_{key}.tflite"), 1)
        for name, rows in files_of(work).items()
        for key in rows
        if not key.startswith("clusters")
    }
    parts = interleaved.measure(files, seconds, processes)
    found: dict[str, dict] = {}
    for name, rows in files_of(work).items():
        found[name] = {}
        for key in rows:
            if key.startswith("clusters"):
                continue
            base = key.removesuffix("_sparse")
            if "converter" not in key and 0.0 in NETWORKS[name]:
                base = "zeros0_int8" if key.endswith("_int8") else "zeros0"
            row = interleaved.summary(parts, f"{name} {key}")
            found[name][key] = {**row, "times": interleaved.ratio(parts, f"{name} {key}", f"{name} {base}"), "of": base}
    return found


def kernels(work: pathlib.Path, python: str) -> dict:
    """Whether sparse encoding changes the kernels, by the Python given and its processor; see `sparse_kernels`."""
    pairs = {
        f"{name} {key}": [str((work / f"{name}_{kind}.tflite").resolve()) for kind in (key, f"{key}_sparse")]
        for name, rows in files_of(work).items()
        for key in rows
        if f"{key}_sparse" in rows and key.startswith(("zeros50", "zeros80"))
    }
    script = pathlib.Path(__file__).resolve().parent / "support" / "sparse_kernels.py"
    command = [*shlex.split(python), str(script), json.dumps(pairs)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def trained(checkpoint: str, data_dir: str, work: pathlib.Path) -> dict:
    """Variant -> zeros, values, scores and bytes of a trained network, float32 and int8."""
    import tensorflow as tf
    import tf_keras as keras
    from support import pruning

    from autonl_tf.checkpoint.opening import open_checkpoint
    from autonl_tf.data.batches import eval_batches, train_batches
    from autonl_tf.data.calibration import calibration_images
    from autonl_tf.data.datasets import open_dataset
    from autonl_tf.data.images import preprocess_for_eval
    from autonl_tf.engine.evaluate import evaluate
    from autonl_tf.engine.recalibrate import Recalibration
    from autonl_tf.export import int8, rewrite
    from autonl_tf.export.score import TFLiteRunner
    from autonl_tf.networks.network import build_network

    about = open_checkpoint(checkpoint)
    spec, size, padding, classes = about.spec, about.image_size, about.crop_padding, len(about.class_names)
    data, strategy = open_dataset(about.trained_on, data_dir=data_dir), tf.distribute.get_strategy()
    calibration = calibration_images(data, CALIBRATION, image_size=size, crop_padding=padding)
    pixels = {"image_size": size, "crop_padding": padding, "normalization": spec.normalization}
    options = {**pixels, "batch_size": 64, "min_crop_area": 0.8}
    steps = data.size("train") // 64
    examples = list(data.examples("validation"))
    held_out = np.stack([preprocess_for_eval(example["image"], size, padding).numpy() for example in examples])
    labels = np.array([int(example["label"]) for example in examples])

    def fresh():
        model = build_network(spec, image_size=size, num_classes=classes, dropout_rate=0.1)
        about.load_into(model)
        return model

    def train(model, callbacks):
        keras.utils.set_random_seed(0)
        pruning.fit(model, callbacks, train_batches(data, seed=1, **options), steps, classes)

    def scored(name: str, source) -> dict:
        model = fresh()
        if source is not None:
            pruning.take_weights(model, source)
            Recalibration(strategy, model, lambda: train_batches(data, seed=2, **options), 10)()
        batches = eval_batches(data, batch_size=HELD_OUT_BATCH, **pixels)
        scores = evaluate(strategy, model, batches, len(labels))
        paths = [work / f"trained_{name}_{kind}.tflite" for kind in ("fp32", "int8")]
        pruning.convert(model, size, {"dense": paths[0]})
        int8.quantize_int8(paths[0], paths[1], calibration)
        rewrite.take_uint8(paths[1])
        told = TFLiteRunner(paths[1])(held_out)
        row = {
            **pruning.facts(model),
            "top1": scores["top1"],
            "cross_entropy": scores["loss"],
            "int8_top1": float(np.mean(told.argmax(axis=1) == labels)),
            "int8_cross_entropy": float(-np.mean(np.log(np.maximum(told[np.arange(len(labels)), labels], 1e-6)))),
            **{f"{kind}_file": pruning.file_facts(path) for kind, path in zip(("float32", "int8"), paths, strict=True)},
        }
        print(f"{checkpoint} {name}: {row}", file=sys.stderr, flush=True)
        return row

    rows = {"as trained": scored("as_trained", None)}
    model = fresh()
    train(model, [])
    rows["an epoch more"] = scored("epoch", model)
    for share in SHARES[1:]:
        model = fresh()
        pruning.prune(model, share)
        rows[f"zeros {share:.0%}"] = scored(f"zeros{share:.0%}", model)
        rows[f"zeros {share:.0%}, an epoch"] = scored(
            f"zeros{share:.0%}_epoch", pruning.pruned_in_training(fresh(), share, steps, train)
        )
    for count in CLUSTERS:
        rows[f"clusters {count}"] = scored(f"clusters{count}", pruning.clustered(fresh(), count))
        rows[f"clusters {count}, an epoch"] = scored(f"clusters{count}_epoch", pruning.clustered(fresh(), count, train))
    return {"arch": about["arch"].split(), "dataset": data.name, "images": len(labels), "steps": steps, "rows": rows}


def table(result: dict) -> str:
    lines = ["| network, file | ms | times | bytes | by gzip | pieces |", "|---|---|---|---|---|---|"]
    for name, rows in result["files"].items():
        for key, row in rows.items():
            time = result["times"].get(name, {}).get(key)
            cells = ["-", "-"] if time is None else [f"{time['median_ms']:.2f}", f"{time['times']['median']:.3f}"]
            sizes = [f"{row[kind] / 1e6:.2f}" for kind in ("bytes", "gzip_bytes")]
            pieces = "whole" if row["whole"] else str(row["pieces"])
            lines.append(f"| {name} {key} | {' | '.join([*cells, *sizes, pieces])} |")
    for found in result["kernels"]:
        used = [name for name, pair in found["pairs"].items() if not pair["same_bits"]]
        lines.append(f"\nsparse kernels on {found['machine']}: {', '.join(used) or 'never'}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="runs/weight_pruning")
    parser.add_argument(
        "--only", choices=("all", "build", "one", "measure", "kernels", "trained", "table"), default="all"
    )
    parser.add_argument("--network", choices=NETWORKS, help="with --only=one: build this one, in this process")
    parser.add_argument("--checkpoints", default="runs/demo/train", help="run directories, separated by commas")
    parser.add_argument("--data_dir", default="runs/data")
    parser.add_argument("--python", default=sys.executable, help="of --only=kernels: a command")
    parser.add_argument("--seconds", type=float, default=300.0, help="of measuring, divided among the processes")
    parser.add_argument("--processes", type=int, default=6)
    options = parser.parse_args()
    work = pathlib.Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    if options.only == "one":
        build(options.network, work)
        return
    if options.only in ("all", "build"):
        for name in NETWORKS:  # a process each: converters keep memory, and the names of layers
            if not (work / f"{name}.json").exists():
                command = [sys.executable, __file__, "--only=one", f"--network={name}", f"--work={work}"]
                subprocess.run(command, check=True, stdout=sys.stderr)
    if options.only in ("all", "kernels"):
        found = kernels(work, options.python)
        (work / f"kernels_{found['machine']}.json").write_text(json.dumps(found, indent=1))
    if options.only in ("all", "measure"):
        (work / "times.json").write_text(json.dumps(measure(work, options.seconds, options.processes), indent=1))
    if options.only in ("all", "trained"):
        found = {path: trained(path, options.data_dir, work) for path in options.checkpoints.split(",")}
        (work / "trained.json").write_text(json.dumps(found, indent=1))
    if options.only not in ("all", "table"):
        return
    from autonl_tf.export import timing

    result = {
        "command": shlex.join(["python", "benchmarks/weight_pruning.py", *sys.argv[1:]]),
        "commit": git_commit(),
        "versions": versions()
        | {"ai_edge_litert": timing.runtime_version()}
        | {n: metadata.version(n) for n in LIBRARIES},
        "processor": timing.device(),
        "files": files_of(work),
        "times": json.loads((work / "times.json").read_text()),
        "kernels": [json.loads(path.read_text()) for path in sorted(work.glob("kernels_*.json"))],
        "trained": json.loads((work / "trained.json").read_text()),
    }
    print(table(result))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
