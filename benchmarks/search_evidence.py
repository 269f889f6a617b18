"""Does the search beat the trivial? On the built-in data, or on your own folder as it stands.

    python benchmarks/search_evidence.py --dataset=folder:photos --search_space=cifar10 --image_size=48
        --targets=12.2M [--parts=rank] [--jobs=2] [--minutes=60] [--work=runs/evidence/photos]

Parts:
  rank     for each of --targets: what --search_seeds searches found, each trained by --train_seeds seeds, beside random
           members, random members without squeeze-excite, and uniform networks (one kernel and one expansion
           throughout, nothing else), each by --random_seeds seeds, all within --tolerance of the MACs. The found
           networks are trained without their LightNL too, by --train_seeds seeds, which tells what it gives them. It
           also tells how often another seed's search decides otherwise, by the size of a margin.
  truth    every member of a small space (at most 1,000), trained alike by --random_seeds seeds; then the regret and the
           rank of what the searches found for each of --targets, beside a random search of equal cost, the best by
           parameters, a uniform network, and a score that needs no training (synflow).
  deviations  what searches find without one of the deviations from the paper at a time (`support/without.py`; --without
           names them, default: all): for each of --targets, behind `truth` the regret, behind `rank` top-1
           of each network found by --train_seeds seeds, and how much is lost without it; on the built-in data
           (--dataset=demo, demo:...) the cost, the cross-entropy, and in how many blocks LightNL is.
  far, texture  --dataset=demo only: whether LightNL is chosen where labels relate far-apart parts, with and without it
           in the space for equal MACs, and dropped where they are a texture.

Searches and trainings are commands of `main.py`; what they take beyond the program's own choices is --search_flags and
--train_flags (by default, for the built-in data, its flag files). Every training is scored once, at its end, on the
validation images. --jobs commands run at once, each on its share of the processors.

Resumable: the same command goes on where it was stopped, and it stops by itself, between two commands, when --minutes
are over (exit code 42). A command that fails ends its part, and is told (exit code 1). --work holds one set of
settings. Writes evidence.md and a picture a part there, and ends in one line of JSON with what there is so far.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import math
import os
import pathlib
import shlex
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable

import numpy as np
from support.contenders import Contenders, without_light_nl

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.data.facts import known
from autonl_tf.engine.rundir import git_commit, versions
from autonl_tf.errors import PREEMPTED, UserError
from autonl_tf.settings.flag import AmountParser
from autonl_tf.space import space as space_lib
from autonl_tf.space.cost_model import macs_model

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEMO = {"search_space": "demo", "image_size": 64}
MARGINS = (0.0, 0.25, 0.5, 1.0, 3.0)  # ranges of |margin|, see `other_seeds`
DRAWS = 10_000  # random searches whose mean regret is told


# What every run of a directory of --work shares; how many there are may differ.
SETTINGS = ("dataset", "search_space", "image_size", "classes", "search_flags", "train_flags")


class Stopped(Exception):
    """A part cannot go on: a command failed, or the part is not for these data. What is done stays."""


class OutOfTime(Stopped):
    """The budget of time is over."""


class Bench:
    """Runs commands of main.py, several at once, within a budget of time; a command that was done is not run again."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        space = space_lib.load(options.search_space)
        space.check(options.image_size)
        self.networks = Contenders(space, options.image_size, options.classes, options.tolerance)
        for target in self.target_macs():
            macs_model(space, **self.shape).check_target(target, "targets")
        self.work = (ROOT / options.work).resolve()
        self._check_settings({name: getattr(options, name) for name in SETTINGS} | {"space": space.content})
        self.ends = time.monotonic() + options.minutes * 60

    def _check_settings(self, settings: dict) -> None:
        """Raises UserError where the directory holds runs of other settings, whose scores would be taken for these."""
        path = self.work / "settings.json"
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            if changed := [name for name in settings if before.get(name) != settings[name]]:
                raise UserError(
                    f"--work={self.work}: holds runs with another --{changed[0]}; accepted: a new directory"
                )
        self.work.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings), encoding="utf-8")

    def each(self, function: Callable, calls: list[tuple]) -> list:
        """function(*call) of every call, in order, --jobs at once, each on a share of the processors; up to the first
        that cannot be done, behind which none is begun.

        Returns:
          For each call its result, or the Stopped that it raised, or None where it was not begun.
        """
        began, jobs = time.monotonic(), self.options.jobs
        processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        shares = [set(processors[number::jobs]) for number in range(jobs)]

        def take_share() -> None:
            if share := shares.pop():
                os.sched_setaffinity(0, share)  # of this thread, and of the commands that it starts

        failed = threading.Event()

        def one(call: tuple) -> object:
            if failed.is_set():
                return None
            try:
                return function(*call)
            except Stopped as reason:
                failed.set()
                return reason

        with concurrent.futures.ThreadPoolExecutor(jobs, initializer=take_share) as pool:
            futures = [pool.submit(one, call) for call in calls]
            for number, _ in enumerate(concurrent.futures.as_completed(futures), start=1):
                if not failed.is_set():
                    spent = (time.monotonic() - began) / 60
                    done = f"{function.__name__}: {number} of {len(calls)} done, {spent:.1f} minutes"
                    print(f"== {done}, {spent * (len(calls) / number - 1):.1f} left", file=sys.stderr, flush=True)
        return [future.result() for future in futures]

    def _command(self, directory: pathlib.Path, *words: str, program: tuple[str, ...] = ("main.py",)) -> float:
        """Runs main.py, or a program that takes its words, into a run directory, unless it was done; gives the minutes
        it took."""
        done = directory / "minutes.json"
        if not done.exists():
            if time.monotonic() > self.ends:
                raise OutOfTime("out of time")
            began, run = time.monotonic(), [sys.executable, *program, *words, f"--model_dir={directory}"]
            ended = subprocess.run(run, cwd=ROOT, stdout=sys.stderr, check=False)
            if ended.returncode:
                raise Stopped(f"exit code {ended.returncode}: {shlex.join(run[1:])}")
            done.write_text(json.dumps((time.monotonic() - began) / 60), encoding="utf-8")
        return json.loads(done.read_text(encoding="utf-8"))

    def search(self, name: str, seed: int, *words: str, without: str | None = None) -> dict:
        """search.json of one search, `without` one of the deviations or as it is, and the `minutes` it took."""
        directory, options = self.work / name, self.options
        own = [f"--dataset={options.dataset}", f"--search_space={options.search_space}"]
        own.append(f"--input_image_size={options.image_size}")
        words = ("--mode=search", *shlex.split(options.search_flags), *own, f"--seed={seed}", *words)
        program = ("benchmarks/support/without.py", without) if without else ("main.py",)
        minutes = self._command(directory, *words, program=program)
        found = json.loads((directory / "search.json").read_text(encoding="utf-8"))
        if found["macs"] != (macs := self.networks.cost(read(found["arch"])).macs):
            raise Stopped(f"the network found has {found['macs']:,} MACs, with --classes={options.classes} {macs:,}")
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

    def trained(self, specs: list[NetworkSpec], seeds: int, rows: list[dict]) -> list[dict]:
        """Appends to `rows`, for each network, its cost, and top-1 of every seed; gives `rows`.

        Raises:
          Stopped: not all could be trained; the rows have what is.
        """
        # Searches may find the same network, which is trained once.
        pairs = [(spec, seed) for seed in range(seeds) for spec in {spec.canonical(): spec for spec in specs}.values()]
        runs: dict[str, list[dict]] = {}
        results = self.each(self.train, pairs)
        for (spec, _), run in zip(pairs, results, strict=True):
            if isinstance(run, dict):
                runs.setdefault(spec.canonical(), []).append(run)
        for spec in specs:
            if own := runs.get(spec.canonical()):
                cost = self.networks.cost(spec)
                rows.append({"arch": blockstring.write(spec).splitlines(), "macs": cost.macs, "params": cost.params})
                rows[-1] |= {"top1": [run["top1"] for run in own], "minutes": [round(run["minutes"], 2) for run in own]}
        all_done(results)
        return rows

    def searched(self, target: float) -> list[dict]:
        """search.json of the searches for a target."""
        seeds = range(self.options.search_seeds)
        aim = f"--target_macs={target:.0f}"
        return all_done(self.each(self.search, [(f"search_{target:.0f}_{seed}", seed, aim) for seed in seeds]))

    def target_macs(self) -> list[float]:
        """--targets in MACs; those left out are evenly spread within the space's reach, in the logarithm."""
        if self.options.targets:
            return self.options.targets
        low, high = macs_model(self.networks.space, **self.shape).reachable()
        return [low * (high / low) ** share for share in (0.3, 0.5, 0.7)]

    @property
    def shape(self) -> dict[str, int]:
        return {"image_size": self.options.image_size, "num_classes": self.options.classes}


