"""Does it matter where LightNL goes in EfficientNet-Lite0 with ImageNet weights? Figures of docs/from_pretrained.md.

    python benchmarks/from_pretrained.py --dataset=folder:photos [--seeds=0,1,2] [--randoms=3] [--epochs=2]
        [--shrink=50M] [--work=DIR]

For each seed searches by flags/known_search.flags and trains what was found by flags/known_train.flags from its
weights (`kept`), each for --epochs. Then, all from ImageNet's weights, for as many steps as search and training
have together, by one recipe: the placement found (`found`), Lite0 without LightNL (`none`), with the space's largest
LightNL in every block (`everywhere`), and random members of the space (`random`): of the found network's MACs within
0.1%, or, where it has no LightNL, of any. A network that was trained with that seed already is not trained again.

With --shrink=MACS instead: a search of `around:efficientnet_lite0,kernels,expansions,depth,no_nonlocal` for that many,
trained likewise from its weights (`shrunk`). Beside it, for all steps and for as many MACs within 2%: the same network
from scratch (`shrunk_scratch`) and from ImageNet's weights cut to it (`shrunk_cut`), random members from ImageNet's
weights cut to them (`random_cut`), and Lite0 itself on smaller images (`small_images`).

Every piece is kept in the directory of --work and not made again. Prints a line a piece, and ends in one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
from support.main_py import ROOT, best_copy, evaluations, main_py

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.cost import network_cost
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.space import space as space_lib

NAME, SPACE = "efficientnet_lite0", "around:efficientnet_lite0"
SMALLER = f"{SPACE},kernels,expansions,depth,no_nonlocal"


def timed(directory: pathlib.Path, *words: str) -> float:
    """Runs main.py into a run directory unless it was done; gives the minutes it took."""
    record = directory / "minutes.json"
    if not record.is_file():
        record.write_text(json.dumps(main_py(*words, f"--model_dir={directory}").seconds / 60))
    return json.loads(record.read_text())


def searched(directory: pathlib.Path, data: list[str], seed: int, *words: str) -> dict[str, object]:
    """A search, and top-1 of its network with the supernet's weights before any training."""
    minutes = timed(directory, "--flagfile=flags/known_search.flags", *data, f"--seed={seed}", *words)
    scored = directory / "scored.json"
    if not scored.is_file():
        done = main_py("--mode=eval", f"--model_dir={directory}", *data, "--json", stdout=subprocess.PIPE)
        scored.write_text(done.stdout)
    result = json.loads((directory / "search.json").read_text(encoding="utf-8"))
    top1 = json.loads(scored.read_text())["top1"]
    return {"top1_at_once": top1, "minutes": minutes, "macs": result["macs"], "arch": result["arch"]}


def trained(directory: pathlib.Path, data: list[str], seed: int, arch: str, *words: str) -> dict[str, object]:
    """A training and its last evaluation."""
    recipe = [
        "--flagfile=flags/known_train.flags",
        *data,
        f"--seed={seed}",
        f"--arch={arch}",
        "--eval_every_epochs=100",
    ]
    minutes = timed(directory, *recipe, *words)
    return {"top1": evaluations(directory)[-1]["values"]["top1"], "minutes": minutes}


def of_equal_macs(spec: NetworkSpec, count: int, size: int, classes: int, seed: int) -> list[NetworkSpec]:
    """Random placements with the MACs of a network, within 0.1%, other than it."""
    space, rng = space_lib.load(SPACE), np.random.default_rng(seed)
    largest, plain = space.largest().blocks, space.smallest().blocks
    cost = {"image_size": size, "num_classes": classes}
    target, wanted = network_cost(spec, **cost).total.macs, sum(b.nonlocal_ is not None for b in spec.singles())
    found: list[NetworkSpec] = []
    for _ in range(20_000):
        drawn = space.random_member(rng).blocks
        share = rng.uniform(0.5, 1.5) * wanted / len(largest) if wanted else 0.5
        blocks = tuple(a if rng.uniform() < share else b for a, b in zip(drawn, plain, strict=True))
        member = NetworkSpec(blocks, "random", **header_of(spec))
        near = not wanted or abs(network_cost(member, **cost).total.macs / target - 1) < 0.001
        if near and member.canonical() != spec.canonical() and len(found) < count:
            found.append(member)
    return found


