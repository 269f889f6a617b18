"""What a search step costs beside a training step of the space's largest member, in time and in memory.

Both steps are those of `--mode=search` and `--mode=train`: same batch, size, machine, run and compile options. Time:
loops of both, interleaved in one process, medians; ratios round by round, as the machine drifts, and medians of
those. Memory: the peak resident size of a fresh process less its size before the first step, processes interleaved,
medians. `richer` is the same space with one more LightNL ratio (0.0625) and stride (4). Ends in one line of JSON with
`time_ratio` and `memory_ratio`, and richer's over the search's own.

    python benchmarks/search_overhead.py [--setting=paper|demo] [--rounds=5] [--steps=2] [--processes=3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

from support.main_py import ROOT, child

SETTINGS = {"paper": (224, 16, 1000), "demo": (64, 64, 8)}  # size, batch, classes
KINDS = ("train", "search", "richer")


def space_of(name: str, kind: str):
    from autonl_tf.space import space as space_lib

    if kind != "richer":
        return space_lib.load(name)
    data = json.loads((ROOT / "autonl_tf" / "space" / "spaces" / f"{name}.json").read_text(encoding="utf-8"))
    candidates = data["candidates"]
    candidates["nonlocal_ratios"] = [0.0625, *candidates["nonlocal_ratios"]]
    candidates["nonlocal_strides"] = [4, *candidates["nonlocal_strides"]]
    return space_lib.parse(data, f"{name} with more candidates")


def train_function(setting: str, kind: str):
    """The train function of one kind, as its mode makes it."""
    from support import training_step

    size, batch, classes = SETTINGS[setting]
    space, shape = space_of(setting, kind), {"image_size": size, "batch": batch, "classes": classes}
    if kind == "train":
        return training_step.train_function(space.largest(), **shape)
    return training_step.search_function(space, **shape)


def measure_memory(setting: str, kind: str) -> dict[str, float]:
    from support import training_step

    function, iterator = train_function(setting, kind), training_step.batches(*SETTINGS[setting])
    before = training_step.resident()
    function(iterator, 3)
    return {"bytes": training_step.peak() - before}


def measure_time(setting: str, rounds: int, steps: int) -> dict[str, list[float]]:
    from support import training_step

    functions, iterator = (
        {kind: train_function(setting, kind) for kind in KINDS},
        training_step.batches(*SETTINGS[setting]),
    )
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for round_number in range(rounds + 1):
        for kind, function in functions.items():
            began = time.perf_counter()
            function(iterator, steps if round_number else 1)
            if round_number:  # the first traces
                seconds[kind].append((time.perf_counter() - began) / steps)
    return seconds


def paired(values: list[float], others: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(values, others, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setting", choices=SETTINGS, default="paper")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--measure", choices=("time", *KINDS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure == "time":
        print(json.dumps(measure_time(options.setting, options.rounds, options.steps)))
        return
    if options.measure:
        print(json.dumps(measure_memory(options.setting, options.measure)))
        return
    setting = f"--setting={options.setting}"
    seconds = child(__file__, setting, "--measure=time", f"--rounds={options.rounds}", f"--steps={options.steps}")
    memory: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(options.processes):
        for kind in KINDS:
            memory[kind].append(child(__file__, setting, f"--measure={kind}")["bytes"] / 1e6)
    times = {kind: statistics.median(values) for kind, values in seconds.items()}
    sizes = {kind: statistics.median(values) for kind, values in memory.items()}
    for kind in KINDS:
        print(
            f"{kind:<7} {times[kind]:.4f} s a step ({min(seconds[kind]):.4f} to {max(seconds[kind]):.4f}), "
            f"{sizes[kind]:.0f} MB ({min(memory[kind]):.0f} to {max(memory[kind]):.0f})"
        )
    size, batch, _ = SETTINGS[options.setting]
    print(
        json.dumps(
            {
                "setting": options.setting,
                "image_size": size,
                "batch": batch,
                "seconds": times,
                "megabytes": sizes,
                "time_ratio": paired(seconds["search"], seconds["train"]),
                "memory_ratio": sizes["search"] / sizes["train"],
                "richer_time_ratio": paired(seconds["richer"], seconds["search"]),
                "richer_memory_ratio": sizes["richer"] / sizes["search"],
            }
        )
    )


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
