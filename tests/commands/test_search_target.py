"""`--target_macs` by command line: hit, told, resumed exactly, and refused where no member can have it."""

import json
import pathlib
import shutil

import pytest
from absl import flags
from mode_cases import class_folder, configure, tree, write_space

from autonl_tf.commands.search import run as search
from autonl_tf.errors import UserError
from autonl_tf.prepare import defaults, rates
from autonl_tf.search import measured
from autonl_tf.settings.next_commands import beside as beside_of

STEPS = 12


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("target")
    class_folder(root / "pictures", {"train": 4})
    write_space(root / "space.json")
    return root


def run(home, name, target, *more):
    words = (
        *("--mode=search", f"--search_space={home}/space.json", f"--dataset=folder:{home}/pictures"),
        *("--input_image_size=32", "--train_batch_size=6", "--steps_per_loop=3", f"--train_steps={STEPS}"),
        *("--save_every_steps=4", "--threshold_travel=0.5"),
        *(f"--target_macs={target}", f"--model_dir={home}/{name}", *more),
    )
    search.run(configure(*words))
    return json.loads((home / name / "search.json").read_text())


@pytest.fixture(scope="module")
def reach(home):
    """The range that the refusal of an absurd target names, in MACs."""
    before = tree(home)
    with pytest.raises(UserError, match="out of this space's reach") as refusal:
        run(home, "absurd", "350G")
    assert tree(home) == before
    low, high = str(refusal.value).rpartition("accepted: ")[2].split(" to ")
    return float(low[:-1]) * 1e6, float(high[:-1]) * 1e6


@pytest.fixture(scope="module")
def found(home, reach):
    return run(home, "whole", f"{(reach[0] * reach[1]) ** 0.5 / 1e6:.4f}M")


def test_the_target_is_hit_and_the_way_there_is_told(found, reach, capsys):
    budget = found["budget"]
    assert budget["cost"] == "macs"
    assert -0.1 <= budget["error"] <= 0.01
    assert budget["found"] == found["macs"] == sum(budget["per_block"]) + budget["stem_and_head"]
    assert (budget["cheapest"], budget["dearest"]) == pytest.approx(reach, abs=1e3)
    # Thresholds may not move far enough for the search itself to get there.
    assert budget["flips"] and not budget["converged"]
    assert [gate["name"] for gate in found["gates"] if gate["flipped"]] == budget["flips"]


def test_a_killed_search_for_a_target_goes_on_exactly(home, found, capsys):
    shutil.copytree(home / "whole", home / "killed")
    for step in (STEPS, 11, 8):  # as a kill between two checkpoints, before decisions were flipped, left it
        for path in (home / "killed" / "checkpoints").glob(f"ckpt-{step}.*"):
            path.unlink()
    for name in ("arch.txt", "search.json"):
        (home / "killed" / name).unlink()
    again = run(home, "killed", f"{found['budget']['target'] / 1e6:.4f}M")
    assert "before flips" in capsys.readouterr().out
    for name in ("arch", "gates", "budget", "trajectory"):
        assert again[name] == found[name], name
    metrics = [(home / name / "metrics.jsonl").read_text() for name in ("whole", "killed")]
    assert metrics[0] == metrics[1]