def all_done(results: list) -> list:
    """The results of `Bench.each`. Raises the Stopped that is among them."""
    for result in results:
        if isinstance(result, Stopped):
            raise result
    return results


def read(lines: list[str]) -> NetworkSpec:
    return blockstring.parse("\n".join(lines), "search")


def training_noise(rows: list[dict]) -> float:
    """The standard deviation of one training's top-1, from the networks that were trained with two seeds or more; nan
    where there are none."""
    off = [score - np.mean(row["top1"]) for row in rows for score in row["top1"]]
    known = len(off) - len(rows)
    return math.sqrt(np.sum(np.square(off)) / known) if known else math.nan


def mean_and_error(rows: list[dict], noise: float) -> tuple[float, float]:
    """The mean over networks of their mean top-1, and its standard error: from the spread between the networks (nan for
    one), and at least what the noise of one training leaves, networks that are the same counted once."""
    means = [np.mean(row["top1"]) for row in rows]
    if len(means) == 1:
        return float(means[0]), math.nan
    trainings = sum({tuple(row["arch"]): len(row["top1"]) for row in rows}.values())
    between = np.std(means, ddof=1) / math.sqrt(len(means))
    return float(np.mean(means)), float(np.fmax(between, noise / math.sqrt(trainings)))


def rank(bench: Bench, result: dict) -> None:
    options, networks = bench.options, bench.networks
    for target in bench.target_macs():
        searches = bench.searched(target)
        row = {"target": target, "search_minutes": [round(one["minutes"], 2) for one in searches]}
        row["other_seeds"] = other_seeds([one["gates"] for one in searches])
        result.setdefault("rank", []).append(row)
        row["found"] = []
        bench.trained([read(one["arch"]) for one in searches], options.train_seeds, row["found"])
        macs = float(np.mean([found["macs"] for found in row["found"]]))
        groups = {
            "uniform": networks.uniform(macs, options.uniforms),
            "random": networks.random(macs, options.randoms, 0),
        }
        if "se" in networks.space.choices:
            plain = networks.random(macs, options.plain_randoms, 1, squeeze_excite=False)
            groups["random without squeeze-excite"] = plain
        for name, specs in groups.items():
            row[name] = []
            bench.trained(specs, options.random_seeds, row[name])
        row |= against(row, [one for name in groups for one in row[name]])
        row[WITHOUT] = []
        found = [read(one["arch"]) for one in row["found"]]
        twins = [twin for spec in found if (twin := without_light_nl(spec)) != spec]
        bench.trained(twins, options.train_seeds, row[WITHOUT])
        row["light_nl_gives"] = gains(row)


