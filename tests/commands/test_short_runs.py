"""A short run by the defaults ends in a network that answers: the loss below chance, no logit beyond float16."""

import json
import math
import sys

import pytest
from mode_cases import CLASSES, class_folder, run

# Four LightNLs in a row: whatever statistics lack in the first, the last has to a power.
DEEP = """\
r1_k3_s22_e1_i32_o8_noskip
r2_k3_s11_e3_i8_o12_nonlocal0.5-1
r2_k3_s22_e3_i12_o16_nonlocal0.5-1
"""


def validation(directory, *words):
    """The scores of every evaluation of a run of 60 steps."""
    root = directory / "pictures"
    if not root.exists():
        class_folder(root, {"train": 20, "val": 10})
        (directory / "arch.txt").write_text(DEEP)
    home = f"{directory}/run{len(words)}"
    data = (f"--arch={directory}/arch.txt", f"--dataset=folder:{root}", "--input_image_size=32")
    run("--mode=train", *data, "--train_epochs=16", "--eval_every_epochs=4", f"--model_dir={home}", *words)
    records = map(json.loads, open(f"{home}/metrics.jsonl"))  # noqa: SIM115
    return [record["values"] for record in records if record["phase"] == "validation"]


def good(scores):
    return scores["loss"] is not None and scores["loss"] < 2 * math.log(len(CLASSES)) and "beyond_float16" not in scores


def rewritten_functions() -> set[str]:
    """The modules that AutoGraph has made."""
    return {name for name in sys.modules if name.startswith("__autograph_generated_file")}


@pytest.mark.slow
def test_a_short_run_by_the_defaults_ends_below_chance(tmp_path, capsys):
    before = rewritten_functions()
    scores = validation(tmp_path)
    assert rewritten_functions() == before  # which is a quarter of a short run's start
    assert all(map(good, scores[-2:])), scores
    assert scores[-1]["top1"] > 0.6
    assert "chosen for 60 images (docs/training.md): --train_batch_size=16" in capsys.readouterr().err
