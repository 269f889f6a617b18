"""A made-up class folder, tiny architectures and spaces, and the command line within and beside this process."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from absl import flags
from PIL import Image

from autonl_tf.cli import parsing
from autonl_tf.cli.main import _runner
from autonl_tf.settings.config import Config

MAIN = pathlib.Path(__file__).resolve().parents[1] / "main.py"
CLASSES = ("ant", "bee", "cat")
SHORT = (
    *("--input_image_size=32", "--crop_padding=32"),
    *("--train_batch_size=6", "--eval_batch_size=6", "--train_steps=2", "--eval_every_epochs=2"),
)
# The numbers of the release in place of those that follow from the size of the set.
PUBLISHED = (
    *("--batch_norm_momentum=0.99", "--moving_average_decay=0.9999", "--recalibrate_batches=0", "--light_nl_decay=0"),
    *("--lr_warmup_epochs=5", "--lr_decay_epochs=2.4", "--lr_decay_rate=0.97"),
)
ARCH = """\
r1_k3_s22_e1_i32_o8_noskip
r1_k3_s22_e2_i8_o12_nonlocal0.25-2
r1_k3_s11_e2_i12_o12_se0.25
"""
SPACE = {
    "candidates": {
        "kernels": [3, 5],
        "expansions": [2, 3],
        "se_ratios": [0.25],
        "nonlocal_ratios": [0.25],
        "nonlocal_strides": [2, 1],
    },
    "blocks": [
        {"block": "r1_k3_s22_e1_i32_o8_noskip", "searchable": False},
        {"block": "r1_k5_s22_e3_i8_o12"},
        {"block": "r1_k5_s11_e3_i12_o12"},
    ],
}


def configure(*words: str) -> Config:
    """The config of a command line, read as `main` reads it."""
    values = flags.FlagValues()
    parsing.define_flags(values)
    rest = values(["main.py", *map(str, words)])
    assert len(rest) == 1, rest
    return parsing.from_flags(values)


def run(*words: str) -> None:
    """Runs a command line in this process, checks before TensorFlow's import included."""
    config = parsing.checked("check_files", configure(*words))
    _runner(config.mode)(config)


def given(words, **changed) -> list[str]:
    """A command line with some flags replaced."""
    kept = [word for word in words if word.split("=")[0].lstrip("-") not in changed]
    return [*kept, *(f"--{name}={value}" for name, value in changed.items())]


def command(*words: str, cwd: pathlib.Path) -> subprocess.CompletedProcess:
    """Runs `main.py` in a process of its own, on one processor device."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("TF_CONFIG", None)
    return subprocess.run(
        [sys.executable, str(MAIN), *map(str, words)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def class_folder(root: pathlib.Path, counts: dict[str, int], classes=CLASSES) -> pathlib.Path:
    """`root`/SPLIT/CLASS/N.jpg, `counts[SPLIT]` pictures of 32 px a class, each class of one colour and noise."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(0, 96, [32, 32, 3])
                noise[..., label % 3] += 128
                Image.fromarray(noise.astype(np.uint8)).save(folder / f"{number}.jpg", quality=90)
    return root


def write_space(path: pathlib.Path, **changed) -> pathlib.Path:
    path.write_text(json.dumps(SPACE | changed), encoding="utf-8")
    return path


def tree(*roots: pathlib.Path) -> dict[str, bytes | None]:
    """Everything below some directories, hidden files and empty directories too."""
    return {
        str(path): path.read_bytes() if path.is_file() else None for root in roots for path in sorted(root.rglob("*"))
    }