def other_seeds(searches: list[list[dict]]) -> list[dict]:
    """How firm a decision is: the `share` of `pairs` of a decision and the same gate's in another search in which that
    one decides otherwise, by the size of the margin.

    Args:
      searches: the gates of each one's search.json. Decisions are those of gates that count in both searches, as the
        margins take them, before any flip for a target; a gate that was closed for what it gains took none.
    """
    margins = np.array([[gate["margin"] for gate in gates] for gates in searches])
    deciding = np.array([[gate["counts"] and not gate["closed"] for gate in gates] for gates in searches])
    first, second = np.array(list(itertools.permutations(range(len(searches)), 2)), int).reshape(-1, 2).T
    both, size = deciding[first] & deciding[second], np.abs(margins[first])
    otherwise = (margins[first] >= 0) != (margins[second] >= 0)
    rows = []
    for low, high in itertools.pairwise(MARGINS):
        among = both & (size >= low) & (size < high)
        if pairs := int(among.sum()):
            rows.append({"from": low, "below": high, "pairs": pairs, "share": float(otherwise[among].mean())})
    return rows


def gains(row: dict) -> list[dict]:
    """What LightNL gives each found network that has it: the mean over the seeds, and its standard error."""
    twins = {tuple(one["arch"]): one["top1"] for one in row[WITHOUT]}
    found = []
    for one in row["found"]:
        spec = read(one["arch"])
        if (twin := without_light_nl(spec)) != spec:
            gained = np.subtract(one["top1"], twins[tuple(blockstring.write(twin).splitlines())])
            error = float(gained.std(ddof=1) / math.sqrt(len(gained))) if len(gained) > 1 else None
            found.append({"arch": one["arch"], "mean": float(gained.mean()), "error": error})
    return found


