"""Does LightNL help on the built-in data? Found networks with and without it, several seeds each.

Trains the architecture of a finished demo (runs/demo/search/arch.txt, or those of --arch) and the same lines without
their `nonlocal` tokens by the demo's own recipe, and prints every best validation top-1. Resumes. Ends in one line of
JSON.

    python benchmarks/demo_light_nl.py [--arch FILE ...] [--dataset=demo] [--seeds=3] [--work=runs/bench_light_nl]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
import statistics
import sys

from support.contenders import without_light_nl
from support.main_py import ROOT, best_copy, main_py

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.cost import network_cost
from autonl_tf.data.facts import DEMOS
from autonl_tf.engine.rundir import git_commit, versions
from autonl_tf.errors import UserError


def train(arch: pathlib.Path, dataset: str, model_dir: pathlib.Path, seed: int) -> float:
    """Best validation top-1 of one training by the demo's recipe."""
    flags = [f"--arch={arch}", f"--dataset={dataset}", f"--model_dir={model_dir}", f"--seed={seed}"]
    main_py("--flagfile=flags/demo_train.flags", *flags)
    return best_copy(model_dir)["metric"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", default=["runs/demo/search/arch.txt"])
    parser.add_argument("--dataset", choices=list(DEMOS), default="demo")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", default="runs/bench_light_nl")
    options = parser.parse_args()
    try:
        specs = [presets.load(str(ROOT / file)) for file in options.arch]
    except UserError as error:
        parser.error(str(error))
    work = (ROOT / options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    networks = []
    for number, found in enumerate(specs):
        networks.append({})
        for name, spec in (("with_light_nl", found), ("without", without_light_nl(found))):
            arch = work / f"{number}_{name}.arch.txt"
            arch.write_text(blockstring.write(spec), encoding="utf-8")
            runs = [(work / f"{number}_{name}_{seed}", seed) for seed in range(options.seeds)]
            scores = [train(arch, options.dataset, directory, seed) for directory, seed in runs]
            networks[-1][name] = {
                "arch": blockstring.write(spec).splitlines(),
                "macs": network_cost(spec, image_size=64, num_classes=8).total.macs,
                "top1": scores,
                "mean": statistics.mean(scores),
                "stdev": statistics.stdev(scores) if len(scores) > 1 else None,
            }
    result = {"dataset": options.dataset, "seeds": options.seeds, "networks": networks}
    given = shlex.join(["python", "benchmarks/demo_light_nl.py", *sys.argv[1:]])
    print(json.dumps({"command": given, "commit": git_commit(), "versions": versions(), "result": result}))


if __name__ == "__main__":
    main()
