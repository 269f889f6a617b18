"""The benchmarks of bad days count and compare what they say, and report what hangs."""

import argparse
import importlib
import json
import pathlib
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from autonl_tf.data.demo_scene import COLOURS
from autonl_tf.errors import UserError
from autonl_tf.space import space as space_lib

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


def member(top1, macs, params):
    return {"top1": [top1], "macs": macs, "params": params, "synflow": float(params)}


def test_regret_is_against_the_best_member_that_the_budget_allows(imported):
    regrets = imported("search_evidence").regrets
    members = [member(0.5, 10, 1), member(0.7, 20, 3), member(0.6, 20, 4), member(0.9, 30, 9)]
    row = regrets(members, 25, [members[1], members[0]], [members[0]], cost=3.2)
    assert (row["members"], row["best"], row["ranks"]) == (3, 0.7, [1, 3])
    assert row["found"] == pytest.approx([0, 20]) and row["params"] == row["synflow"] == pytest.approx(10)
    assert row["uniform"] == pytest.approx([20]) and row["random_member"] == pytest.approx(10)
    assert row["random_search"] == {"trainings": 3, "regret": pytest.approx(0)}
    # One of three draws of two members lacks the best, and takes the second best.
    assert regrets(members, 25, [], [], cost=2.0)["random_search"]["regret"] == pytest.approx(10 / 3, abs=0.2)


def trained(*top1, arch=None):
    return {"arch": [arch or str(top1)], "top1": list(top1)}


def test_a_found_network_beats_others_only_by_more_than_two_errors_of_the_difference(imported):
    against = imported("search_evidence").against
    found = [trained(score) for score in (0.70, 0.72, 0.74)]  # 0.72, its standard error 0.0115
    rows = {"found": found, "uniform": [trained(0.69, 0.69)], "random": [trained(0.71), trained(0.71)]}
    said = against(rows, [*rows["uniform"], *rows["random"]])
    assert json.loads(json.dumps(said)) == said
    assert said["beats_best_uniform"] and not said["beats_random_90th"]
    assert said["found_error"] == pytest.approx(0.02 / 3**0.5) and said["better_networks"] == 0
    assert said["training_noise"] == said["best_uniform_error"] == said["random_90th_error"] == 0


def test_networks_that_agree_by_chance_or_are_the_same_have_the_noise_of_their_trainings(imported):
    against = imported("search_evidence").against
    found = [trained(0.71, 0.73, arch="one"), trained(0.71, 0.73, arch="one"), trained(0.70, 0.74)]
    rows = {"found": found, "uniform": [trained(0.69, 0.71)], "random": [trained(0.6, 0.6), trained(0.7, 0.7)]}
    said = against(rows, [*rows["uniform"], *rows["random"]])
    # Six networks of two seeds; four different trainings were found.
    assert said["training_noise"] == pytest.approx(((3 * 0.02**2 + 0.04**2) / 2 / 6) ** 0.5)
    assert said["found_error"] == pytest.approx(said["training_noise"] / 2)
    assert said["best_uniform_error"] == pytest.approx(said["training_noise"] / 2**0.5)
    assert said["random_90th_error"] > 0.02
    assert not said["beats_best_uniform"] and not said["beats_random_90th"]
    drawn = imported("search_evidence").table({"rank": [{"target": 1e6, **said}]})
    assert "have 72.00% (standard error 0.76)" in drawn
    assert "not shown to be above the best uniform network, 70.00% (standard error 1.08)" in drawn


@pytest.mark.parametrize(("found", "uniform"), [([(0.9, 0.9)], (0.5, 0.5)), ([(0.9,), (0.9,)], (0.5,))])
def test_one_search_or_one_seed_of_everything_beats_nothing(imported, found, uniform):
    rows = {"found": [trained(*one) for one in found], "uniform": [trained(*uniform)], "random": []}
    said = imported("search_evidence").against(rows, rows["uniform"])
    assert not said["beats_best_uniform"] and None in (said["found_error"], said["best_uniform_error"])
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert "(standard error not known)" in imported("search_evidence").table({"rank": [{"target": 1e6, **said}]})