def smaller_members(spec: NetworkSpec, count: int, size: int, classes: int, seed: int) -> list[NetworkSpec]:
    """Random members of the space of smaller networks with the MACs of one, within 2%, other than it."""
    space, rng, found = space_lib.load(SMALLER), np.random.default_rng(seed), []
    target = network_cost(spec, image_size=size, num_classes=classes).total.macs
    while len(found) < count:
        member = space.random_member(rng)
        macs = network_cost(member, image_size=size, num_classes=classes).total.macs
        if abs(macs / target - 1) < 0.02 and member.canonical() != spec.canonical():
            found.append(member)
    return found


def cut_out(spec: NetworkSpec, path: pathlib.Path, size: int) -> None:
    """Writes ImageNet's weights, cut to a member of the space of smaller networks as a search would start with them."""
    import autonl_tf
    from autonl_tf.networks.inherit import inherited_network, take_over
    from autonl_tf.networks.network import build_network
    from autonl_tf.networks.supernet import Supernet

    space, whole = space_lib.load(SMALLER), presets.load(NAME)
    sizes = {"image_size": size, "num_classes": 1000}
    network = build_network(whole, **sizes)
    network.set_weights(autonl_tf.from_arch(NAME, weights="imagenet", input_shape=(size, size, 3)).get_weights())
    supernet = Supernet(space, **sizes, name="supernet")
    gates = [supernet.table.opened(space.selections_of(of, of.source)) for of in (whole, spec)]
    take_over(supernet, network, gates[0])
    inherited_network(supernet, gates[1], **sizes).save_weights(path)


def header_of(spec: NetworkSpec) -> dict[str, object]:
    return {"activation": spec.activation, "normalization": spec.normalization}


def placements(found: NetworkSpec, options: argparse.Namespace, seed: int) -> dict[str, NetworkSpec]:
    """The networks to be trained alike, by name."""
    networks = {"found": found, "none": presets.load(NAME), "everywhere": space_lib.load(SPACE).largest()}
    randoms = of_equal_macs(found, options.randoms, options.size, options.classes, seed)
    return networks | {f"random{number}": spec for number, spec in enumerate(randoms)}


def measured(seed: int, options: argparse.Namespace, work: pathlib.Path) -> Iterator[tuple[str, dict]]:
    """All of one seed."""
    data = [f"--dataset={options.dataset}", "--strategy=cpu"]
    epochs = options.epochs
    search = work / f"search_{seed}"
    length = f"--train_epochs={epochs}"
    yield "search", searched(search, data, seed, length, f"--lr_decay_epochs={epochs / 4}")
    after = [f"--init_checkpoint={search}", length]
    yield "kept", trained(work / f"kept_{seed}", data, seed, str(search), *after)
    lengths = ["--init_checkpoint=imagenet", f"--train_epochs={2 * epochs}"]
    made: dict[str, str] = {}
    for name, spec in placements(presets.load(str(search)), options, seed).items():
        path = work / f"{name}_{seed}.arch.txt"
        path.write_text(blockstring.write(spec), encoding="utf-8")
        macs = network_cost(spec, image_size=options.size, num_classes=options.classes).total.macs
        first = made.setdefault(spec.canonical(), name)
        count = sum(block.nonlocal_ is not None for block in spec.singles())
        rates = ["--lr_multipliers=nonlocal:3.33333"] if count else []  # as --nonlocal does by default
        row = trained(work / f"{first}_{seed}", data, seed, str(path), *lengths, *rates)
        yield name, row | {"macs": macs, "light_nl": count}


