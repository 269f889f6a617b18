"""Memory is told before it is taken, refused where there is less, and batches cut into micro-batches that fit."""

import json
import pathlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from mode_cases import configure, run

from autonl_tf import host_memory
from autonl_tf.arch import presets
from autonl_tf.arch.spec import Normalization
from autonl_tf.data.datasets import open_dataset
from autonl_tf.engine.strategy import make_strategy
from autonl_tf.errors import UserError
from autonl_tf.prepare import fit_memory, inputs


@pytest.fixture
def there_is(monkeypatch):
    """there_is(gigabytes): a machine that has so much."""

    def limit(gigabytes, free=None):
        found = host_memory.Capacity(gigabytes * 1e9, (free or gigabytes) * 1e9, "this machine")
        monkeypatch.setattr(fit_memory, "_of_devices", lambda strategy: found)

    return limit


def test_a_run_that_does_not_fit_is_refused_with_one_that_does(searching, training, there_is, refused, monkeypatch):
    monkeypatch.setattr(fit_memory.peak_memory, "PROGRAM", 0)  # what is left are images of a tiny network
    monkeypatch.setattr(fit_memory.peak_memory, "GRAPH", {"search": 0, "train": 0})
    there_is(0.03)
    big = [word for word in searching if "batch_size" not in word and "image_size" not in word]
    big += ["--train_batch_size=64", "--input_image_size=128"]
    for more in ("--micro_batches=1", "--micro_batches=1 --search_warmup_share=0.5"):
        refused([*big, *more.split()], r"--train_batch_size=64: about 0\.\d GB at 128 px, and this machine has 0\.0 GB")
    there_is(0.2)
    refused([*big, "--micro_batches=1"], r"accepted: --micro_batches=\d+ \(0\.\d GB\), or auto")
    refused([*big, "--sync_batch_norm"], r"accepted: --train_batch_size=\d+$")
    there_is(1e-6)
    refused(training, r"accepted: a smaller --input_image_size, --eval_batch_size or network")


def test_auto_takes_the_fewest_micro_batches_that_fit_and_a_run_keeps_them(searching, there_is, monkeypatch, capsys):
    peak = fit_memory.peak_memory.Memory
    monkeypatch.setattr(
        fit_memory.peak_memory, "peak", lambda spec, micro_batches, **_: peak(6e9 / micro_batches, 1e9, 0, 0)
    )
    there_is(6, free=5)  # 7 GB whole, 4 GB in two micro-batches
    run(*searching)
    said = capsys.readouterr().err
    assert "memory: about 4.0 GB at the peak of the 6.0 GB of this machine" in said
    assert "with --micro_batches=2, each of 3 images: all at once would take 7.0 GB" in said
    directory = pathlib.Path(searching[-1].partition("=")[2])
    assert json.loads((directory / "config.json").read_text())["settings"]["micro_batches"] == 2
    there_is(60)  # with more memory it goes on as it began
    run(*searching)
    assert "memory: about 4.0 GB" in capsys.readouterr().err
    there_is(6, free=1)
    run(*searching)
    assert "note: only 1.0 GB of it are free now" in capsys.readouterr().err


def test_micro_batches_that_more_devices_cannot_take_over_are_refused(training, there_is, monkeypatch):
    """Of 6 images a replica in 4 parts, two would be left out of every step without a word."""
    there_is(6)
    monkeypatch.setattr(fit_memory, "_began_with", lambda model_dir: 4)
    config = configure(*training).replaced(train_batch_size=12)
    devices = SimpleNamespace(num_replicas_in_sync=2, extended=SimpleNamespace(worker_devices=["/cpu:0", "/cpu:1"]))
    with pytest.raises(UserError, match=r"does not divide the 6 images of a replica .* goes on with fewer"):
        fit_memory.fitted(config, devices, presets.load(config.arch))


def test_statistics_are_measured_in_micro_batches_of_the_same_images(training):
    config = configure(*training).replaced(train_batch_size=6, recalibrate_batches=2, crop_padding=0)
    dataset, pixels = open_dataset(config.dataset), {"image_size": 8, "crop_padding": 0}
    taken = []
    for count in (1, 3):
        batches = inputs.measuring_input(
            config.replaced(micro_batches=count), make_strategy("cpu"), dataset, normalization=Normalization(), **pixels
        )
        taken.append([images.numpy() for images, _ in batches])
    assert [images.shape[0] for of in taken for images in of] == [6] * 2 + [2] * 6
    np.testing.assert_array_equal(np.concatenate(taken[0]), np.concatenate(taken[1]))


def test_what_a_network_takes_is_told_at_its_scaled_filters(training, there_is, refused, monkeypatch):
    peak, specs = fit_memory.peak_memory.peak, []
    monkeypatch.setattr(fit_memory.peak_memory, "peak", lambda spec, **how: specs.append(spec) or peak(spec, **how))
    there_is(1e-6)
    refused([*training, "--depth_multiplier=2"], r"accepted: a smaller")
    assert specs[0].stem_filters == 64


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "3000", "a/memory.current": "2500"}, (3000, 1500)),
        ("0::/\n", {"memory.max": "4000", "memory.current": "1000"}, (4000, 4000)),
        (
            "4:cpu,memory:/x\n0::/\n",
            {
                "memory/x/memory.limit_in_bytes": "2000",
                "memory/x/memory.usage_in_bytes": "1500",
                "memory/memory.limit_in_bytes": str(2**63 - 4096),
            },
            (2000, 1500),
        ),
        (
            "4:memory:/gone\n",
            {"memory/memory.limit_in_bytes": "2000", "memory/memory.usage_in_bytes": "1"},
            (2000, 2000),
        ),
        ("0::/a\n", {"a/memory.max": "max"}, None),
        ("", {}, None),
    ],
)
def test_the_limit_of_a_container_is_found(lines, files, expected, tmp_path, monkeypatch):
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
        (path.parent / "memory.stat").write_text("inactive_file 1000\ntotal_inactive_file 1000\n")
    (tmp_path / "own").write_text(lines)
    monkeypatch.setattr(host_memory, "_PROC", tmp_path / "own")
    monkeypatch.setattr(host_memory, "_CGROUPS", tmp_path / "groups")
    found = host_memory.there_is()
    if expected is None:
        assert found.owner == "this machine" and found.total > 1e8
    else:
        assert (found.total, found.free) == expected and "container" in found.owner


@pytest.mark.slow
def test_an_estimate_is_near_what_is_taken():
    # A process of its own: a process counts its starter's peak as its own, and that of the tests is several gigabytes.
    benchmark = pathlib.Path(__file__).resolve().parents[2] / "benchmarks/memory.py"
    case = "search, CIFAR-10's space, 32 px, batch 256"
    said = subprocess.run([sys.executable, benchmark, f"--case={case}"], capture_output=True, text=True, check=True)
    row = json.loads(said.stdout.splitlines()[-1])[case]
    assert 0.7 < row["estimated_gb"] / row["measured_gb"] < 1.4


def test_micro_batches_of_large_maps_take_several_steps_in_one_call(searching, tmp_path):
    """TensorFlow's memory optimizer sums large gradients elsewhere, which fails in a loop within a loop."""
    words = [word for word in searching if "batch_size" not in word and "image_size" not in word]
    run(*words, "--input_image_size=256", "--train_batch_size=32", "--micro_batches=2", "--steps_per_loop=2")
    last = json.loads((tmp_path / "run" / "search.json").read_text())["trajectory"][-1]
    assert last["step"] == 2