def test_what_is_not_seen_to_gain_is_closed_told_and_never_flipped_open(home, reach, monkeypatch, capsys):
    """Nothing gains here: the target, all but the dearest network's cost, is met without LightNL as well as may be."""
    seen = []

    def measured_gains(strategy, supernet, model, gates, multiplier, batches, **how):
        seen.append((gates, len(batches), how))
        return [measured.Gain(gate, gain=-0.5, error=0.25, price=0.125) for gate in gates]

    monkeypatch.setattr(measured, "measured_gains", measured_gains)
    found = run(home, "useless", f"{0.99 * reach[1] / 1e6:.4f}M", "--threshold_travel=0.01")
    ((gates, batches, how),) = seen
    assert gates and batches == 1 and how == {"micro_batches": 1, "held_out": False}
    assert not any("nonlocal" in line or "se0" in line for line in found["arch"])
    told = [gate for gate in found["gates"] if gate["measured"]]
    assert len(told) == len(gates)
    assert all(gate["closed"] and gate["margin"] >= 0 and not gate["flipped"] for gate in told)
    assert told[0]["measured"] == {"gain": -0.5, "error": 0.25, "price": 0.125}
    assert found["decisions"]["measured_images"] == 6
    said = "on 6 images; closed, since not seen to gain their price: "
    assert said + ", ".join(gate["name"] for gate in told) in capsys.readouterr().out.replace(" (found: block0)", "")
    again = run(home, "useless", f"{0.99 * reach[1] / 1e6:.4f}M", "--threshold_travel=0.01")  # from its records
    assert again["gates"] == found["gates"] and len(seen) == 1


@pytest.mark.parametrize("text", ["0", "-3M", "350X", "M", "1e400"])
def test_a_target_that_is_no_amount_is_refused(text):
    with pytest.raises((flags.IllegalFlagValueError, UserError), match="target_macs"):
        configure("--mode=search", "--dataset=demo", "--model_dir=x", f"--target_macs={text}")


@pytest.mark.parametrize(("text", "value"), [("350e6", 350e6), ("350M", 350e6), ("0.35G", 350e6), ("350000k", 350e6)])
def test_a_target_may_be_written_in_every_usual_way(text, value):
    config = configure("--mode=search", "--dataset=demo", "--model_dir=x", f"--target_macs={text}")
    assert config.target_macs == value


def test_thresholds_on_held_out_images_are_not_trained_in_float16():
    words = ("--mode=search", "--dataset=demo", "--model_dir=x", "--search_split=0.5")
    with pytest.raises(UserError, match=r"--search_split does not go with --precision=float16: .*float32, bfloat16"):
        configure(*words, "--precision=float16")
    for given in ((*words, "--precision=bfloat16"), (*words[:3], "--precision=float16")):
        assert configure(*given).mode == "search"


def test_a_search_on_held_out_images_logs_their_cross_entropy_and_refuses_an_empty_part(home):
    found = run(home, "split", "0.56M", "--search_split=0.5")
    assert len(found["trajectory"]) >= 4
    lines = [json.loads(line) for line in (home / "split" / "metrics.jsonl").read_text().splitlines()]
    assert all(line["values"]["held_out_cross_entropy"] > 0 for line in lines)
    with pytest.raises(UserError, match="leaves a part without any"):
        run(home, "empty", "0.56M", "--search_split=0.01")


@pytest.mark.parametrize(
    ("given", "beside"), [("runs/search", "runs/search_train"), (".", "./train"), ("..", "../train")]
)
def test_the_training_of_what_was_found_goes_beside_it_or_below_a_directory_without_a_name(given, beside):
    assert beside_of(pathlib.Path(given), "train") == beside


@pytest.mark.parametrize(
    ("given", "steps", "expected"),
    [
        ((), 770, 192),
        ((), 10_000, 200),
        ((), 12, 3),
        (("--lr_warmup_steps=0",), 770, 0),
        (("--lr_warmup_steps=31",), 770, 31),
        (("--lr_warmup_epochs=0.5",), 770, 55),
    ],
)
def test_a_searchs_learning_rate_warms_up_by_steps_however_small_the_set(given, steps, expected):
    words = ("--train_batch_size=128", f"--train_steps={steps}")
    config = configure("--mode=search", "--dataset=demo", "--model_dir=x", *words, *given)
    config = defaults.completed(config, 14_080)
    rate = rates.weights_optimizer(config, rates.length_of(config, 14_080))._learning_rate
    assert rate.warmup_steps == expected


def test_a_warm_up_in_steps_and_in_epochs_is_refused():
    with pytest.raises(UserError, match="--lr_warmup_steps and --lr_warmup_epochs are both given"):
        configure("--mode=search", "--dataset=demo", "--model_dir=x", "--lr_warmup_steps=1", "--lr_warmup_epochs=1")
