"""Does the search work? On the built-in data, whose right answers are known, by the demo's recipe.

Parts:
  far      labels that relate two far-apart parts: how many blocks get LightNL, and the found network's accuracy beside
           that of the same search without LightNL in its space, for the same MACs.
  texture  labels that are a local texture, same lambda: how many blocks get LightNL.
  rank     the found network of `far` among random members of the space within 5% of its MACs, all trained alike.
  study    one flag of the search changed at a time: the thresholds' travel, the warm-up's share, the gates' dropout.
  pareto   searches for several targets, each found network trained, beside the random members: a picture.

Every search and training is a command of `main.py`, which resumes: the same command goes on where it was stopped, and
stops by itself, between two commands, when `--minutes` are over. Ends in one line of JSON with what there is so far.

    python benchmarks/search_evidence.py --parts=far,texture [--seeds=3] [--minutes=60] [--work=runs/evidence]
        [--search_steps=600] [--train_epochs=9] [--members=20] [--targets=5]
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import subprocess
import sys
import time

import numpy as np

from autonl_tf.arch import blockstring
from autonl_tf.arch import space as space_lib
from autonl_tf.arch.cost import network_cost
from autonl_tf.arch.cost_model import macs_model

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHAPE = {"image_size": 64, "num_classes": 8}
WITHOUT = {"nonlocal_ratios": [], "nonlocal_strides": []}


class OutOfTime(Exception):
    """The budget is over; what is done stays."""


class Bench:
    """Runs commands of main.py within a budget of time."""

    def __init__(self, options):
        self.options = options
        self.work = (ROOT / options.work).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.ends = time.monotonic() + options.minutes * 60

    def _command(self, *words: str) -> None:
        if time.monotonic() > self.ends:
            raise OutOfTime
        data = f"--data_dir={self.options.data_dir}"
        subprocess.run([sys.executable, "main.py", *words, data], cwd=ROOT, check=True, stdout=sys.stderr)

    def search(self, name: str, *words: str) -> dict:
        """search.json of one search by the demo's recipe."""
        path = self.work / name / "search.json"
        if not path.exists():
            steps = f"--train_steps={self.options.search_steps}"
            self._command("--flagfile=flags/demo_search.flags", steps, f"--model_dir={path.parent}", *words)
        return json.loads(path.read_text(encoding="utf-8"))

    def train(self, name: str, arch: list[str], seed: int) -> float:
        """Best validation top-1 of one training by the demo's recipe."""
        epochs = self.options.train_epochs
        directory = self.work / f"{name}_train{epochs:g}"
        done = directory / "top1.json"
        if not done.exists():
            written = self.work / f"{name}.arch.txt"
            written.write_text("\n".join(arch) + "\n", encoding="utf-8")
            self._command(
                *("--flagfile=flags/demo_train.flags", f"--arch={written}", f"--model_dir={directory}"),
                *(f"--seed={seed}", f"--train_epochs={epochs}", f"--eval_every_epochs={epochs}"),
            )
            best = json.loads((directory / "best" / "best.json").read_text(encoding="utf-8"))
            done.write_text(json.dumps(best["metric"]), encoding="utf-8")
        return json.loads(done.read_text(encoding="utf-8"))


def light(account: dict) -> dict:
    """What a search did about LightNL."""
    return {
        "macs": account["macs"],
        "blocks": len(account["arch"]),
        "with_light_nl": sum("nonlocal" in line for line in account["arch"]),
        "nl_margins": {
            gate["name"]: gate["margin"] for gate in account["gates"] if gate["name"].endswith("/nl") and gate["counts"]
        },
    }


def without_light_nl(work: pathlib.Path) -> pathlib.Path:
    data = json.loads((ROOT / "autonl_tf" / "arch" / "spaces" / "demo.json").read_text(encoding="utf-8"))
    data["candidates"] |= WITHOUT
    path = work / "without_light_nl.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def far(bench: Bench, result: dict) -> None:
    for seed in range(bench.options.seeds):
        rows = result.setdefault("far", {}).setdefault(f"seed{seed}", {})
        found = bench.search(f"far{seed}", f"--seed={seed}")
        rows["search"] = light(found)
        space = without_light_nl(bench.work)
        reach = macs_model(space_lib.load(str(space)), **SHAPE).reachable()
        target = min(found["macs"], reach[1])
        words = (f"--seed={seed}", f"--search_space={space}", f"--target_macs={target:.0f}")
        plain = bench.search(f"far_without{seed}", *words)
        rows["search_without"] = {"macs": plain["macs"], "budget_error": plain["budget"]["error"]}
        rows["top1"] = bench.train(f"far{seed}", found["arch"], seed)
        rows["top1_without"] = bench.train(f"far_without{seed}", plain["arch"], seed)


