"""From Enter to the first step of a tiny training, in this checkout and others by turns.

    python benchmarks/start_up.py [--against=CHECKOUT ...] [--rounds=5] [--images=800]

Makes four classes of noise images of 32 px and starts a training of three blocks on them again and again, each time in
a new run directory; the images have been checked by an earlier start. Prints a line a start, and ends in one line of
JSON: for each checkout the seconds, and the process's seconds of processor time, until it says its first step (median,
least, greatest), and their ratios to those of the first checkout of --against.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from autonl_tf.engine.rundir import versions

ROOT = pathlib.Path(__file__).resolve().parents[1]
ARCH = """\
r1_k3_s22_e1_i32_o16_noskip
r1_k3_s11_e3_i16_o24_nonlocal0.25-2
r1_k5_s22_e3_i24_o40_nonlocal0.25-1
"""


def make_images(folder: pathlib.Path, count: int) -> None:
    """`count` images to train on and a quarter as many to validate on, of four classes."""
    rng = np.random.default_rng(0)
    for split, images in (("train", count), ("val", count // 4)):
        for label in "abcd":
            (folder / split / label).mkdir(parents=True)
            for number in range(images // 4):
                pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number}.png")


def commit(checkout: pathlib.Path) -> str:
    words = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def start(checkout: pathlib.Path, work: pathlib.Path, fresh: bool) -> tuple[float, float]:
    """Seconds, and seconds of processor time, until a training says its first step."""
    run = work / f"run_{checkout.name}"
    if fresh:
        shutil.rmtree(run, ignore_errors=True)
    words = [f"--arch={work}/arch.txt", f"--dataset=folder:{work}/images", f"--model_dir={run}", "--strategy=cpu"]
    words += ["--mode=train", "--input_image_size=32", "--train_batch_size=32", "--steps_per_loop=1"]
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "main.py", *words],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stderr=subprocess.PIPE,
        text=True,
    )
    said = []
    with process:
        for line in process.stderr:
            said.append(line)
            if line.startswith("step "):
                seconds = time.monotonic() - began
                fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                process.kill()
                return seconds, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    raise SystemExit(f"{checkout}: ended before its first step:\n{''.join(said)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", action="append", default=[], type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=800)
    options = parser.parse_args()
    checkouts = [*(path.resolve() for path in options.against), ROOT]
    measured: dict[pathlib.Path, list[tuple[float, float]]] = {checkout: [] for checkout in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        make_images(work / "images", options.images)
        (work / "arch.txt").write_text(ARCH, encoding="utf-8")
        for number in range(options.rounds + 1):
            for checkout in checkouts:
                took = start(checkout, work, fresh=number == 0)
                print(f"round {number}, {commit(checkout)[:7]}: {took[0]:.1f} s, processor {took[1]:.1f} s", flush=True)
                if number:  # the first start checks the images
                    measured[checkout].append(took)
    rows = {}
    for checkout, times in measured.items():
        columns = {"seconds": [a for a, _ in times], "processor_seconds": [b for _, b in times]}
        rows[commit(checkout)] = {
            name: [round(f(values), 2) for f in (statistics.median, min, max)] for name, values in columns.items()
        }
    first = rows[commit(checkouts[0])]
    ratios = {name: {key: round(row[key][0] / first[key][0], 3) for key in row} for name, row in rows.items()}
    print(json.dumps({"images": options.images, "checkouts": rows, "ratios": ratios, "versions": versions()}))


if __name__ == "__main__":
    main()
