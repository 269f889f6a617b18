"""benchmarks/latency_prediction.py compares what can be compared, and says what is missing of the rest."""

import importlib
import json
import pathlib
import sys

import pytest

from autonl_tf.errors import UserError
from autonl_tf.export import timing
from autonl_tf.records import LATENCY_FORMAT
from autonl_tf.space import latency
from autonl_tf.space import space as space_lib

SPACE = space_lib.load("demo")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks"))
    return importlib.import_module("latency_prediction")


def content():
    return {
        "format": LATENCY_FORMAT,
        "device": timing.device(),
        "runtime": {"threads": 1, "warmup": 1, "runs": 5},
        "space": "demo",
        "input_image_size": 64,
        "num_label_classes": 8,
        "pieces": {key: {"median_ms": 0.1} for key in latency.pieces(SPACE, image_size=64, num_classes=8)},
        "networks": {"network_0": {"arch": [], "median_ms": 1.0}},
        "calibration": {"offset_ms": 0.0, "scale": 1.0},
    }


def test_without_a_table_it_says_how_to_make_one_and_ends_well(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["latency_prediction.py"])
    script.main()
    assert (
        "runs/profile/latency.json is not there; it is made by: python main.py --mode=profile"
        in capsys.readouterr().out
    )


def test_a_table_that_was_asked_for_and_is_not_there_is_an_error(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["latency_prediction.py", f"--table={tmp_path}/none.json"])
    with pytest.raises(SystemExit, match=r"error: .*none\.json: No such file"):
        script.main()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"device": "a phone"}, "measured on a phone, this is "),
        ({"runtime": {"name": "benchmark_model"}}, "runtime: lacks threads, warmup, runs"),
        ({"networks": {}}, "lacks the networks that calibrated it"),
        ({"calibration": None}, r"got `null` - at `\$\.calibration`"),
        ({"pieces": {"stem@64": {"median_ms": 0.1}}}, "lacks 102 of the 103 configurations"),
    ],
)
def test_a_table_it_cannot_compare_with_is_refused_before_anything_is_measured(script, tmp_path, changed, message):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(content()))
    assert script.checked(path, SPACE)[1]["device"] == timing.device()
    path.write_text(json.dumps(content() | changed))
    with pytest.raises(UserError, match=message):
        script.checked(path, SPACE)
    unfinished = content()
    del unfinished["calibration"]
    path.write_text(json.dumps(unfinished))
    with pytest.raises(UserError, match="not calibrated"):
        script.checked(path, SPACE)