def shrunk(seed: int, options: argparse.Namespace, work: pathlib.Path) -> Iterator[tuple[str, dict]]:
    """All of one seed with --shrink."""
    data = [f"--dataset={options.dataset}", "--strategy=cpu"]
    epochs, size, classes = options.epochs, options.size, options.classes
    small, length = work / f"shrink_{seed}", f"--train_epochs={epochs}"
    words = [f"--search_space={SMALLER}", f"--target_macs={options.shrink}", length, f"--lr_decay_epochs={epochs / 4}"]
    yield "shrink", searched(small, data, seed, *words)
    after = [f"--init_checkpoint={small}", "--freeze=none", length]
    yield "shrunk", trained(work / f"shrunk_{seed}", data, seed, str(small), *after)
    scratch = [f"--train_epochs={2 * epochs}", "--base_learning_rate=0.03", f"--lr_decay_epochs={epochs / 5}"]
    yield "shrunk_scratch", from_scratch(work / f"shrunk_scratch_{seed}", data, seed, small, scratch)
    lengths = [f"--train_epochs={2 * epochs}", "--freeze=none"]
    spec = presets.load(str(small))
    randoms = smaller_members(spec, options.randoms, size, classes, seed)
    for name, member in {"shrunk_cut": spec, **{f"random{i}_cut": of for i, of in enumerate(randoms)}}.items():
        arch, weights = work / f"{name}_{seed}.arch.txt", work / f"{name}_{seed}.weights.h5"
        arch.write_text(blockstring.write(member), encoding="utf-8")
        if not weights.exists():
            cut_out(member, weights, size)
        row = trained(work / f"{name}_{seed}", data, seed, str(arch), f"--init_checkpoint={weights}", *lengths)
        yield name, row | {"macs": network_cost(member, image_size=size, num_classes=classes).total.macs}
    cost = {"num_classes": classes}
    budget, lite = 1.02 * network_cost(spec, image_size=size, **cost).total.macs, presets.load(NAME)
    least = max(s for s in range(32, size, 8) if network_cost(lite, image_size=s, **cost).total.macs <= budget)
    words = ["--init_checkpoint=imagenet", f"--train_epochs={2 * epochs}", f"--input_image_size={least}"]
    row = trained(work / f"small_images_{seed}", data, seed, NAME, *words)
    yield "small_images", row | {"macs": network_cost(lite, image_size=least, **cost).total.macs, "pixels": least}


def from_scratch(directory: pathlib.Path, data, seed: int, search: pathlib.Path, words: list[str]) -> dict[str, object]:
    """The recipe of training without the weights that its flagfile names."""
    recipe = (ROOT / "flags" / "known_train.flags").read_text(encoding="utf-8").splitlines()
    kept = [
        line
        for line in recipe
        if line.startswith("--") and not line.startswith(("--init_checkpoint", "--arch", "--freeze", "--optimizer"))
    ]
    words = [*kept, *data, f"--seed={seed}", f"--arch={search}", "--eval_every_epochs=100", *words]
    minutes = timed(directory, *words)
    return {"top1": best_copy(directory)["metric"], "minutes": minutes}


def summary(rows: list[dict[str, dict]]) -> dict[str, object]:
    """Mean and spread of each kind over seeds; random members together."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        for name, entry in row.items():
            if "top1" in entry:
                scores.setdefault(re.sub(r"\d", "", name), []).append(entry["top1"])
    return {
        name: {"mean": statistics.mean(of), "stdev": statistics.stdev(of) if len(of) > 1 else None, "runs": len(of)}
        for name, of in scores.items()
    }


def noted(seed: int, pieces: Iterator[tuple[str, dict]]) -> dict[str, dict]:
    """The pieces of a seed, each printed as it comes."""
    rows = {}
    for name, row in pieces:
        rows[name] = row
        print(f"seed {seed}, {name}: {json.dumps(row)}", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--randoms", type=int, default=3)
    parser.add_argument("--shrink")
    parser.add_argument("--work", default="runs/from_pretrained")
    options = parser.parse_args()
    work = pathlib.Path(options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    of_seed = shrunk if options.shrink else measured
    rows = [noted(seed, of_seed(seed, options, work)) for seed in map(int, options.seeds.split(","))]
    print(json.dumps({"summary": summary(rows), "seeds": rows}))


if __name__ == "__main__":
    main()
