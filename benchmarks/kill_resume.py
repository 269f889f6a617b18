"""What kill -9 costs: search and training are killed again and again, and must end as if nothing had been.

Every run is `python main.py` in a process of its own, on one CPU device, on a small network and small made-up images,
with random crops and flips, dropout and moving averages on. A reference run goes through undisturbed. Then the same
command is started in another run directory and killed: while it starts, some steps after it resumed, and, several
times, inside the saving of a checkpoint (told by what the kill leaves behind: data without an index). At the end
the two directories are compared: every tensor of every checkpoint kept and of the best copy (weights, averages,
optimizer slots, gates, random states; not the run's identity), metrics.jsonl byte by byte, and what the mode writes at
its end. The positions in the data of the steps that counted are replayed from each place where the run resumed.

Ends in one line of JSON with `kills` and `identical`; exit code 1 unless all is identical.

    python benchmarks/kill_resume.py [--kills=20] [--in_save=5] [--modes=train,search,qat] [--seed=0] [--keep=DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf
from support.pictures import class_folder
from support.tiny_run import ARCH, SPACE

from autonl_tf.data.datasets import open_dataset
from autonl_tf.engine.checkpoints import RUN_KEY, steps_saved

ROOT = pathlib.Path(__file__).resolve().parents[1]
BATCH, STEPS, SEED = 8, 120, 11
_TRAIN = ["--mode=train", "--moving_average_decay=0.99", "--eval_every_epochs=0.6"]
MODES = {
    "train": _TRAIN,
    "search": ["--mode=search"],
    "qat": [*_TRAIN, "--qat"],  # from the weights of a short training
}
LIMIT_SECONDS = 300  # of one start of the program


def make_inputs(work: pathlib.Path) -> None:
    """What `run_flags` names: an architecture, a space, 37 images to train on: epochs end within batches."""
    work.mkdir(parents=True, exist_ok=True)
    class_folder(work / "data", {"train": 37, "val": 15}, "abc", (48, 40))
    (work / "arch.txt").write_text(ARCH, encoding="utf-8")
    (work / "space.json").write_text(json.dumps(SPACE), encoding="utf-8")


def run_flags(mode: str, work: pathlib.Path, directory: pathlib.Path) -> list[str]:
    """The flags of `main.py` for a run in `directory`, on what lies in `work`."""
    return [
        *MODES[mode],
        f"--search_space={work / 'space.json'}" if mode == "search" else f"--arch={work / 'arch.txt'}",
        *([f"--init_checkpoint={work / 'float'}"] if mode == "qat" else []),
        *(f"--dataset=folder:{work / 'data'}", f"--model_dir={directory}", "--input_image_size=32"),
        *(f"--seed={SEED}", f"--train_batch_size={BATCH}", f"--train_steps={STEPS}", "--eval_batch_size=8"),
        *("--steps_per_loop=1", "--save_every_steps=3", "--dropout_rate=0.2"),
    ]


class Run:
    """One mode, one run directory, started as often as it takes."""

    def __init__(self, mode: str, work: pathlib.Path, directory: pathlib.Path):
        self.directory = directory
        self.starts: list[int] = []  # the step at which each start resumed
        self._log = directory.with_suffix(".log")
        self._command = [sys.executable, str(ROOT / "main.py"), *run_flags(mode, work, directory), "--strategy=cpu"]

    def start(self) -> subprocess.Popen:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}
        environment.pop("TF_CONFIG", None)
        with open(self._log, "w", encoding="utf-8") as log:
            return subprocess.Popen(self._command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def ended(self, process: subprocess.Popen) -> int:
        """The exit code; notes where this start had resumed."""
        code = process.wait(LIMIT_SECONDS)
        resumed = re.search(r"resumed at step (\d+)", self.log())
        if resumed or self.stepped():
            self.starts.append(int(resumed[1]) if resumed else 0)
        return code

    def stepped(self) -> bool:
        """Whether this start has made a step."""
        return re.search(r"^step \d+/", self.log(), re.MULTILINE) is not None

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def finish(self) -> float:
        """Lets the run end; returns the seconds to its first step."""
        began, process = time.monotonic(), self.start()
        wait(process, self.stepped)
        startup = time.monotonic() - began
        if self.ended(process):
            raise SystemExit(f"{self.directory}: the run failed:\n{self.log()}")
        return startup

    def lines(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / "metrics.jsonl").read_bytes().count(b"\n")
        return 0

    def saving(self) -> list[str]:
        """Files of a checkpoint that is not whole: one is being saved, or was when the process died."""
        found = []
        for folder in ("checkpoints", "best"):
            with contextlib.suppress(FileNotFoundError):
                names = os.listdir(self.directory / folder)
                whole = {name.removesuffix(".index") for name in names if name.endswith(".index")}
                found += [name for name in names if name.startswith("ckpt-") and name.split(".")[0] not in whole]
        return found


def wait(process: subprocess.Popen, condition) -> None:
    """Until `condition()`, or until the process ends by itself."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while process.poll() is None and not condition():
        if time.monotonic() > deadline:
            process.kill()
            raise SystemExit("the run hangs")
        time.sleep(0.0005)


def kill_once(run: Run, kind: str, rng: random.Random, startup: float) -> str | None:
    """Starts and kills; returns where it struck: start, step or save. None: the run ended before.

    What is left of a save tells of this kill only where a step was seen: a start clears away what earlier ones left.
    """
    process = run.start()
    if kind == "start":
        time.sleep(rng.uniform(0, startup))
    else:
        wait(process, run.stepped)
        until = run.lines() + rng.randrange(8)
        wait(process, lambda: run.lines() >= until)
        if kind == "save":
            wait(process, run.saving)
        else:
            time.sleep(rng.uniform(0, 0.08))
    process.kill()
    code = run.ended(process)
    if code == 0:
        return None
    if code != -signal.SIGKILL:
        raise SystemExit(f"{run.directory}: ended by itself with code {code}:\n{run.log()}")
    return "start" if kind == "start" else "save" if run.saving() else "step"