def against(row: dict, others: list[dict]) -> dict:
    """How the mean of the found networks compares with the best uniform one and the random ones' 90th percentile, each
    beaten by more than two standard errors of the difference, and so never where an error is not known (None). That of
    the percentile is by drawing the random members again."""
    noise = training_noise([*row["found"], *others])
    mean, error = mean_and_error(row["found"], noise)
    said: dict = {"training_noise": noise, "found_mean": mean, "found_error": error}
    bounds, randoms = {}, [np.mean(one["top1"]) for name in row if name.startswith("random") for one in row[name]]
    if row["uniform"]:
        best = max(row["uniform"], key=lambda one: np.mean(one["top1"]))
        bounds["best_uniform"] = np.mean(best["top1"]), noise / math.sqrt(len(best["top1"]))
    if randoms:
        drawn = np.random.default_rng(0).choice(randoms, (DRAWS, len(randoms)))
        bounds["random_90th"] = np.percentile(randoms, 90), np.std(np.percentile(drawn, 90, axis=1))
    for name, (bound, its_error) in bounds.items():
        said |= {name: float(bound), f"{name}_error": float(its_error)}
        said[f"beats_{name}"] = bool(mean - bound > 2 * math.hypot(error, its_error))
    said["better_networks"] = int(sum(np.mean(one["top1"]) > mean for one in others))
    said["compared"] = len(others)
    return {name: None if math.isnan(value) else value for name, value in said.items()}


def truth(bench: Bench, result: dict) -> None:
    from autonl_tf.search.target_flips import TOLERANCE

    options = bench.options
    try:
        members = bench.networks.every()
    except ValueError as error:
        raise Stopped(str(error)) from None
    held = result.setdefault("truth", {"members": [], "targets": []})
    searches_for = {target: bench.searched(target) for target in bench.target_macs()}
    bench.trained(members, options.random_seeds, held["members"])
    of = {spec.canonical(): row for spec, row in zip(members, held["members"], strict=True)}
    for spec in members:
        of[spec.canonical()]["synflow"] = bench.networks.synflow(spec)
    for target, searches in searches_for.items():
        most = target * (1 + TOLERANCE)  # as much as a search may take
        found = [of[read(one["arch"]).canonical()] for one in searches]
        uniforms = [of[spec.canonical()] for spec in bench.networks.uniform(target, len(members))]
        uniform = [row for row in uniforms if row["macs"] <= most][:1]
        cost = np.mean([one["minutes"] for one in searches])
        cost /= np.mean([minutes for row in held["members"] for minutes in row["minutes"]])
        row = regrets(held["members"], most, found, uniform, cost)
        row["found_networks"] = [{name: one[name] for name in ("macs", "top1")} for one in found]
        held["targets"].append({"target": target, "cost_in_trainings": float(cost), **row})


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


