"""What needs processes of their own: several devices, and a signal."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from engine_tiny_run import Run

from autonl_tf.engine.checkpoints import steps_saved
from autonl_tf.errors import PREEMPTED, WORKER_LOST

PROGRAM = Path(__file__).with_name("engine_tiny_run.py")


def start(directory, *options, tf_config=None) -> subprocess.Popen:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("TF_CONFIG", None)
    if tf_config is not None:
        environment["TF_CONFIG"] = json.dumps(tf_config)
    command = [sys.executable, str(PROGRAM), str(directory), *options]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process) -> tuple[int, str]:
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def wait_for_metrics(directory, process) -> Path:
    """Waits until the run in `directory` has logged something."""
    metrics = directory / "metrics.jsonl"
    deadline = time.monotonic() + 90
    while not (metrics.exists() and metrics.read_text().count("\n")):
        assert time.monotonic() < deadline and process.poll() is None, finish(process)
        time.sleep(0.05)
    return metrics


def records(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs alike on one and two devices, see `engine_tiny_run.compare_devices`."""
    root = tmp_path_factory.mktemp("devices")
    code, errors = finish(start(root, "--compare"))
    assert code == 0, errors
    return root


@pytest.mark.parametrize(("first", "second"), [("plain1", "plain2"), ("checked1", "checked2"), ("plain1", "moved")])
def test_two_devices_and_one_agree_step_by_step_without_batch_norm(runs, first, second):
    """Checked: gradients are clipped as summed over replicas, and a bad image on one skips the update on both. Moved:
    what a loop has summed up on one device counts as much as what two add to it."""
    one, two = records(runs / first), records(runs / second)
    is_checked = first == "checked1"
    assert ("skipped_updates" in one[-2]["values"]) == is_checked
    assert [(r["step"], r["phase"]) for r in one] == [(r["step"], r["phase"]) for r in two]
    for mine, other in zip(one, two, strict=True):
        assert mine["values"].keys() == other["values"].keys()
        for metric, value in mine["values"].items():
            assert other["values"][metric] == pytest.approx(value, rel=2e-6), (mine["step"], metric)
    single, pair = (np.load(runs / name / "everything.npz") for name in (first, second))
    assert single["state skipped_updates"] == (2 if is_checked else 0)
    for key in single.files:
        np.testing.assert_allclose(pair[key], single[key], rtol=1e-5, atol=1e-6, err_msg=key)


def test_evaluation_counts_the_same_images_on_two_devices(runs):
    names = ("plain1", "plain2", "norm2")
    one, two, norm = (json.loads((runs / name / "evaluation.json").read_text()) for name in names)
    assert (one["count"], one["top1"]) == (two["count"], two["top1"])
    assert one["count"] == norm["count"] == 37


def test_sigterm_saves_and_exits_42_and_the_rest_is_as_if_nothing_had_been(tmp_path):
    process = start(tmp_path / "run", "--pause=0.3")
    metrics = wait_for_metrics(tmp_path / "run", process)
    process.send_signal(signal.SIGTERM)
    code, errors = finish(process)
    assert code == PREEMPTED == 42, errors
    saved = records(tmp_path / "run")[-1]["step"]
    assert 0 < saved < 20
    assert f"stopped by SIGTERM at step {saved}" in errors
    resumed, whole = Run(), Run()
    resumed.go(tmp_path / "run")
    assert resumed.started_at == saved
    whole.go(tmp_path / "whole")
    expected = whole.everything()
    for name, value in resumed.everything().items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    assert metrics.read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def free_ports(count) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_two(directories, *options) -> list[subprocess.Popen]:
    """A cluster of two workers, a directory each."""
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]
    return [start(where, *options, tf_config=task) for where, task in zip(directories, tasks, strict=True)]


@pytest.mark.slow
def test_workers_that_found_different_checkpoints_say_so_and_end(tmp_path):
    Run().go(tmp_path / "mine", total_steps=4)
    before = (tmp_path / "mine" / "metrics.jsonl").read_bytes()
    workers = start_two([tmp_path / "mine", tmp_path / "not_shared"])
    try:
        ended = [finish(worker) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for (code, errors), step in zip(ended, (4, 0), strict=True):
        assert code == 1 and f"checkpoints of different steps there, [0, 4], this one {step}; --model_dir" in errors
    assert (tmp_path / "mine" / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(("number", "own_code"), [(signal.SIGTERM, 42), (signal.SIGINT, 130)])
def test_a_signal_to_one_of_two_workers_saves_both_at_the_same_step_before_either_ends(number, own_code, tmp_path):
    workers = start_two([tmp_path / "run"] * 2, "--pause=0.3", "--pause_saving=2")
    try:
        wait_for_metrics(tmp_path / "run", workers[0])
        workers[1].send_signal(number)
        code, errors = finish(workers[1])
        saved_then = steps_saved(tmp_path / "run" / "checkpoints")
        chief_code, chief_errors = finish(workers[0])
    finally:
        for worker in workers:
            worker.kill()
    assert (chief_code, code) == (42, own_code), chief_errors + errors
    saved = records(tmp_path / "run")[-1]["step"]
    assert f"stopped by a signal to another process at step {saved}" in chief_errors
    assert "stopped by" not in errors  # the chief alone reports
    assert max(saved_then) == max(steps_saved(tmp_path / "run" / "checkpoints")) == saved
    assert not list((tmp_path / "run").glob(".saving-*"))


@pytest.mark.slow
def test_a_lost_worker_ends_the_other_with_43_and_both_started_again_go_on(tmp_path):
    workers = start_two([tmp_path / "run"] * 2, "--pause=0.3")
    try:
        wait_for_metrics(tmp_path / "run", workers[0])
        while not steps_saved(tmp_path / "run" / "checkpoints"):
            time.sleep(0.05)
        workers[1].kill()
        code, errors = finish(workers[0])
        assert code == WORKER_LOST == 43, errors
        assert "a worker of the cluster is lost" in errors and "ckpt-" in errors
        workers = start_two([tmp_path / "run"] * 2)
        assert [finish(worker)[0] for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    steps = [record["step"] for record in records(tmp_path / "run") if record["phase"] == "train"]
    assert steps == list(range(2, 21, 2))
