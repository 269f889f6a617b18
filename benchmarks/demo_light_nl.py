"""Does LightNL help on the built-in data? The found network with and without it, several seeds each.

Trains the architecture of a finished demo (runs/demo/search/arch.txt, or --arch) and the same lines without their
`nonlocal` tokens by the demo's own recipe, and prints every best validation top-1. Ends in one line of JSON.

    python benchmarks/demo_light_nl.py [--arch=FILE] [--seeds=3] [--work=runs/bench_light_nl]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics

from support.contenders import without_light_nl
from support.main_py import ROOT, best_copy, main_py

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.cost import network_cost


def train(arch: pathlib.Path, model_dir: pathlib.Path, seed: int) -> float:
    """Best validation top-1 of one training by the demo's recipe."""
    flags = ["--flagfile=flags/demo_train.flags", f"--arch={arch}", f"--model_dir={model_dir}", f"--seed={seed}"]
    main_py(*flags)
    return best_copy(model_dir)["metric"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="runs/demo/search/arch.txt")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", default="runs/bench_light_nl")
    options = parser.parse_args()
    found = presets.load(str(ROOT / options.arch))
    without = without_light_nl(found)
    work = (ROOT / options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    result: dict = {"seeds": options.seeds}
    for name, spec in (("with_light_nl", found), ("without", without)):
        arch = work / f"{name}.arch.txt"
        arch.write_text(blockstring.write(spec), encoding="utf-8")
        scores = [train(arch, work / f"{name}_{seed}", seed) for seed in range(options.seeds)]
        result[name] = {
            "arch": blockstring.write(spec).splitlines(),
            "macs": network_cost(spec, image_size=64, num_classes=8).total.macs,
            "top1": scores,
            "mean": statistics.mean(scores),
            "stdev": statistics.stdev(scores) if len(scores) > 1 else None,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