def test_how_firm_a_decision_is_counts_the_other_seeds_that_decide_otherwise(imported):
    def gates(*margins, **told):
        return [{"margin": margin, "counts": True, "closed": False} | told for margin in margins]

    module = imported("search_evidence")
    rows = module.other_seeds([gates(0.1, 0.6), gates(-0.1, 0.7), gates(0.2, -2.0)])
    assert [(row["from"], row["below"], row["pairs"]) for row in rows] == [(0, 0.25, 6), (0.5, 1.0, 4), (1.0, 3.0, 2)]
    np.testing.assert_allclose([row["share"] for row in rows], [4 / 6, 2 / 4, 2 / 2])
    assert "| 0.5 to 1 | 4 | 50% |" in module.table({"rank": [{"target": 1e6, "other_seeds": rows}]})
    for without in ({"counts": False}, {"closed": True}):
        assert module.other_seeds([gates(0.1), gates(-0.1, **without)]) == []
    assert module.other_seeds([gates(0.1)]) == []


def test_found_and_other_networks_are_drawn(imported, tmp_path):
    module = imported("search_evidence")
    bench = argparse.Namespace(options=argparse.Namespace(dataset="folder:photos"), work=tmp_path)
    rows = {"found": [{"macs": 2e6, "top1": [0.5, 0.6]}], "uniform": [{"macs": 2e6, "top1": [0.4]}], "random": []}
    targets = {"targets": [{"found_networks": rows["found"]}], "members": rows["uniform"]}
    module.draw(bench, {"rank": [{"target": 2e6} | rows], "truth": targets})
    for name in ("rank", "truth"):
        assert np.std(Image.open(tmp_path / f"{name}.png")) > 5


def test_what_light_nl_gives_is_told_of_the_found_networks_that_have_it(imported):
    gains = imported("search_evidence").gains
    stem = ["r1_k3_s22_e1_i32_o16_noskip"]
    with_it, without = [*stem, "r1_k5_s11_e3_i16_o16_nonlocal0.25-1"], [*stem, "r1_k5_s11_e3_i16_o16"]
    row = {"found": [{"arch": with_it, "top1": [0.7, 0.8, 0.9]}, {"arch": without, "top1": [0.5, 0.5, 0.5]}]}
    row["found without LightNL"] = [{"arch": without, "top1": [0.7, 0.7, 0.7]}]
    assert gains(row) == [{"arch": with_it, "mean": pytest.approx(0.1), "error": pytest.approx(0.1 / 3**0.5)}]


@pytest.mark.parametrize("name", ["cifar10", "demo"])
def test_contenders_are_members_of_about_so_many_macs(imported, name):
    space = space_lib.load(name)
    contenders = imported("support.contenders").Contenders(space, 64, 8, tolerance=0.1)
    macs = contenders.cost(space.largest()).macs * 0.6
    uniform, random_ = contenders.uniform(macs, 3), contenders.random(macs, 5, 0, squeeze_excite=False)
    assert uniform and len(random_) == len({spec.canonical() for spec in random_}) == 5
    for spec in (*uniform, *random_):
        assert space.contains(spec) and abs(contenders.cost(spec).macs / macs - 1) <= 0.1
        assert not any(block.se_ratio for block in spec.blocks)
    for spec in uniform:
        searched = spec.blocks[1:]
        assert len({block.kernels for block in searched}) == len({block.expansion for block in searched}) == 1
        assert not any(block.nonlocal_ for block in searched)


def test_every_member_of_a_small_space_comes_once(imported):
    entries = [{"block": "r1_k3_s22_e6_i32_o16"}, {"block": "r1_k3_s11_e6_i16_o16", "kernels": [3]}]
    content = {"candidates": {"kernels": [3, 5], "expansions": [3, 6], "se_ratios": [0.25]}, "blocks": entries}
    entries[0]["block"] = "r1_k5_s22_e6_i32_o16"
    space = space_lib.parse(content, "small")
    make = imported("support.contenders").Contenders
    members = make(space, 64, 8, 0.1).every()
    assert len(members) == len({spec.canonical() for spec in members}) == space.count() == 8 * 5
    assert all(map(space.contains, members))
    with pytest.raises(ValueError, match="accepted: at most"):
        make(space_lib.load("paper"), 224, 1000, 0.1).every()


def evidence(module, work, *words):
    """The Bench of a command line of search_evidence.py on a space of the built-in data."""
    options = {"dataset": "demo", "search_space": "demo", "image_size": 64, "classes": 8, "tolerance": 0.05, "jobs": 1}
    options |= {"work": str(work), "targets": None, "minutes": 1.0, "search_flags": "", "train_flags": ""}
    return module.Bench(argparse.Namespace(**options | dict(words)))


