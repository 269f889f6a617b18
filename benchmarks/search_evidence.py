"""Does the search work? By a recipe of flags/: on the built-in data, whose right answers are known, or on CIFAR-10.

Parts:
  far      labels that relate two far-apart parts: how many blocks get LightNL, and the found network's accuracy beside
           that of the same search without LightNL in its space, for the same MACs.
  texture  labels that are a local texture, same lambda: how many blocks get LightNL. Built-in data only.
  rank     the found network of `far` among random members of the space within 5% of its MACs, all trained alike.
  study    the recipe, and one flag of it changed at a time: the thresholds' travel, the warm-up's share, the gates'
           dropout.
  pareto   searches for several targets, each found network trained from several seeds, beside random members within 5%
           of each target's MACs (and those of `rank`, if that goes before): a picture.

Every search and training is a command of `main.py`, which resumes: the same command goes on where it was stopped, and
stops by itself, between two commands, when `--minutes` are over. A command that fails ends its part, and is told. Ends
in one line of JSON with what there is so far.

    python benchmarks/search_evidence.py --parts=far,texture [--seeds=3] [--minutes=60] [--work=runs/evidence]
        [--search_steps=600] [--train_epochs=14] [--members=20] [--targets=5] [--members_per_target=4]
        [--dataset=folder:CIFAR10]
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import subprocess
import sys
import time
import zlib

import numpy as np

from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import network_cost
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model

ROOT = pathlib.Path(__file__).resolve().parents[1]
SETTINGS = {"demo": {"image_size": 64, "num_classes": 8}, "cifar10": {"image_size": 32, "num_classes": 10}}
WITHOUT = {"nonlocal_ratios": [], "nonlocal_strides": []}


class Stopped(Exception):
    """A part cannot go on: the budget of time is over, or a command failed. What is done stays."""


class Bench:
    """Runs commands of main.py within a budget of time."""

    def __init__(self, options):
        self.options = options
        self.setting = "cifar10" if options.dataset else "demo"
        self.shape = SETTINGS[self.setting]
        self.work = (ROOT / options.work / self.setting).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.ends = time.monotonic() + options.minutes * 60

    def space(self) -> space_lib.Space:
        return space_lib.load(self.setting)

    def _command(self, recipe: str, directory: pathlib.Path, *words: str) -> None:
        if time.monotonic() > self.ends:
            raise Stopped("out of time")
        data = [f"--dataset={self.options.dataset}"] if self.options.dataset else []
        flags = [f"--flagfile=flags/{self.setting}_{recipe}.flags", f"--model_dir={directory}", *data, *words]
        done = subprocess.run([sys.executable, "main.py", *flags], cwd=ROOT, stdout=sys.stderr, check=False)
        if done.returncode:
            raise Stopped(f"exit code {done.returncode}: {' '.join(flags)}")

    def search(self, name: str, *words: str) -> dict:
        """search.json of one search."""
        steps = self.options.search_steps
        path = self.work / f"{name}_search{steps}" / "search.json"
        if not path.exists():
            self._command("search", path.parent, f"--train_steps={steps}", *words)
        return json.loads(path.read_text(encoding="utf-8"))

    def train(self, arch: list[str], seed: int) -> float:
        """Best validation top-1 of one training of a network, whatever found it."""
        text, epochs = "\n".join(arch) + "\n", self.options.train_epochs
        name = f"{zlib.crc32(text.encode()):08x}_seed{seed}"
        directory = self.work / f"{name}_train{epochs:g}"
        done = directory / "top1.json"
        if not done.exists():
            written = self.work / f"{name}.arch.txt"
            written.write_text(text, encoding="utf-8")
            epochs_flags = (f"--train_epochs={epochs}", f"--eval_every_epochs={epochs}")
            self._command("train", directory, f"--arch={written}", f"--seed={seed}", *epochs_flags)
            best = json.loads((directory / "best" / "best.json").read_text(encoding="utf-8"))
            done.write_text(json.dumps(best["metric"]), encoding="utf-8")
        return json.loads(done.read_text(encoding="utf-8"))


def light(result: dict) -> dict:
    """What a search did about LightNL."""
    return {
        "macs": result["macs"],
        "blocks": len(result["arch"]),
        "with_light_nl": sum("nonlocal" in line for line in result["arch"]),
        "nl_margins": {
            gate["name"]: gate["margin"] for gate in result["gates"] if gate["name"].endswith("/nl") and gate["counts"]
        },
    }


def without_light_nl(bench: Bench) -> pathlib.Path:
    source = ROOT / "autonl_tf" / "space" / "spaces" / f"{bench.setting}.json"
    data = json.loads(source.read_text(encoding="utf-8"))
    data["candidates"] |= WITHOUT
    path = bench.work / "without_light_nl.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def far(bench: Bench, result: dict) -> None:
    for seed in range(bench.options.seeds):
        rows = result.setdefault("far", {}).setdefault(f"seed{seed}", {})
        found = bench.search(f"far{seed}", f"--seed={seed}")
        rows["search"] = light(found)
        space = without_light_nl(bench)
        reach = macs_model(space_lib.load(str(space)), **bench.shape).reachable()
        target = min(found["macs"], reach[1])
        words = (f"--seed={seed}", f"--search_space={space}", f"--target_macs={target:.0f}")
        plain = bench.search(f"far_without{seed}", *words)
        rows["search_without"] = {"macs": plain["macs"], "budget_error": plain["budget"]["error"]}
        rows["top1"] = bench.train(found["arch"], seed)
        rows["top1_without"] = bench.train(plain["arch"], seed)


def texture(bench: Bench, result: dict) -> None:
    if bench.setting != "demo":
        raise Stopped("texture is a label of the built-in data")
    for seed in range(bench.options.seeds):
        found = bench.search(f"texture{seed}", f"--seed={seed}", "--dataset=demo:texture")
        result.setdefault("texture", {})[f"seed{seed}"] = light(found)


def random_members(bench: Bench, macs: float, count: int) -> list[list[str]]:
    """Members of the space within 5% of some MACs, drawn uniformly."""
    space, rng = bench.space(), np.random.default_rng(0)
    members: list[list[str]] = []
    while len(members) < count:
        spec = space.random_member(rng)
        lines = blockstring.write(spec).splitlines()
        if abs(network_cost(spec, **bench.shape).total.macs / macs - 1) <= 0.05 and lines not in members:
            members.append(lines)
    return members


def trained_random(bench: Bench, macs: float, count: int, rows: list[dict]) -> None:
    """Appends MACs and top-1 of random members, one by one."""
    for lines in random_members(bench, macs, count):
        cost = network_cost(blockstring.parse("\n".join(lines), "random"), **bench.shape).total
        rows.append({"macs": cost.macs, "top1": bench.train(lines, 0)})


def rank(bench: Bench, result: dict) -> None:
    found = bench.search("far0", "--seed=0")
    rows = result.setdefault("rank", {"macs": found["macs"], "random": []})
    rows["top1"] = bench.train(found["arch"], 0)
    try:
        trained_random(bench, found["macs"], bench.options.members, rows["random"])
    finally:
        rows["rank"] = 1 + sum(row["top1"] > rows["top1"] for row in rows["random"])


def pareto(bench: Bench, result: dict) -> None:
    low, high = macs_model(bench.space(), **bench.shape).reachable()
    rows, archs = result.setdefault("pareto", []), []
    count = bench.options.targets
    for number in range(count):
        target = low * (high / low) ** ((number + 0.5) / count)
        found = bench.search(f"target{number}of{count}", f"--target_macs={target:.0f}")
        budget = found["budget"]
        rows.append({name: budget[name] for name in ("target", "found", "error", "before_flips", "converged")})
        rows[-1] |= {name: budget[name] for name in ("flips", "flips_share")}
        archs.append(found["arch"])
    for row, arch in zip(rows, archs, strict=True):
        row["top1"] = [bench.train(arch, seed) for seed in range(bench.options.seeds)]
        row["random"] = []
        trained_random(bench, row["found"], bench.options.members_per_target, row["random"])
        draw(bench, result)


STUDY = {
    "threshold_travel": (1.0, 9.0),
    "search_warmup_share": (0.2, 0.8),
    "gate_keep_probability": (0.5, 1.0),
}


def study(bench: Bench, result: dict) -> None:
    rows = result.setdefault("study", [])
    searches = [("recipe", None, "far0", "--seed=0")]
    searches += [(flag, v, f"study_{flag}{v:g}", f"--{flag}={v}") for flag, values in STUDY.items() for v in values]
    for flag, value, name, word in searches:
        found = bench.search(name, word)
        margins = [abs(gate["margin"]) for gate in found["gates"] if gate["counts"]]
        last = {"cross_entropy": found["trajectory"][-1]["cross_entropy"], "closest_margin": min(margins)}
        rows.append({"flag": flag, "value": value, **light(found), **last})


def draw(bench: Bench, result: dict) -> None:
    """The front beside the random members that `rank` trained."""
    from autonl_tf.pictures.canvas import new_figure, plain_axes, save
    from autonl_tf.pictures.palette import BLUE, QUIET

    figure = new_figure(7, 4.6, f"Searched and random networks of the space {bench.setting}")
    axes = plain_axes(figure.add_axes((0.1, 0.12, 0.86, 0.72)), "validation top-1, %")
    found = np.array(sorted([row["found"] / 1e6, *row["top1"]] for row in result["pareto"] if "top1" in row))
    macs, scores = found[:, 0], 100 * found[:, 1:]
    mean = scores.mean(1)
    others = [one for row in [result.get("rank", {}), *result["pareto"]] for one in row.get("random", [])]
    scattered = [(one["macs"] / 1e6, 100 * one["top1"]) for one in others]
    if scattered:
        axes.scatter(*zip(*scattered, strict=True), color=QUIET, s=18, label="random members")
    spread = [mean - scores.min(1), scores.max(1) - mean]
    seeds = f" ({scores.shape[1]} seeds)" if scores.shape[1] > 1 else ""
    axes.errorbar(macs, mean, spread, fmt="o-", color=BLUE, capsize=3, label=f"found for a target{seeds}")
    axes.set_xlabel("MACs, millions")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    save(figure, bench.work / "pareto.png")


PARTS = {"far": far, "texture": texture, "rank": rank, "study": study, "pareto": pareto}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="far,texture")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--search_steps", type=int, default=600)
    parser.add_argument("--train_epochs", type=float, default=14)
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--targets", type=int, default=5)
    parser.add_argument("--members_per_target", type=int, default=4)
    parser.add_argument("--dataset", default="", help="CIFAR-10 as folder:PATH; without it the built-in data")
    parser.add_argument("--work", default="runs/evidence")
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--parts: no {', '.join(unknown)}; accepted: {', '.join(PARTS)}")
    bench = Bench(options)
    result: dict = {name: getattr(options, name) for name in ("search_steps", "train_epochs")}
    result["setting"] = bench.setting
    for part in parts:
        try:
            PARTS[part](bench, result)
        except Stopped as reason:
            result.setdefault("stopped", {})[part] = str(reason)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