def deviations(bench: Bench, result: dict) -> None:
    options, held = bench.options, result.setdefault("deviations", {})
    known_top1, best, aims = {}, {}, {options.dataset.partition(":")[2] or "far": ()}
    if not built_in(options.dataset):
        aims = {f"search_{target:.0f}": (f"--target_macs={target:.0f}",) for target in bench.target_macs()}
    if "truth" in result:
        best = {f"search_{row['target']:.0f}": row["best"] for row in result["truth"]["targets"]}
        known_top1 = {read(row["arch"]).canonical(): row["top1"] for row in result["truth"]["members"]}
    calls = [
        (name, aim, seed) for name in (None, *options.without) for aim in aims for seed in range(options.search_seeds)
    ]

    def search(name: str | None, aim: str, seed: int) -> dict:
        directory = f"without_{name}_{aim}_{seed}" if name else f"{aim}_{seed}"
        return bench.search(directory, seed, *aims[aim], without=name)

    results = bench.each(search, calls)
    done = [(call, found) for call, found in zip(calls, results, strict=True) if isinstance(found, dict)]
    if "rank" in result and "truth" not in result:
        rows = bench.trained([read(found["arch"]) for _, found in done], options.train_seeds, [])
        known_top1 = {read(row["arch"]).canonical(): row["top1"] for row in rows}
    for (name, aim, _), found in done:
        row = light(found) | {"arch": found["arch"]}
        if known_top1:
            row["top1"] = known_top1[read(found["arch"]).canonical()]
        if best:
            row["regret"] = 100 * float(best[aim] - np.mean(row["top1"]))
        held.setdefault(name or "nothing", {}).setdefault(aim, []).append(row)
    all_done(results)
    for name, aim in itertools.product(options.without, aims if known_top1 else ()):
        lost = losses(held["nothing"][aim], held[name][aim])
        result.setdefault("without_it_lose", {}).setdefault(name, {})[aim] = lost


def losses(searched: list[dict], without: list[dict]) -> dict:
    """How many points of top-1 what searches find loses without a deviation: the mean over the search seeds of the
    difference from the same seed's search as it is, and its standard error (None for one seed)."""
    lost = [100 * (np.mean(one["top1"]) - np.mean(other["top1"])) for one, other in zip(searched, without, strict=True)]
    error = np.std(lost, ddof=1) / math.sqrt(len(lost)) if len(lost) > 1 else None
    return {"mean": float(np.mean(lost)), "error": error}


def built_in(dataset: str) -> bool:
    return dataset.split(":")[0] == "demo"


def light(found: dict) -> dict:
    """What a search came to, about LightNL above all."""
    with_light_nl = sum("nonlocal" in line for line in found["arch"])
    flips = sum(gate["flipped"] for gate in found["gates"])
    last = found["trajectory"][-1]["cross_entropy"]
    searched = {"flips": flips, "cross_entropy": last, "minutes": found["minutes"]}
    blocks = sum(not line.startswith("network") for line in found["arch"])
    return {"macs": found["macs"], "blocks": blocks, "with_light_nl": with_light_nl} | searched


def far(bench: Bench, result: dict) -> None:
    _needs_demo(bench)
    content = json.loads(json.dumps(bench.networks.space.content))
    content["candidates"] |= {"nonlocal_ratios": [], "nonlocal_strides": []}
    path = bench.work / "without_light_nl.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    reach = macs_model(space_lib.load(str(path)), **bench.shape).reachable()
    seeds = range(bench.options.search_seeds)
    searches = all_done(bench.each(bench.search, [(f"far_{seed}", seed) for seed in seeds]))
    calls = [
        (f"far_without_{seed}", seed, f"--search_space={path}", f"--target_macs={min(found['macs'], reach[1]):.0f}")
        for seed, found in zip(seeds, searches, strict=True)
    ]
    plain = all_done(bench.each(bench.search, calls))
    result["far"] = {"searches": [light(one) for one in searches], "searches_without": [light(one) for one in plain]}
    for name, found in (("found", searches), ("found_without", plain)):
        result["far"][name] = []
        bench.trained([read(one["arch"]) for one in found], bench.options.train_seeds, result["far"][name])


def texture(bench: Bench, result: dict) -> None:
    _needs_demo(bench)
    calls = [(f"texture_{seed}", seed, "--dataset=demo:texture") for seed in range(bench.options.search_seeds)]
    result["texture"] = [light(found) for found in all_done(bench.each(bench.search, calls))]


def _needs_demo(bench: Bench) -> None:
    if bench.options.dataset != "demo":
        raise Stopped("far and texture are parts for --dataset=demo")