def test_runs_of_other_settings_are_not_taken_for_these(imported, tmp_path):
    module = imported("search_evidence")
    for _ in range(2):
        evidence(module, tmp_path / "work", ("minutes", 2.0), ("jobs", 2))
    with pytest.raises(UserError, match=r"--work=.*/work: holds runs with another --train_flags"):
        evidence(module, tmp_path / "work", ("train_flags", "--train_steps=3"))
    with pytest.raises(UserError, match=r"--targets=1M: out of this space's reach"):
        evidence(module, tmp_path / "none", ("targets", [1e6]))
    assert not (tmp_path / "none").exists()


def test_behind_a_failure_no_command_is_begun_and_what_was_done_is_told(imported, tmp_path):
    module = imported("search_evidence")
    bench, begun = evidence(module, tmp_path / "work"), []

    def train(spec, seed):
        begun.append(seed)
        if seed == 1:
            raise module.Stopped("it failed")
        return {"top1": 0.5, "minutes": 1.0}

    bench.train, rows = train, []
    with pytest.raises(module.Stopped, match="it failed"):
        bench.trained([bench.networks.space.largest()], 9, rows)
    assert begun == [0, 1] and [row["top1"] for row in rows] == [[0.5]]


def test_a_uniform_network_keeps_a_block_that_lacks_its_expansion(imported):
    entries = [{"block": "r1_k3_s22_e6_i32_o16"}, {"block": "r1_k3_s11_e6_i16_o16", "expansions": [6]}]
    space = space_lib.parse({"candidates": {"kernels": [3], "expansions": [3, 6]}, "blocks": entries}, "small")
    contenders = imported("support.contenders").Contenders(space, 64, 8, 10.0)
    uniform = contenders.uniform(contenders.cost(space.largest()).macs, 9)
    assert {tuple(block.expansion for block in spec.blocks) for spec in uniform} == {(3,), (6,), (3, 6), (6, 6)}


def test_classes_that_the_data_has_not_are_refused_before_a_search(imported, monkeypatch, tmp_path, capsys):
    module = imported("search_evidence")
    words = ["--classes=9", f"--work={tmp_path / 'work'}"]
    monkeypatch.setattr(module.sys, "argv", ["search_evidence.py", *words])
    with pytest.raises(SystemExit, match="2"):
        module.main()
    assert "--classes=9: demo has 8" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


TURNED_OFF = """
import json, sys
sys.path.insert(0, sys.argv[1])
from support import without

places = [without.supernet, without.objective, without.multiplier, without.search, without.superkernel, without.gated]
places += [without.supernet.Supernet, without.supernet.SuperBlock, without.superkernel.SuperkernelDepthwiseConv2D]
places += [without.gated.GatedSqueezeExcite, without.gated.GatedLightNL, without.measured]
start = without.supernet.Supernet.__init__.__kwdefaults__

def state():
    return {(place.__name__, name): id(value) for place in places for name, value in vars(place).items()} | {
        "start": start["start_margin"]
    }

said = {}
for name, turn_off in without.DEVIATIONS.items():
    before = state()
    turn_off()
    after = state()
    said[name] = [sorted(map(str, after.keys() ^ before.keys())), sum(after[key] != before[key] for key in before)]
print(json.dumps(said))
"""


def test_each_deviation_that_is_turned_off_replaces_something_that_the_search_has():
    run = subprocess.run([sys.executable, "-c", TURNED_OFF, str(BENCHMARKS)], capture_output=True, check=True)
    said = json.loads(run.stdout)
    assert len(said) == 14
    for name, (added, replaced) in said.items():
        assert not added and replaced, name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--without=settling"], "--without is of the part deviations"),
        (["--parts=deviations", "--without=nothing"], "--without: no nothing; accepted: relative_values"),
        (["--parts=deviations,truth", "--dataset=tfds:cifar10"], "deviations come behind truth"),
    ],
)
def test_deviations_that_cannot_be_tried_are_refused_before_a_search(
    imported, tmp_path, monkeypatch, capsys, words, said
):
    given = ["--search_space=demo", "--image_size=64", "--classes=8", f"--work={tmp_path / 'work'}", *words]
    monkeypatch.setattr(sys, "argv", ["search_evidence.py", *given])
    with pytest.raises(SystemExit) as end:
        imported("search_evidence").main()
    assert end.value.code == 2 and said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "work").exists()


