"""The examples run, small, and say what they claim."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from autonl_tf.data.datasets import open_dataset

ROOT = pathlib.Path(__file__).resolve().parents[2]


def folder(root: pathlib.Path) -> pathlib.Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for label, name in enumerate(("dark", "light")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 100, [32, 32, 3]) + 150 * label
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{number}.png")
    return root


@pytest.mark.parametrize("script", ["examples/mobilenet_v2_light_nl.py", "benchmarks/int8_ranges.py"])
def test_images_that_set_ranges_are_of_every_class(script, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend((ROOT / script).parent)
    spec = importlib.util.spec_from_file_location("script", ROOT / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    padding = (0,) if script.startswith("benchmarks") else ()
    images, labels = module.pixels(open_dataset(f"folder:{folder(tmp_path)}"), 16, "train", 8, *padding)
    assert images.shape == (8, 16, 16, 3) and set(labels) == {0, 1}
    assert [image.mean() > 125 for image in images] == [label == 1 for label in labels]


def test_light_nl_in_mobilenet_v2_trains_and_converts_to_whole_files(tmp_path):
    words = ["--size=32", "--steps=2", "--images=8", f"--dataset=folder:{folder(tmp_path / 'data')}"]
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "mobilenet_v2_light_nl.py", *words, f"--out={tmp_path}/out"],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == {"float32", "int8"}
    for row in result.values():
        assert row["whole"] and row["partitions"] == 1
    assert result["int8"]["input"] == "uint8" and result["int8"]["bytes"] < result["float32"]["bytes"] / 2
