"""One device and two, whole batches and micro-batches, plain and compiled: the same steps."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "device_agreement.py"


@pytest.fixture(scope="module")
def results():
    command = [sys.executable, str(SCRIPT), "--devices=1,2", "--steps=4", "--xla=train"]
    # XLA's own passes decide what is computed; LLVM's optimisation of the code takes most of the time.
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
    environment = {**os.environ, "XLA_FLAGS": flags}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])["results"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        *("train sync 1 and 2", "train parts 1 and 2", "train xla", "train parts xla"),
        *("search sync 1 and 2", "search parts 1 and 2"),
    ],
)
def test_losses_state_and_evaluation_agree(results, case):
    found = results[case]
    assert found["losses"] < 1e-5
    assert found["state"] < 1e-3
    assert found["evaluation_equal"]
    assert found["evaluation_loss"] < 1e-6
    if case.startswith("search"):
        assert found["replicas_equal"] and found["gates_moved"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "search"])
def test_statistics_of_parts_make_other_steps(results, mode):
    """Otherwise the agreements above would show nothing."""
    assert results[f"{mode} sync and parts"]["losses"] > 1e-2