def test_a_deviation_is_a_row_for_each_kind_of_search(imported):
    rows = [
        {"macs": 382784, "blocks": 2, "with_light_nl": 1, "cross_entropy": 1.5, "regret": lost} for lost in (1.28, 0.0)
    ]
    said = imported("search_evidence").table({"deviations": {"settling": {"search_400000": rows}}})
    assert said.splitlines()[-1] == (
        "| settling | search_400000 |  | 1.28, 0.00 | 1 of 2, 1 of 2 | 0.383M, 0.383M | 1.500, 1.500 |"
    )


def test_behind_rank_what_is_found_without_a_deviation_is_trained_and_set_beside_the_same_seeds(imported, tmp_path):
    module = imported("search_evidence")
    aims = ("dataset", "folder:photos"), ("targets", [12e6])
    seeds = ("without", ["settling"]), ("search_seeds", 2), ("train_seeds", 2)
    bench = evidence(module, tmp_path / "work", *aims, *seeds)
    networks = dict(zip(("first", "second"), bench.networks.random(12e6, 2, 0), strict=True))
    searched = []

    def search(name, seed, *words, without=None):
        searched.append((name, seed, words, without))
        spec = networks["second" if without and seed else "first"]
        found = {"arch": module.blockstring.write(spec).splitlines(), "macs": 12e6, "gates": [], "minutes": 1.0}
        return found | {"trajectory": [{"cross_entropy": 1.5}]}

    def train(spec, seed):
        return {"top1": (0.5 if spec == networks["second"] else 0.6) + 0.1 * seed, "minutes": 1.0}

    bench.search, bench.train, result = search, train, {"rank": []}
    module.deviations(bench, result)
    aim = ("--target_macs=12000000",)
    assert searched == [
        (name + str(seed), seed, aim, without)
        for name, without in (("search_12000000_", None), ("without_settling_search_12000000_", "settling"))
        for seed in (0, 1)
    ]
    means = {
        name: [np.mean(row["top1"]) for row in aims["search_12000000"]] for name, aims in result["deviations"].items()
    }
    assert means == {"nothing": pytest.approx([0.65, 0.65]), "settling": pytest.approx([0.65, 0.55])}
    assert result["without_it_lose"] == {
        "settling": {"search_12000000": {"mean": pytest.approx(5), "error": pytest.approx(5)}}
    }
    said = module.table(result).splitlines()
    assert any(line.startswith("| settling | search_12000000 | 65.00, 55.00 |  |") for line in said)
    assert said[-1] == "Without settling, search_12000000 loses +5.00 points (standard error 5.00)."


@pytest.mark.parametrize("label", [0, 2])
def test_the_photograph_in_the_frame_of_the_marks_colour_is_the_labels(imported, label):
    marked = imported("support.marked_photographs")
    photographs = [np.full((2, 20, 20, 3), 200 + number, np.uint8) for number in range(3)]
    picture = marked.picture(np.random.default_rng(7), photographs, label)
    colours = np.array(COLOURS)

    def colour_of(pixels):  # the nearest of the set's
        return int(np.argmin(np.abs(pixels.reshape(-1, 3).mean(0) - colours).sum(1)))

    rows, columns = np.nonzero((picture == 200 + label).all(-1))
    top, left = rows.min(), columns.min()
    assert len(rows) == 20 * 20 and (rows.max(), columns.max()) == (top + 19, left + 19)
    scene = marked.scene_of(np.random.default_rng(7), len(photographs), label)
    cue = scene.cue_centre
    frame = picture[top - 3 : top, left : left + 20]
    assert colour_of(frame) == colour_of(picture[cue[0] - 2 : cue[0] + 2, cue[1] - 2 : cue[1] + 2]) == scene.cue_colour
    others = [number for number in range(3) if number != label and (picture == 200 + number).all(-1).sum() == 400]
    assert len(others) == 1


def test_marked_photographs_that_cannot_be_made_are_one_line_and_leave_nothing(imported, tmp_path, monkeypatch, capsys):
    marked = imported("support.marked_photographs")
    for split in ("train", "val"):
        for name in ("ant", "bee"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            marked.Image.new("RGB", (30, 24)).save(tmp_path / "photos" / split / name / "one.jpg")
    (tmp_path / "photos/val/bee/one.jpg").write_bytes(b"no image")
    for photographs, said in (("photos", "bee/one.jpg: cannot be decoded"), ("nosuch", "no such directory")):
        words = ["marked", f"--photographs={tmp_path / photographs}", f"--output={tmp_path / 'made'}", "--train=2"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            marked.main()
        assert end.value.code == 2 and said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