PARTS = {"rank": rank, "truth": truth, "deviations": deviations, "far": far, "texture": texture}
WITHOUT = "found without LightNL"
GROUPS = ("found", "uniform", "random", "random without squeeze-excite", WITHOUT)


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
        if "found_mean" in row:
            lines += [f"The found networks have {percent(row, 'found_mean', 'found_error')}.", ""]
        bounds = {"best_uniform": "the best uniform network", "random_90th": "the 90th percentile of random members"}
        for name, what in bounds.items():
            if name in row:
                beaten = "above" if row[f"beats_{name}"] else "not shown to be above"
                lines += [f"They are {beaten} {what}, {percent(row, name, f'{name}_error')}.", ""]
        if firm := row.get("other_seeds"):
            lines += ["| margin of a decision | pairs of seeds | the other seed decides otherwise |", "|---|---|---|"]
            for one in firm:
                lines.append(f"| {one['from']:g} to {one['below']:g} | {one['pairs']} | {100 * one['share']:.0f}% |")
            lines.append("")
        for one in row.get("light_nl_gives", []):
            error = f" (standard error {100 * one['error']:.2f})" if one["error"] is not None else ""
            lines += [f"LightNL gives {100 * one['mean']:+.2f} points{error} in {' '.join(one['arch'])}", ""]
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
    held = result.get("deviations", {})
    if held:
        lines += [
            "## Without one deviation",
            "",
            "| without | for | top-1, % | regret, points | blocks with LightNL | MACs | cross-entropy |",
        ]
        lines.append("|---|---|---|---|---|---|---|")
    for name, aims in held.items():
        for aim, rows in aims.items():
            top1 = ", ".join(f"{100 * np.mean(row['top1']):.2f}" for row in rows if "top1" in row)
            regret = ", ".join(f"{row['regret']:.2f}" for row in rows if "regret" in row)
            blocks = ", ".join(f"{row['with_light_nl']} of {row['blocks']}" for row in rows)
            macs = ", ".join(f"{row['macs'] / 1e6:.3g}M" for row in rows)
            loss = ", ".join(f"{row['cross_entropy']:.3f}" for row in rows)
            lines.append(f"| {name} | {aim} | {top1} | {regret} | {blocks} | {macs} | {loss} |")
    for name, aims in result.get("without_it_lose", {}).items():
        for aim, lost in aims.items():
            error = "not known" if lost["error"] is None else f"{lost['error']:.2f}"
            lines += ["", f"Without {name}, {aim} loses {lost['mean']:+.2f} points (standard error {error})."]
    return "\n".join(lines)


def percent(row: dict, value: str, error: str) -> str:
    told = "not known" if row[error] is None else f"{100 * row[error]:.2f}"
    return f"{100 * row[value]:.2f}% (standard error {told})"


def draw(bench: Bench, result: dict) -> None:
    """`rank.png` and `truth.png`: top-1 by MACs, bars one standard deviation of a network's seeds."""
    from autonl_tf.pictures.canvas import new_figure, plain_axes, save
    from autonl_tf.pictures.palette import BLUE, GREEN, ORANGE, QUIET, VERMILION

    pictures = {}
    if "rank" in result:
        groups = {name: [one for row in result["rank"] for one in row.get(name, [])] for name in GROUPS}
        pictures["rank"] = list(zip(groups, groups.values(), (VERMILION, BLUE, QUIET, ORANGE, GREEN), strict=True))
    if result.get("truth", {}).get("targets"):
        found = [one for row in result["truth"]["targets"] for one in row["found_networks"]]
        pictures["truth"] = [("every member", result["truth"]["members"], QUIET), ("found", found, VERMILION)]
    for name, groups in pictures.items():
        figure = new_figure(7, 4.6, f"Found and other networks: {bench.options.dataset}")
        axes = figure.add_axes((0.1, 0.12, 0.86, 0.66))
        plain_axes(axes, "validation top-1, %; bars: deviation of its seeds")
        for label, rows, colour in groups:
            if rows:
                scores = [100 * np.array(row["top1"]) for row in rows]
                spread = [score.std(ddof=1) if len(score) > 1 else 0 for score in scores]
                style = {"fmt": "o", "color": colour, "markersize": 5, "elinewidth": 1, "alpha": 0.85, "label": label}
                axes.errorbar([row["macs"] / 1e6 for row in rows], [s.mean() for s in scores], spread, **style)
        axes.set_xlabel("MACs, millions")
        if any(rows for _, rows, _ in groups):
            figure.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.08, 0.93), fontsize=8.5, ncols=3)
        save(figure, bench.work / f"{name}.png")


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; accepted: a whole number from 1")
    return int(text)


