"""How many epochs do a search's own weights save? The found network from them and from scratch, several seeds each.

For each seed searches by a recipe, then trains what was found from scratch and from the search's weights by the
training's recipe, evaluating after every epoch. Prints validation top-1 by epoch, and ends in one line of JSON: the
curves, what the search's weights score before any training, and `reached`, the epoch after which a start scores what
training from scratch ends with (None: never).

    python benchmarks/search_weights.py [--task=demo] [--seeds=3] [--work=runs/bench_search_weights]
    python benchmarks/search_weights.py --task=cifar10 --dataset=folder:cifar10

--search_flags and --train_flags are put behind the recipe's.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
import subprocess
import sys

from support.main_py import ROOT, evaluations, main_py

from autonl_tf.engine.rundir import git_commit, versions


def curve(directory: pathlib.Path) -> list[float]:
    """Validation top-1 of a training after each epoch."""
    return [record["values"]["top1"] for record in evaluations(directory)]


def reached(scores: list[float], target: float) -> int | None:
    """The first epoch after which the score is at least `target`."""
    return next((epoch for epoch, score in enumerate(scores, start=1) if score >= target), None)


def measured(options: argparse.Namespace, data: list[str], work: pathlib.Path, seed: int) -> dict:
    """One seed's search and its two trainings."""
    task = options.task
    search = work / f"search_{seed}"
    if not (search / "arch.txt").is_file():
        words = [f"--model_dir={search}", f"--seed={seed}", *shlex.split(options.search_flags)]
        main_py(f"--flagfile=flags/{task}_search.flags", *data, *words)
    scored = main_py("--mode=eval", f"--model_dir={search}", *data, "--json", stdout=subprocess.PIPE).stdout
    untrained = json.loads(scored)["top1"]
    row = {"arch": (search / "arch.txt").read_text(encoding="utf-8").splitlines(), "untrained": untrained}
    for name, words in (("scratch", []), ("searched", [f"--init_checkpoint={search}"])):
        directory = work / f"{name}_{seed}"
        train = [f"--flagfile=flags/{task}_train.flags", f"--arch={search}/arch.txt", f"--model_dir={directory}"]
        main_py(*train, *data, *words, f"--seed={seed}", "--eval_every_epochs=1", *shlex.split(options.train_flags))
        row[name] = curve(directory)
        print(f"seed {seed}, {name}: {' '.join(f'{score:.2%}' for score in row[name])}", file=sys.stderr, flush=True)
    row["reached"] = {name: reached(row[name], row["scratch"][-1]) for name in ("scratch", "searched")}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("demo", "cifar10"), default="demo")
    parser.add_argument("--dataset", help="of cifar10: folder:PATH")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--search_flags", default="")
    parser.add_argument("--train_flags", default="")
    parser.add_argument("--work", default="runs/bench_search_weights")
    options = parser.parse_args()
    if (options.dataset is None) == (options.task == "cifar10"):
        parser.error("--dataset goes with --task=cifar10")
    data = [f"--dataset={options.dataset}"] if options.dataset else ["--dataset=demo", "--data_dir=runs/data"]
    work = (ROOT / options.work).resolve() / options.task
    rows = [measured(options, data, work, seed) for seed in range(options.seeds)]
    given = shlex.join(["python", "benchmarks/search_weights.py", *sys.argv[1:]])
    print(json.dumps({"command": given, "commit": git_commit(), "versions": versions(), "seeds": rows}))


if __name__ == "__main__":
    main()
