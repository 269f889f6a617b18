"""The commands of docs/own_data.md, as the page prints them, on small sets of photographs: every set and seed.

    python benchmarks/fine_tuning.py --cifar10=DIR --scenes=DIR [--sets=c4x200,c10x20,s3x30,unequal] [--seeds=0,1,2]
        [--work=DIR] [--results=FILE]

The sets are those of `own_data.py`. For each: top-1 of the classifier alone on frozen features (`tuned`) and of all of
the network (`tuned2`), best and last, with seconds and seconds of processor time of every command. Each cell is written
into --results as it comes and is not measured again.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import shlex
import shutil

from own_data import SETS, make_set
from support.main_py import ROOT, best_copy, evaluations, main_py

from autonl_tf.engine.rundir import git_commit, versions

PAGE = ROOT / "docs" / "own_data.md"
SEEDED = ("--mode=train",)  # the other commands draw nothing


def commands() -> list[list[str]]:
    return [
        shlex.split(line)[2:] for line in re.findall(r"^python main\.py .*$", PAGE.read_text("utf-8"), re.MULTILINE)
    ]


def run(words: list[str], cwd: pathlib.Path) -> dict[str, object]:
    """One command in a directory that has `photos`: its exit code and what it took."""
    with open(cwd / "said.txt", "a", encoding="utf-8") as said:
        done = main_py(*words, cwd=cwd, check=False, stdout=said, stderr=said)
    return {"exit_code": done.code, "seconds": round(done.seconds, 1), "cpu_seconds": round(done.cpu_seconds, 1)}


def scores(directory: pathlib.Path) -> dict[str, object]:
    """The best copy's top-1, the last evaluation's, and the last step."""
    last = evaluations(directory)[-1]
    return {"best": best_copy(directory)["metric"], "last": last["values"]["top1"], "steps": last["step"]}


def measured(folder: pathlib.Path, seed: int, work: pathlib.Path) -> dict[str, object]:
    """All commands of the page, one after the other, on one set."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / "photos").symlink_to(folder)
    found: dict[str, object] = {}
    for number, words in enumerate(commands()):
        mode = words[0].removeprefix("--mode=")
        (directory,) = [w.removeprefix("--model_dir=") for w in words if w.startswith("--model_dir=")]
        row = run([*words, *[f"--seed={seed}"][: words[0] in SEEDED]], work)
        if row["exit_code"] == 0 and mode == "train":
            row |= scores(work / directory)
        found[f"{number + 1} {mode} {directory}"] = row
        if row["exit_code"]:
            break
    card = work / "export" / "card.json"
    if card.exists():
        files = json.loads(card.read_text(encoding="utf-8"))["scores"]["files"]
        found["export"] = {row["artifact"]: row["top1"] for row in files}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", required=True)
    parser.add_argument("--scenes", required=True)
    parser.add_argument("--sets", default="c4x200,c10x20,s3x30,unequal")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--work", default="runs/fine_tuning")
    parser.add_argument("--results", default="runs/fine_tuning/results.json")
    options = parser.parse_args()
    if unknown := set(options.sets.split(",")) - set(SETS):
        parser.error(f"{', '.join(sorted(unknown))} unknown; accepted: {', '.join(SETS)}")
    sources = {"cifar10": pathlib.Path(options.cifar10), "scenes": pathlib.Path(options.scenes)}
    work, results = pathlib.Path(options.work).resolve(), pathlib.Path(options.results)
    results.parent.mkdir(parents=True, exist_ok=True)
    cells = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    for seed in map(int, options.seeds.split(",")):
        for name in options.sets.split(","):
            key = f"{name} | seed {seed}"
            if key in cells:
                continue
            folder = make_set(name, sources, work)
            cells[key] = {**measured(folder, seed, work / f"{name}_{seed}"), "commit": git_commit()}
            results.write_text(json.dumps({**cells, "versions": versions()}, indent=1) + "\n", encoding="utf-8")
            print(key, json.dumps(cells[key]), flush=True)


if __name__ == "__main__":
    main()