def amounts(text: str) -> list[float]:
    """MACs with commas between, as the program's flags take them."""
    try:
        return [AmountParser().parse(word) for word in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}; {error}, with commas between") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="rank")
    parser.add_argument("--dataset", default="demo", help="as of main.py")
    parser.add_argument("--search_space", help="as of main.py")
    parser.add_argument("--image_size", type=positive)
    parser.add_argument("--classes", type=positive, help="how many classes TensorFlow Datasets' data has; others tell")
    parser.add_argument("--targets", type=amounts, help="MACs, as 12.2M,20M")
    parser.add_argument("--search_seeds", type=positive, default=3)
    parser.add_argument("--train_seeds", type=positive, default=3)
    parser.add_argument("--random_seeds", type=positive, default=2, help="trainings of every other network")
    parser.add_argument("--randoms", type=int, default=12)
    parser.add_argument("--plain_randoms", type=int, default=4, help="random members without squeeze-excite")
    parser.add_argument("--uniforms", type=int, default=2)
    parser.add_argument("--tolerance", type=float, default=0.05, help="of the MACs")
    parser.add_argument("--without", help="deviations, with commas between")
    parser.add_argument("--search_flags", help="more flags of --mode=search, in one word")
    parser.add_argument("--train_flags", help="more flags of --mode=train, in one word")
    parser.add_argument("--jobs", type=positive, default=1, help="commands at once")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--work", default="runs/evidence")
    options = parser.parse_args()
    demo = built_in(options.dataset)
    try:
        facts, _ = known(options.dataset)
    except UserError as error:
        parser.error(f"--dataset: {error}")
    if facts and options.classes not in (None, facts.num_classes):
        parser.error(f"--classes={options.classes}: {options.dataset} has {facts.num_classes}")
    told = ({"classes": facts.num_classes} if facts else {}) | (DEMO if demo else {})
    for name in ("search_space", "image_size", "classes"):
        if getattr(options, name) is None:
            if name not in told:
                parser.error(f"--{name} is needed beside --dataset={options.dataset}")
            setattr(options, name, told[name])
    for kind in ("search", "train"):
        if getattr(options, f"{kind}_flags") is None:
            setattr(options, f"{kind}_flags", f"--flagfile=flags/demo_{kind}.flags" if demo else "")
    parts = options.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--parts: no {', '.join(unknown)}; accepted: {', '.join(PARTS)}")
    if options.without and "deviations" not in parts:
        parser.error("--without is of the part deviations, which --parts lacks")
    if "deviations" in parts:
        if not demo and not {"truth", "rank"} & set(parts[: parts.index("deviations")]):
            parser.error("--parts: deviations come behind truth or rank, or on the built-in data")
        from support.without import DEVIATIONS

        options.without = options.without.split(",") if options.without else list(DEVIATIONS)
        if unknown := [name for name in options.without if name not in DEVIATIONS]:
            parser.error(f"--without: no {', '.join(unknown)}; accepted: {', '.join(DEVIATIONS)}")
    try:
        bench, result, code = Bench(options), {}, 0
    except UserError as error:
        parser.error(str(error))
    for part in parts:
        try:
            PARTS[part](bench, result)
        except Stopped as reason:
            result.setdefault("stopped", {})[part] = str(reason)
            code = PREEMPTED if isinstance(reason, OutOfTime) and code != 1 else 1
            if part in ("truth", "rank"):
                break  # deviations need it whole
    (bench.work / "evidence.md").write_text(table(result), encoding="utf-8")
    draw(bench, result)
    given = shlex.join(["python", "benchmarks/search_evidence.py", *sys.argv[1:]])
    print(json.dumps({"command": given, "commit": git_commit(), "versions": versions(), "result": result}))
    sys.exit(code)


if __name__ == "__main__":
    main()
