"""Does the search beat the trivial? On the built-in data, or on your own folder as it stands.

    python benchmarks/search_evidence.py --dataset=folder:photos --search_space=cifar10 --image_size=48 --classes=6
        --targets=12.2M [--parts=rank] [--jobs=2] [--minutes=60] [--work=runs/evidence/photos]

Parts:
  rank     for each of --targets: what --search_seeds searches found, each trained by --train_seeds seeds, beside random
           members, random members without squeeze-excite, and uniform networks (one kernel and one expansion
           throughout, nothing else), each by --random_seeds seeds, all within --tolerance of the MACs.
  truth    every member of a small space (at most 1,000), trained alike by --random_seeds seeds; then the regret and the
           rank of what the searches found for each of --targets, beside a random search of equal cost, the best by
           parameters, a uniform network, and a score that needs no training (synflow).
  far, texture  built-in data only: whether LightNL is chosen where labels relate far-apart parts, with and without it
           in the space for equal MACs, and dropped where they are a texture.

Searches and trainings are commands of `main.py`; what they take beyond the program's own choices is --search_flags and
--train_flags (by default, for the built-in data, its flag files). Every training is scored once, at its end, on the
validation images. --jobs commands run at once, each on its share of the processors.

Resumable: the same command goes on where it was stopped, and it stops by itself, between two commands, when --minutes
are over. A command that fails ends its part, and is told. Writes evidence.md and a picture a part into --work, and ends
in one line of JSON with what there is so far.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import math
import os
import pathlib
import queue
import shlex
import subprocess
import sys
import time
import zlib
from collections.abc import Callable

import numpy as np
from support.contenders import Contenders

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.engine.rundir import git_commit, versions
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEMO = {"search_space": "demo", "image_size": 64, "classes": 8}
DRAWS = 10_000  # random searches whose mean regret is told


class Stopped(Exception):
    """A part cannot go on: the budget of time is over, or a command failed. What is done stays."""


class Bench:
    """Runs commands of main.py, several at once, within a budget of time; a command that was done is not run again."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.work = (ROOT / options.work).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        space = space_lib.load(options.search_space)
        self.networks = Contenders(space, options.image_size, options.classes, options.tolerance)
        self.ends = time.monotonic() + options.minutes * 60
        # Each command has a share of the processors to itself.
        self.shares: queue.Queue[set[int]] = queue.Queue()
        processors = sorted(os.sched_getaffinity(0))
        for number in range(options.jobs):
            self.shares.put(set(processors[number :: options.jobs]) or set(processors))

    def each(self, function: Callable, calls: list[tuple]) -> list:
        """function(*call) of every call, --jobs at once, in order.

        Raises:
          Stopped: one could not be done; the others that had begun are.
        """
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            futures = [pool.submit(function, *call) for call in calls]
            for number, _ in enumerate(concurrent.futures.as_completed(futures), start=1):
                done = f"{function.__name__}: {number} of {len(calls)} done"
                print(f"== {done}, {(time.monotonic() - began) / 60:.1f} minutes", file=sys.stderr, flush=True)
        return [future.result() for future in futures]

    def _command(self, directory: pathlib.Path, *words: str) -> float:
        """Runs main.py into a run directory, unless it was done; gives the minutes it took."""
        done = directory / "minutes.json"
        if not done.exists():
            if time.monotonic() > self.ends:
                raise Stopped("out of time")
            words = (*words, f"--model_dir={directory}")
            share, began = self.shares.get(), time.monotonic()
            pinned = functools.partial(os.sched_setaffinity, 0, share)
            try:
                run = [sys.executable, "main.py", *words]
                ended = subprocess.run(run, cwd=ROOT, stdout=sys.stderr, check=False, preexec_fn=pinned)
            finally:
                self.shares.put(share)
            if ended.returncode:
                raise Stopped(f"exit code {ended.returncode}: {shlex.join(words)}")
            done.write_text(json.dumps((time.monotonic() - began) / 60), encoding="utf-8")
        return json.loads(done.read_text(encoding="utf-8"))

    def search(self, name: str, seed: int, *words: str) -> dict:
        """search.json of one search, and the `minutes` it took."""
        directory, options = self.work / name, self.options
        own = [f"--dataset={options.dataset}", f"--search_space={options.search_space}"]
        own.append(f"--input_image_size={options.image_size}")
        words = ("--mode=search", *shlex.split(options.search_flags), *own, f"--seed={seed}", *words)
        minutes = self._command(directory, *words)
        found = json.loads((directory / "search.json").read_text(encoding="utf-8"))
        return {**found, "minutes": minutes}

    def train(self, spec: NetworkSpec, seed: int) -> dict:
        """Top-1 of one training of a network, whoever found it, and the `minutes` it took."""
        text = blockstring.write(spec)
        name = f"{zlib.crc32(text.encode()):08x}"
        arch = self.work / f"{name}.arch.txt"
        arch.write_text(text, encoding="utf-8")
        directory, options = self.work / f"{name}_{seed}", self.options
        own = (f"--dataset={options.dataset}", f"--arch={arch}", f"--input_image_size={options.image_size}")
        words = ("--mode=train", *shlex.split(options.train_flags), *own, f"--seed={seed}")
        minutes = self._command(directory, *words, "--eval_every_epochs=100000")
        lines = (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        scores = [record["values"] for record in map(json.loads, lines) if record["phase"] == "validation"]
        return {"top1": scores[-1]["top1"], "minutes": minutes}

    def trained(self, specs: list[NetworkSpec], seeds: int) -> list[dict]:
        """For each network its cost, and top-1 of every seed."""
        # Searches may find the same network, which is trained once.
        pairs = [(spec, seed) for spec in {spec.canonical(): spec for spec in specs}.values() for seed in range(seeds)]
        runs: dict[str, list[dict]] = {}
        for (spec, _), run in zip(pairs, self.each(self.train, pairs), strict=True):
            runs.setdefault(spec.canonical(), []).append(run)
        rows = []
        for spec in specs:
            own, cost = runs[spec.canonical()], self.networks.cost(spec)
            blocks = blockstring.write(spec).split("\n")[:-1]
            rows.append({"blocks": blocks, "macs": cost.macs, "params": cost.params})
            rows[-1] |= {"top1": [run["top1"] for run in own], "minutes": [round(run["minutes"], 2) for run in own]}
        return rows

    def searched(self, target: float) -> list[dict]:
        """search.json of the searches for a target."""
        seeds = range(self.options.search_seeds)
        aim = f"--target_macs={target:.0f}"
        return self.each(self.search, [(f"search_{target:.0f}_{seed}", seed, aim) for seed in seeds])

    def target_macs(self) -> list[float]:
        """--targets in MACs; those left out are evenly spread within the space's reach, in the logarithm."""
        if self.options.targets:
            return [float(word.removesuffix("M")) * (1e6 if word[-1:] == "M" else 1) for word in self.options.targets]
        low, high = macs_model(self.networks.space, **self.shape).reachable()
        return [low * (high / low) ** share for share in (0.3, 0.5, 0.7)]

    @property
    def shape(self) -> dict[str, int]:
        return {"image_size": self.options.image_size, "num_classes": self.options.classes}


def read(lines: list[str]) -> NetworkSpec:
    return blockstring.parse("\n".join(lines), "search")


def mean_and_error(rows: list[dict]) -> tuple[float, float]:
    """The mean over networks of their mean top-1, and its standard error from the spread between the networks."""
    means = [np.mean(row["top1"]) for row in rows]
    return float(np.mean(means)), float(np.std(means, ddof=1) / math.sqrt(len(means))) if len(means) > 1 else math.nan


def rank(bench: Bench, result: dict) -> None:
    options, networks = bench.options, bench.networks
    for target in bench.target_macs():
        searches = bench.searched(target)
        row = {"target": target, "search_minutes": [round(one["minutes"], 2) for one in searches]}
        result.setdefault("rank", []).append(row)
        row["found"] = bench.trained([read(one["arch"]) for one in searches], options.train_seeds)
        macs = float(np.mean([found["macs"] for found in row["found"]]))
        groups = {
            "uniform": networks.uniform(macs, options.uniforms),
            "random": networks.random(macs, options.randoms, 0),
        }
        if "se" in networks.space.choices:
            plain = networks.random(macs, options.plain_randoms, 1, squeeze_excite=False)
            groups["random without squeeze-excite"] = plain
        for name, specs in groups.items():
            row[name] = bench.trained(specs, options.random_seeds)
        row |= against(row, [one for name in groups for one in row[name]])


def against(row: dict, others: list[dict]) -> dict:
    """How the mean of the found networks compares with the best uniform one and the random ones' 90th percentile."""
    mean, error = mean_and_error(row["found"])
    said: dict = {"found_mean": mean, "found_error": error}
    randoms = [np.mean(one["top1"]) for name in row if name.startswith("random") for one in row[name]]
    bounds = {"best_uniform": [np.mean(one["top1"]) for one in row["uniform"]], "random_90th": randoms}
    for name, values in bounds.items():
        if values:
            bound = float(np.max(values) if name == "best_uniform" else np.percentile(values, 90))
            said |= {name: bound, f"beats_{name}": bool(mean - bound > 2 * error)}
    said["better_networks"] = int(sum(np.mean(one["top1"]) > mean for one in others))
    return said | {"compared": len(others)}


def truth(bench: Bench, result: dict) -> None:
    options = bench.options
    try:
        members = bench.networks.every()
    except ValueError as error:
        raise Stopped(str(error)) from None
    held = result.setdefault("truth", {})
    held["members"] = bench.trained(members, options.random_seeds)
    for row, spec in zip(held["members"], members, strict=True):
        row["synflow"] = bench.networks.synflow(spec)
    held["targets"] = []
    by_blocks = {tuple(row["blocks"]): row for row in held["members"]}
    for target in bench.target_macs():
        searches = bench.searched(target)
        found = [by_blocks[tuple(blockstring.write(read(one["arch"])).split("\n")[:-1])] for one in searches]
        cost = np.mean([one["minutes"] for one in searches])
        cost /= np.mean([minutes for row in held["members"] for minutes in row["minutes"]])
        held["targets"].append({"target": target, "cost_in_trainings": float(cost)})
        uniform = [by_blocks[tuple(blockstring.write(s).split("\n")[:-1])] for s in bench.networks.uniform(target, 1)]
        held["targets"][-1] |= regrets(held["members"], target * (1 + options.tolerance), found, uniform, cost)


def regrets(members: list[dict], most_macs: float, found: list[dict], uniform: list[dict], cost: float) -> dict:
    """How much top-1 a way of choosing loses against the best member of at most so many MACs, in points.

    Returns:
      `members`: how many those are; `best`: the top-1 of the best; by way of choosing the regret in points: of each
      search, the mean over random searches that train as many members as a search costs, the member of the most
      parameters, of the largest synflow, a uniform one; `ranks`: the found networks', 1 the best.
    """
    within = [row for row in members if row["macs"] <= most_macs]
    scores = np.array([np.mean(row["top1"]) for row in within])
    best, tries = scores.max(), min(max(1, round(cost)), len(within))
    rng = np.random.default_rng(0)
    drawn = [scores[rng.choice(len(scores), tries, replace=False)].max() for _ in range(DRAWS)]
    chosen = {name: max(within, key=lambda row: row[name]) for name in ("params", "synflow")}
    lost = {name: 100 * float(best - np.mean(row["top1"])) for name, row in chosen.items()}
    own = [np.mean(row["top1"]) for row in found]
    return {
        "most_macs": most_macs,
        "members": len(within),
        "best": float(best),
        "found": [100 * float(best - score) for score in own],
        "random_search": {"trainings": tries, "regret": 100 * float(best - np.mean(drawn))},
        "random_member": 100 * float(best - scores.mean()),
        **lost,
        "uniform": [100 * float(best - np.mean(row["top1"])) for row in uniform],
        "ranks": [1 + int((scores > score).sum()) for score in own],
    }


def light(found: dict) -> dict:
    """What a search did about LightNL."""
    with_light_nl = sum("nonlocal" in line for line in found["arch"])
    return {"macs": found["macs"], "blocks": len(found["arch"]), "with_light_nl": with_light_nl}


def far(bench: Bench, result: dict) -> None:
    _needs_demo(bench)
    content = json.loads(json.dumps(bench.networks.space.content))
    content["candidates"] |= {"nonlocal_ratios": [], "nonlocal_strides": []}
    path = bench.work / "without_light_nl.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    reach = macs_model(space_lib.load(str(path)), **bench.shape).reachable()
    for seed in range(bench.options.search_seeds):
        rows = result.setdefault("far", {}).setdefault(f"seed{seed}", {})
        found = bench.search(f"far_{seed}", seed)
        words = (f"--search_space={path}", f"--target_macs={min(found['macs'], reach[1]):.0f}")
        plain = bench.search(f"far_without_{seed}", seed, *words)
        rows |= {"search": light(found), "search_without": light(plain)}
        for name, one in (("found", found), ("found_without", plain)):
            rows |= {name: bench.trained([read(one["arch"])], bench.options.train_seeds)[0]}


def texture(bench: Bench, result: dict) -> None:
    _needs_demo(bench)
    for seed in range(bench.options.search_seeds):
        found = bench.search(f"texture_{seed}", seed, "--dataset=demo:texture")
        result.setdefault("texture", {})[f"seed{seed}"] = light(found)


def _needs_demo(bench: Bench) -> None:
    if bench.options.dataset != "demo":
        raise Stopped("far and texture are labels of the built-in data")


PARTS = {"rank": rank, "truth": truth, "far": far, "texture": texture}
GROUPS = ("found", "uniform", "random", "random without squeeze-excite")


def table(result: dict) -> str:
    """What there is so far, as Markdown."""
    lines = []
    for row in result.get("rank", []):
        lines += [
            f"## {row['target'] / 1e6:.2f}M MACs",
            "",
            "| network | MACs | top-1, % by seed | mean |",
            "|---|---|---|---|",
        ]
        for group, one in [(name, one) for name in GROUPS for one in row.get(name, [])]:
            scores = ", ".join(f"{100 * score:.2f}" for score in one["top1"])
            lines.append(f"| {group} | {one['macs'] / 1e6:.2f}M | {scores} | {100 * np.mean(one['top1']):.2f} |")
        lines.append("")
    for row in result.get("truth", {}).get("targets", []):
        found = ", ".join(f"{lost:.2f}" for lost in row["found"])
        equal = row["random_search"]
        lines += [
            f"## at most {row['most_macs'] / 1e6:.2f}M MACs: the best of {row['members']} has {100 * row['best']:.2f}%",
            "",
        ]
        lines += ["| chosen by | regret, points |", "|---|---|", f"| search, by seed | {found} |"]
        lines.append(f"| random search of {equal['trainings']} trainings, mean | {equal['regret']:.2f} |")
        for name in ("params", "synflow", "random_member"):
            lines.append(f"| {name.replace('_', ' ')} | {row[name]:.2f} |")
        lines += [f"| uniform | {', '.join(f'{lost:.2f}' for lost in row['uniform']) or 'none of these MACs'} |", ""]
    return "\n".join(lines)


def draw(bench: Bench, result: dict) -> None:
    """`rank.png` and `truth.png`: top-1 by MACs, bars one standard deviation of a network's seeds."""
    from autonl_tf.pictures.canvas import new_figure, plain_axes, save
    from autonl_tf.pictures.palette import BLUE, ORANGE, QUIET, VERMILION

    pictures = {}
    if "rank" in result:
        groups = {name: [one for row in result["rank"] for one in row.get(name, [])] for name in GROUPS}
        pictures["rank"] = list(zip(groups, groups.values(), (VERMILION, BLUE, QUIET, ORANGE), strict=True))
    if result.get("truth", {}).get("targets"):
        members = result["truth"]["members"]
        ranked = [
            next(one for one in members if abs(100 * (row["best"] - np.mean(one["top1"])) - lost) < 1e-9)
            for row in result["truth"]["targets"]
            for lost in row["found"]
        ]
        pictures["truth"] = [("every member", members, QUIET), ("found", ranked, VERMILION)]
    for name, groups in pictures.items():
        figure = new_figure(7, 4.6, f"Found and other networks: {bench.options.dataset}")
        axes = plain_axes(figure.add_axes((0.1, 0.12, 0.86, 0.68)), "validation top-1, %; bars: deviation of its seeds")
        for label, rows, colour in groups:
            if rows:
                scores = [100 * np.array(row["top1"]) for row in rows]
                spread = [score.std(ddof=1) if len(score) > 1 else 0 for score in scores]
                style = {"fmt": "o", "color": colour, "markersize": 5, "elinewidth": 1, "alpha": 0.85, "label": label}
                axes.errorbar([row["macs"] / 1e6 for row in rows], [s.mean() for s in scores], spread, **style)
        axes.set_xlabel("MACs, millions")
        if any(rows for _, rows, _ in groups):
            figure.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.08, 0.93), fontsize=8.5, ncols=4)
        save(figure, bench.work / f"{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="rank")
    parser.add_argument("--dataset", default="demo", help="as of main.py")
    parser.add_argument("--search_space", help="as of main.py")
    parser.add_argument("--image_size", type=int)
    parser.add_argument("--classes", type=int, help="how many classes the data has")
    parser.add_argument("--targets", type=lambda text: text.split(","), help="MACs, as 12.2M,20M")
    parser.add_argument("--search_seeds", type=int, default=3)
    parser.add_argument("--train_seeds", type=int, default=3)
    parser.add_argument("--random_seeds", type=int, default=2, help="trainings of every other network")
    parser.add_argument("--randoms", type=int, default=12)
    parser.add_argument("--plain_randoms", type=int, default=4, help="random members without squeeze-excite")
    parser.add_argument("--uniforms", type=int, default=2)
    parser.add_argument("--tolerance", type=float, default=0.05, help="of the MACs")
    parser.add_argument("--search_flags", help="more flags of --mode=search, in one word")
    parser.add_argument("--train_flags", help="more flags of --mode=train, in one word")
    parser.add_argument("--jobs", type=int, default=1, help="commands at once")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--work", default="runs/evidence")
    options = parser.parse_args()
    demo = options.dataset == "demo"
    for name, value in DEMO.items():
        if getattr(options, name) is None:
            if not demo:
                parser.error(f"--{name} is needed beside --dataset={options.dataset}")
            setattr(options, name, value)
    for kind in ("search", "train"):
        if getattr(options, f"{kind}_flags") is None:
            setattr(options, f"{kind}_flags", f"--flagfile=flags/demo_{kind}.flags" if demo else "")
    parts = options.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--parts: no {', '.join(unknown)}; accepted: {', '.join(PARTS)}")
    bench, result = Bench(options), {}
    for part in parts:
        try:
            PARTS[part](bench, result)
        except Stopped as reason:
            result.setdefault("stopped", {})[part] = str(reason)
    (bench.work / "evidence.md").write_text(table(result), encoding="utf-8")
    draw(bench, result)
    given = shlex.join(["python", "benchmarks/search_evidence.py", *sys.argv[1:]])
    print(json.dumps({"command": given, "commit": git_commit(), "versions": versions(), "result": result}))


if __name__ == "__main__":
    main()
