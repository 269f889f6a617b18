"""The benchmarks of bad days count and compare what they say, and report what hangs."""

import argparse
import importlib
import json
import pathlib
import random
import signal
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def imported(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def result(directory, **changed):
    directory.mkdir()
    command = f"python main.py --mode=train --arch={directory}/arch.txt"
    content = {"macs": 7, "settings": {"model_dir": str(directory), "seed": 0}, "next": [command]} | changed
    (directory / "search.json").write_text(json.dumps(content))
    return directory


def test_two_searches_differ_in_their_results_not_in_where_they_lie(imported, tmp_path):
    differences = imported("kill_resume").differences
    first, second = result(tmp_path / "a"), result(tmp_path / "b")
    assert differences(first, second) == (0, [])
    assert differences(first, result(tmp_path / "c", macs=8)) == (0, ["search.json"])


def test_the_epoch_that_reaches_a_score_is_the_first_one(imported):
    reached = imported("search_weights").reached
    assert (reached([0.2, 0.5, 0.4], 0.45), reached([0.2], 0.2), reached([0.2, 0.3], 0.4)) == (2, 1, None)


class LeftBySave:
    """A run directory in which the kill before this one has left part of a save."""

    directory, pid = "run", None

    def __init__(self, code=-signal.SIGKILL):
        self.code = code

    def start(self):
        return self

    def kill(self):
        pass

    def ended(self, process):
        return self.code

    def saving(self):
        return ["ckpt-3.data-00000-of-00001"]

    def log(self):
        return "why"


def test_a_kill_while_starting_does_not_count_as_one_inside_a_save(imported):
    kill_once = imported("kill_resume").kill_once
    assert kill_once(LeftBySave(), "start", random.Random(0), 0.0) == "start"


def test_a_run_that_fails_by_itself_does_not_count_as_killed(imported):
    kill_once = imported("kill_resume").kill_once
    with pytest.raises(SystemExit, match="ended by itself with code 2"):
        kill_once(LeftBySave(2), "start", random.Random(0), 0.0)


def test_a_fuzz_target_that_hangs_is_a_failure_and_not_the_end(imported, capsys):
    one_target = imported("fuzz_readers").one_target
    command = [sys.executable, "-c", "import sys, time; print('busy', file=sys.stderr, flush=True); time.sleep(60)"]
    result = one_target(command, {}, argparse.Namespace(minutes=0, grace=2.0))
    assert result["exit_code"] == -1
    said = capsys.readouterr().err
    assert "busy" in said and "no end after 2 s" in said


@pytest.mark.parametrize("name", ["blocks", "space", "table", "checkpoint", "release", "port", "serving"])
def test_a_fuzz_target_makes_its_whole_files(name, imported, tmp_path):
    target = getattr(importlib.import_module(imported("fuzz_readers").TARGETS[name]), name)(tmp_path)
    assert callable(target.check)


@pytest.mark.parametrize(("script", "flag"), [("kill_resume", "modes"), ("fuzz_readers", "targets")])
def test_an_unknown_name_is_told_before_any_work(script, flag, imported, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, f"--{flag}=nothing"])
    with pytest.raises(SystemExit, match="2"):
        imported(script).main()
    assert "nothing unknown; accepted: " in capsys.readouterr().err


def test_an_op_counts_for_the_family_of_its_kind_in_whatever_form_it_comes(imported):
    family = imported("train_throughput").family
    kinds = {
        "convolutions": ("Conv2D", "_FusedConv2D", "_MklNativeFusedConv2D"),
        "convolutions, gradients of kernels": ("Conv2DBackpropFilter", "_MklNativeConv2DBackpropFilterWithBias"),
        "depthwise convolutions": ("DepthwiseConv2dNative", "_MklNativeDepthwiseConv2dNative"),
        "depthwise convolutions, gradients of inputs": ("_MklNativeDepthwiseConv2dNativeBackpropInput",),
        "batch norm": ("FusedBatchNormV3", "_MklNativeFusedBatchNormV3"),
        "batch norm, gradients": ("FusedBatchNormGradV3", "_MklNativeFusedBatchNormGradV3"),
        "activations and their gradients": ("_MklSwish", "SigmoidGrad"),
        "matrix products": ("BatchMatMulV2", "_MklNativeMatMul"),
        "reads and updates of variables": ("ReadVariableOp", "ResourceApplyRMSProp", "AssignSubVariableOp"),
        "everything else": ("NoSuchOp",),
    }
    assert {kind: family(kind) for row in kinds.values() for kind in row} == {
        kind: name for name, row in kinds.items() for kind in row
    }
