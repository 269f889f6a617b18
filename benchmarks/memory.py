"""What a run is estimated to take of memory beside what it took: the table of docs/scaling.md.

Runs short searches and trainings on made-up photographs, each in a process of its own, and compares the line that each
prints before its first step with the largest resident memory that the system counted. Ends in one line of JSON.

    python benchmarks/memory.py [--case=NAME ...]
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from support.pictures import class_folder

MAIN = pathlib.Path(__file__).resolve().parents[1] / "main.py"
# Name: flags. All below 8 GB. The first nine, not the rest, set the constants of `autonl_tf/arch/peak_memory.py`, but
# for that of micro-batches, which those with micro-batches set.
CASES = {
    "search, demo space, 32 px, batch 64": (
        "--mode=search --search_space=demo --input_image_size=32 --train_batch_size=64"
    ),
    "search, demo space, 64 px, batch 512": (
        "--mode=search --search_space=demo --input_image_size=64 --train_batch_size=512"
    ),
    "search, paper space, 96 px, batch 64": (
        "--mode=search --search_space=paper --input_image_size=96 --train_batch_size=64"
    ),
    "search, paper space, 224 px, batch 16": "--mode=search --search_space=paper --train_batch_size=16",
    "search, paper space, 224 px, batch 32 in 4": (
        "--mode=search --search_space=paper --train_batch_size=32 --micro_batches=4"
    ),
    "search, paper space, 224 px, batch 256 in 16": (
        "--mode=search --search_space=paper --train_batch_size=256 --micro_batches=16"
    ),
    "train, MobileNetV2, 160 px, batch 32": (
        "--mode=train --arch=mobilenet_v2 --input_image_size=160 --train_batch_size=32 --eval_batch_size=8"
    ),
    "train, MobileNetV2, 160 px, batch 128 in 4": (
        "--mode=train --arch=mobilenet_v2 --input_image_size=160 --train_batch_size=128 --eval_batch_size=8 "
        "--micro_batches=4"
    ),
    "train, AutoNL-S, 224 px, batch 32": "--mode=train --arch=autonl_s --train_batch_size=32 --eval_batch_size=32",
    "train, AutoNL-L, 160 px, batch 64": "--mode=train --arch=autonl_l --input_image_size=160 --train_batch_size=64",
    "train, MobileNetV2, 128 px, batch 64": (
        "--mode=train --arch=mobilenet_v2 --input_image_size=128 --train_batch_size=64"
    ),
    "train, EfficientNet-Lite0, 224 px, batch 8": "--mode=train --arch=efficientnet_lite0 --train_batch_size=8",
    "train, ProxylessNAS, 224 px, batch 24": "--mode=train --arch=proxylessnas_mobile --train_batch_size=24",
    "train, EfficientNet-B0, 160 px, batch 32": (
        "--mode=train --arch=efficientnet_b0 --input_image_size=160 --train_batch_size=32"
    ),
    "train, MnasNet-A1 with LightNL, 128 px, batch 64": (
        "--mode=train --arch=mnasnet_a1 --nonlocal=all:0.25-1 --input_image_size=128 --train_batch_size=64"
    ),
    "train, Lite0's classifier from ImageNet's weights, 128 px, batch 128": (
        "--mode=train --arch=efficientnet_lite0 --init_checkpoint=imagenet --freeze=backbone --input_image_size=128 "
        "--train_batch_size=128"
    ),
    "search, CIFAR-10's space, 32 px, batch 256": (
        "--mode=search --search_space=cifar10 --input_image_size=32 --train_batch_size=256"
    ),
    "search, around Lite0 from ImageNet's weights, 128 px, batch 32": (
        "--mode=search --search_space=around:efficientnet_lite0 --init_checkpoint=imagenet --input_image_size=128 "
        "--train_batch_size=32"
    ),
    "search, paper space, 160 px, batch 24": (
        "--mode=search --search_space=paper --input_image_size=160 --train_batch_size=24"
    ),
}
SHORT = "--train_steps=2 --steps_per_loop=2 --search_warmup_share=0.5"


def measured(flags: list[str]) -> tuple[float, float]:
    """(estimated, largest resident) bytes of one command; a larger peak of this process would be counted instead."""
    process = subprocess.Popen([sys.executable, str(MAIN), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    found = re.search(r"^memory: about ([\d.]+) GB", said, re.MULTILINE)
    if status or not found:
        raise SystemExit(said)
    return float(found[1]) * 1e9, usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES))
    options = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        data = class_folder(pathlib.Path(scratch, "photographs"), {"train": 320, "val": 40}, "abcd", (320, 256))
        for number, name in enumerate(options.case or CASES):
            words = [*CASES[name].split(), *SHORT.split(), f"--dataset=folder:{data}"]
            estimated, taken = measured([*words, f"--model_dir={scratch}/{number}"])
            rows[name] = {"estimated_gb": estimated / 1e9, "measured_gb": taken / 1e9}
            print(f"{name:<45}{estimated / 1e9:6.1f} {taken / 1e9:6.2f} {estimated / taken:6.2f}", flush=True)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