def texture(bench: Bench, result: dict) -> None:
    for seed in range(bench.options.seeds):
        found = bench.search(f"texture{seed}", f"--seed={seed}", "--dataset=demo:texture")
        result.setdefault("texture", {})[f"seed{seed}"] = light(found)


def random_members(macs: float, count: int) -> list[list[str]]:
    """Members of the demo's space within 5% of some MACs, drawn uniformly."""
    space, rng = space_lib.load("demo"), np.random.default_rng(0)
    members: list[list[str]] = []
    while len(members) < count:
        spec = space.random_member(rng)
        lines = blockstring.write(spec).splitlines()
        if abs(network_cost(spec, **SHAPE).total.macs / macs - 1) <= 0.05 and lines not in members:
            members.append(lines)
    return members


def rank(bench: Bench, result: dict) -> None:
    found = bench.search("far0", "--seed=0")
    rows = result.setdefault("rank", {"macs": found["macs"], "random_top1": []})
    rows["top1"] = bench.train("far0", found["arch"], 0)
    for number, lines in enumerate(random_members(found["macs"], bench.options.members)):
        rows["random_top1"].append(bench.train(f"random{number}", lines, 0))
        rows["rank"] = 1 + sum(score > rows["top1"] for score in rows["random_top1"])


def pareto(bench: Bench, result: dict) -> None:
    low, high = macs_model(space_lib.load("demo"), **SHAPE).reachable()
    rows = result.setdefault("pareto", [])
    count = bench.options.targets
    for number in range(count):
        target = low * (high / low) ** ((number + 0.5) / count)
        found = bench.search(f"target{number}of{count}", f"--target_macs={target:.0f}")
        budget = found["budget"]
        rows.append({name: budget[name] for name in ("target", "found", "error", "before_flips", "converged")})
        rows[-1] |= {name: budget[name] for name in ("flips_margin", "all_margin")}
    for number, row in enumerate(rows):
        found = bench.search(f"target{number}of{count}")
        row["top1"] = bench.train(f"target{number}of{count}", found["arch"], 0)
        draw(bench, result)


STUDY = {
    "threshold_travel": (1.0, 3.0, 9.0),
    "search_warmup_share": (0.2, 0.6, 0.8),
    "gate_keep_probability": (0.5, 0.8, 1.0),
}


def study(bench: Bench, result: dict) -> None:
    steps = bench.options.search_steps
    rows = result.setdefault("study", [])
    for flag, values in STUDY.items():
        for value in values:
            found = bench.search(f"study{steps}_{flag}{value:g}", f"--{flag}={value}")
            counting = [gate for gate in found["gates"] if gate["counts"]]
            rows.append(
                {
                    "flag": flag,
                    "value": value,
                    **light(found),
                    "cross_entropy": found["trajectory"][-1]["cross_entropy"],
                    "closest_margin": min(abs(gate["margin"]) for gate in counting),
                }
            )


def draw(bench: Bench, result: dict) -> None:
    """The front beside the random members that `rank` trained."""
    from autonl_tf.pictures.canvas import BLUE, QUIET, new_figure, plain_axes, save

    figure = new_figure(7, 4.6, "Searched and random networks of the demo's space")
    axes = plain_axes(figure.add_axes((0.1, 0.12, 0.86, 0.72)), "validation top-1, %")
    points = [(row["found"] / 1e6, 100 * row["top1"]) for row in result["pareto"] if "top1" in row]
    if "rank" in result:
        scores = result["rank"]["random_top1"]
        macs = result["rank"]["macs"] / 1e6
        axes.scatter([macs] * len(scores), [100 * score for score in scores], color=QUIET, s=18, label="random members")
    axes.plot(*zip(*sorted(points), strict=True), "o-", color=BLUE, label="found for a target")
    axes.set_xlabel("MACs, millions")
    axes.legend(frameon=False)
    save(figure, bench.work / "pareto.png")


PARTS = {"far": far, "texture": texture, "rank": rank, "study": study, "pareto": pareto}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="far,texture")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--search_steps", type=int, default=600)
    parser.add_argument("--train_epochs", type=float, default=9)
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--targets", type=int, default=5)
    parser.add_argument("--work", default="runs/evidence")
    parser.add_argument("--data_dir", default="runs/data")
    options = parser.parse_args()
    bench, result = Bench(options), {"search_steps": options.search_steps, "train_epochs": options.train_epochs}
    for part in options.parts.split(","):
        try:
            PARTS[part](bench, result)
        except OutOfTime:
            result["out_of_time"] = True
    print(json.dumps(result))


if __name__ == "__main__":
    main()
