"""LightNL beside the conventional non-local block, place by place of AutoNL-S and -L: MACs and milliseconds.

Each block alone as a float32 TFLite file on [1, H, W, C], one thread, all interleaved. Also the two orders of LightNL's
product, (theta phi^T) g and theta (phi^T g), to see whether the one with fewer MACs, which is taken, is the faster one.

    python benchmarks/non_local_cost.py [--rounds=60]      # alone on the machine, about 3 minutes

Ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter

from autonl_tf.arch import presets
from autonl_tf.arch.cost import NONLOCAL_KERNEL, embedded_cost, light_nl_products
from autonl_tf.arch.spec import EmbeddedNLSpec, feature_map_sizes
from autonl_tf.engine.rundir import git_commit, versions
from autonl_tf.export import timing
from autonl_tf.layers.embedded_nl import EmbeddedNonLocal
from autonl_tf.layers.light_nl import LightNL

CONVENTIONAL = EmbeddedNLSpec(0.5, 1)  # the source's bottleneck of two, without its subsampling

Place = tuple[int, int, float, int]  # side, channels, ratio, stride


def places(names: Iterable[str], distinct: bool = True) -> list[Place]:
    """The places of LightNL in networks at 224 px, largest map first; each once, or as often as it is there."""
    found = []
    for name in names:
        blocks = presets.load(name).singles()
        for block, size in zip(blocks, feature_map_sizes(blocks, 224)[1:], strict=True):
            if block.nonlocal_:
                found.append((size, block.out_filters, block.nonlocal_.ratio, block.nonlocal_.stride))
    return sorted(set(found) if distinct else found, key=lambda place: (-place[0], place[1:]))


def totals(rows: list[dict]) -> dict[str, dict]:
    """The same sums over all places of each network."""
    found = {}
    by_place = {(row["map"][0], row["map"][2], row["ratio"], row["stride"]): row for row in rows}
    for name in presets.names():
        here = [by_place[place] for place in places([name], distinct=False)]
        if here:
            sums = {key: sum(row[key] for row in here) for key in _SUMMED}
            sums["macs_ratio"] = sums["conventional_macs"] / sums["light_nl_macs"]
            sums["ms_ratio"] = sums["conventional_ms"] / sums["light_nl_ms"]
            found[name] = {"places": len(here)} | {key: round(value, 4) for key, value in sums.items()}
    return found


_SUMMED = ("light_nl_macs", "conventional_macs", "light_nl_ms", "conventional_ms")


def light_nl(place: Place, affinity_first: bool | None) -> keras.Model:
    size, channels, ratio, stride = place
    layer = LightNL(ratio, stride)
    layer.product.build([None, size, size, channels])
    if affinity_first is not None:
        layer.product.affinity_first = affinity_first
    return _model(layer, size, channels)


def _model(layer: keras.layers.Layer, size: int, channels: int) -> keras.Model:
    inputs = keras.Input([size, size, channels])
    model = keras.Model(inputs, layer(inputs))
    (norm,) = [part for part in layer.submodules if isinstance(part, keras.layers.BatchNormalization)]
    norm.gamma.assign(np.random.default_rng(0).uniform(0.05, 0.2, norm.gamma.shape))
    return model


def write(model: keras.Model, path: Path) -> Path:
    shape = [1, *model.input_shape[1:]]
    run = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec(shape)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([run.get_concrete_function()], model)
    path.write_bytes(converter.convert())
    return path


def measure(files: dict[tuple, Path], rounds: int, seconds: float) -> dict[tuple, float]:
    """Median milliseconds of every file."""
    runs, times = {}, {key: [] for key in files}
    for key, path in files.items():
        runs[key] = Interpreter(model_path=str(path), num_threads=1)
        runs[key].allocate_tensors()
        (entry,) = runs[key].get_input_details()
        values = np.random.default_rng(0).normal(size=entry["shape"]).astype(np.float32)
        runs[key].set_tensor(entry["index"], values)
    order, began = list(files), time.monotonic()
    for done in range(rounds):
        random.Random(done).shuffle(order)
        for key in order:
            runs[key].invoke()
            start = time.perf_counter()
            runs[key].invoke()
            times[key].append(1e3 * (time.perf_counter() - start))
        if time.monotonic() - began > seconds:
            break
    return {key: statistics.median(values) for key, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=150.0, help="no further round after this long")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files, orders = {}, {}
        for number, place in enumerate(places(presets.names())):
            size, channels = place[:2]
            taken = light_nl(place, None)
            orders[place] = taken.layers[-1].product.affinity_first
            kinds = {
                "light_nl": taken,
                "other_order": light_nl(place, not orders[place]),
                "conventional": _model(EmbeddedNonLocal(CONVENTIONAL.ratio, CONVENTIONAL.stride), size, channels),
            }
            for kind, model in kinds.items():
                files[place, kind] = write(model, Path(folder) / f"{number}_{kind}.tflite")
        times = measure(files, options.rounds, options.seconds)
    for place in places(presets.names()):
        size, channels, ratio, stride = place
        light = min(light_nl_products(size, size, channels, ratio, stride)) + NONLOCAL_KERNEL**2 * channels * size**2
        full = embedded_cost(size, channels, CONVENTIONAL).macs
        ms = {kind: times[place, kind] for kind in ("light_nl", "other_order", "conventional")}
        rows.append(
            {
                **{"map": [size, size, channels], "ratio": ratio, "stride": stride},
                **{"light_nl_macs": light, "conventional_macs": full, "macs_ratio": full / light},
                **{f"{kind}_ms": round(value, 4) for kind, value in ms.items()},
                **{"ms_ratio": ms["conventional"] / ms["light_nl"], "affinity_first": orders[place]},
            }
        )
    print(
        "| map | ratio, stride | MACs: LightNL | other block | times | ms: LightNL | other block | times | reversed |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {'x'.join(map(str, row['map']))} | {row['ratio']:g}, {row['stride']} "
            f"| {row['light_nl_macs'] / 1e6:.2f}M "
            f"| {row['conventional_macs'] / 1e6:.2f}M | {row['macs_ratio']:.0f} | {row['light_nl_ms']:.3f} "
            f"| {row['conventional_ms']:.3f} | {row['ms_ratio']:.0f} | {row['other_order_ms']:.3f} |"
        )
    sums = totals(rows)
    for name, row in sums.items():
        macs = [f"{row[key] / 1e6:.2f}M" for key in ("light_nl_macs", "conventional_macs")]
        ms = f"{row['light_nl_ms']:.3f} | {row['conventional_ms']:.3f} | {row['ms_ratio']:.0f}"
        print(f"| {name}, {row['places']} places | | {' | '.join(macs)} | {row['macs_ratio']:.0f} | {ms} | |")
    command = shlex.join(["python", "benchmarks/non_local_cost.py", *sys.argv[1:]])
    runtime = {"ai_edge_litert": timing.runtime_version()}
    facts = {"command": command, "commit": git_commit(), "versions": versions() | runtime, "processor": timing.device()}
    print(json.dumps(facts | {"rows": rows, "networks": sums}))


if __name__ == "__main__":
    main()
