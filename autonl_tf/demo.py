"""`make demo`: search, train, evaluate and export on the built-in data, each by the command a user would type.

Runs `main.py` once a step, in a process of its own, so that every step gives its memory back. Search and training
resume, so that the same command goes on where it was stopped.
"""

from __future__ import annotations

import json
import pathlib
import shlex
import subprocess
import sys
import time

from autonl_tf.errors import USAGE_ERROR
from autonl_tf.settings.next_commands import interpreter

SEARCH, TRAIN, EXPORT = "runs/demo/search", "runs/demo/train", "runs/demo/export"
DATA = ("--dataset=demo", "--data_dir=runs/data")


def commands() -> list[list[str]]:
    return [
        ["--flagfile=flags/demo_search.flags", f"--model_dir={SEARCH}"],
        ["--flagfile=flags/demo_train.flags", f"--model_dir={TRAIN}"],
        ["--mode=eval", f"--model_dir={TRAIN}", *DATA],
        ["--mode=export", f"--model_dir={TRAIN}", f"--output={EXPORT}", *DATA],
    ]


def run() -> int:
    """Runs every step in turn; the first that fails gives the exit code."""
    if not pathlib.Path("flags/demo_search.flags").is_file():
        print("error: the demo runs from the project's root, where flags/ and main.py are", file=sys.stderr)
        return USAGE_ERROR
    began = time.monotonic()
    for flags in commands():
        print(f"\n$ {shlex.join([interpreter(), 'main.py', *flags])}", flush=True)
        if code := _ended(subprocess.Popen([sys.executable, "main.py", *flags])):
            print(f"stopped with exit code {code}: `make demo` goes on from here", file=sys.stderr)
            return code
    print(closing(time.monotonic() - began))
    return 0


def _ended(step: subprocess.Popen) -> int:
    """The exit code of a step; Ctrl-C, which the step gets too, is left to it: it may save."""
    while True:
        try:
            return step.wait()
        except KeyboardInterrupt:
            pass


def closing(seconds: float) -> str:
    """Where everything is and what it scores, read off the files the steps wrote."""
    found = json.loads(pathlib.Path(SEARCH, "search.json").read_text(encoding="utf-8"))
    card = json.loads(pathlib.Path(EXPORT, "card.json").read_text(encoding="utf-8"))
    accuracy = card["accuracy"]
    light = sum("nonlocal" in line for line in found["arch"])
    return (
        f"\nThe demo took {seconds / 60:.1f} minutes.\n"
        f"  architecture  {SEARCH}/arch.txt: {len(found['arch'])} blocks, {light} with LightNL, "
        f"{found['macs'] / 1e6:.2f}M MACs of {found['largest_macs'] / 1e6:.2f}M\n"
        f"  report        {SEARCH}/report.html\n"
        f"  pictures      {SEARCH}/network.png, {SEARCH}/search.png, {TRAIN}/training.png\n"
        f"  top-1         {accuracy['top1']:.2%} on {accuracy['count']} validation images "
        f"(chance {1 / card['num_classes']:.2%})\n"
        f"  SavedModel    {EXPORT}/saved_model/1\n"
        f"  TFLite        {EXPORT}/model_fp32.tflite\n"
        f"  TensorBoard   tensorboard --logdir runs/demo\n"
        f"Next: your own images, in folders by class:\n"
        f"  {shlex.quote(interpreter())} main.py --mode=train --arch={SEARCH}/arch.txt --dataset=folder:PATH "
        "--input_image_size=64 --model_dir=runs/mine"
    )


if __name__ == "__main__":
    sys.exit(run())