def kill_often(run: Run, kills: int, in_save: int, rng: random.Random, startup: float) -> dict[str, int]:
    """Kills `kills` times, or more until `in_save` of them struck inside a save; then lets the run end."""
    counts = {"start": 0, "step": 0, "save": 0}
    while sum(counts.values()) < kills or counts["save"] < in_save:
        missing = in_save - counts["save"]
        left = max(kills - sum(counts.values()), 1)
        kind = "save" if rng.random() < missing / left else "start" if rng.random() < 0.2 else "step"
        struck = kill_once(run, kind, rng, startup)
        if struck is None:
            raise SystemExit(f"{run.directory}: ended after {counts}: too few steps for so many kills\n{run.log()}")
        counts[struck] += 1
        print(f"  kill {sum(counts.values())}: {struck}, at line {run.lines()} of metrics.jsonl", flush=True)
    run.finish()
    return counts


def differences(first: pathlib.Path, second: pathlib.Path) -> tuple[int, list[str]]:
    """How many tensors were compared, and all that is not the same in two run directories."""
    different, compared = [], 0
    for folder in ("checkpoints", "best"):
        steps = steps_saved(first / folder)
        if steps != steps_saved(second / folder):
            different.append(f"{folder}: steps {steps} and {steps_saved(second / folder)}")
            continue
        for step in steps:
            readers = [tf.train.load_checkpoint(str(where / folder / f"ckpt-{step}")) for where in (first, second)]
            names = [set(reader.get_variable_to_shape_map()) - {RUN_KEY} for reader in readers]
            different += [f"{folder}/ckpt-{step}: only in one: {name}" for name in names[0] ^ names[1]]
            for name in sorted(names[0] & names[1]):
                a, b = (np.asarray(reader.get_tensor(name)) for reader in readers)
                compared += 1
                if name != "_CHECKPOINTABLE_OBJECT_GRAPH" and a.tobytes() != b.tobytes():
                    different.append(f"{folder}/ckpt-{step}: {name}")
    for name in ("metrics.jsonl", "arch.txt", "best/best.json", "model.json"):
        texts = [(where / name).read_bytes() if (where / name).exists() else None for where in (first, second)]
        if texts[0] != texts[1]:
            different.append(name)
    if (first / "search.json").exists():
        results = [json.loads((where / "search.json").read_text()) for where in (first, second)]
        for result in results:  # the directory's own name is in both
            del result["settings"]["model_dir"], result["next"]
        if results[0] != results[1]:
            different.append("search.json")
    return compared, different


def images_seen(data: pathlib.Path, starts: list[int]) -> bool:
    """Whether the steps that counted took every image of every epoch once, in the order of an uninterrupted run."""
    split = open_dataset(f"folder:{data}").split("train")

    def positions(start: int, stop: int) -> list[tuple[int, int]]:
        elements = split.endless(SEED, start, BATCH).elements.take((stop - start) * BATCH)
        return [(int(position), int(index)) for position, index in elements]

    whole = positions(0, STEPS)
    ends = [*starts[1:], STEPS]
    resumed = [pair for start, stop in zip(starts, ends, strict=True) for pair in positions(start, stop)]
    epochs = STEPS * BATCH // split.size
    indices = np.array([index for _, index in resumed[: epochs * split.size]]).reshape(epochs, split.size)
    return resumed == whole and (np.sort(indices, axis=1) == np.arange(split.size)).all()


def try_mode(mode: str, work: pathlib.Path, options: argparse.Namespace) -> dict:
    reference, killed = (Run(mode, work, work / f"{mode}_{name}") for name in ("reference", "killed"))
    if mode == "qat":
        Run("train", work, work / "float").finish()
    startup = reference.finish()
    print(f"{mode}: the reference made its first step after {startup:.0f} s", flush=True)
    counts = kill_often(killed, options.kills, options.in_save, random.Random(options.seed), startup)
    compared, different = differences(reference.directory, killed.directory)
    for what in different[:20]:
        print(f"  DIFFERENT: {what}")
    in_order = images_seen(work / "data", killed.starts)
    print(f"{mode}: {counts}, resumed at {killed.starts}; {compared} tensors, {len(different)} differences", flush=True)
    return {
        "kills": sum(counts.values()),
        "in_save": counts["save"],
        "while_starting": counts["start"],
        "tensors_compared": compared,
        "differences": len(different),
        "images_in_order": bool(in_order),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each mode")
    parser.add_argument("--in_save", type=int, default=5, help="of them, at least so many inside a save")
    parser.add_argument("--modes", default="train,search", help=f"of {', '.join(MODES)}")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--keep", help="a new directory to work in, kept")
    options = parser.parse_args()
    if unknown := set(options.modes.split(",")) - set(MODES):
        parser.error(f"--modes={options.modes}: {', '.join(unknown)} unknown; accepted: {', '.join(MODES)}")
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(options.keep or stack.enter_context(tempfile.TemporaryDirectory()))
        make_inputs(work)
        modes = {mode: try_mode(mode, work, options) for mode in options.modes.split(",")}
    identical = all(not mode["differences"] and mode["images_in_order"] for mode in modes.values())
    kills = sum(mode["kills"] for mode in modes.values())
    versions = {"tensorflow": tf.__version__, "python": sys.version.split()[0]}
    print(json.dumps({"kills": kills, "identical": identical, "modes": modes, "versions": versions}))
    sys.exit(not identical)


if __name__ == "__main__":
    main()
