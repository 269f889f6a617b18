"""`--mode=profile` end to end on a space of a few pieces: here, on a pretended phone, resumed, and in a search."""

import itertools
import json
import os
import shlex
import shutil
import stat
import subprocess

import pytest
from damage import NO_JSON, check_documented, damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mode_cases import class_folder, configure, write_space

from autonl_tf.commands.profile import run as profile
from autonl_tf.commands.search import run as search
from autonl_tf.errors import UserError
from autonl_tf.export.timing import measure, parse_benchmark_output
from autonl_tf.space import latency
from autonl_tf.space import space as space_lib

CANDIDATES = {
    "kernels": [3],
    "expansions": [2],
    "se_ratios": [],
    "nonlocal_ratios": [0.25],
    "nonlocal_strides": [1],
}
BLOCKS = [
    {"block": "r1_k3_s22_e1_i32_o8_noskip", "searchable": False},
    {"block": "r1_k3_s22_e2_i8_o12"},
    {"block": "r1_k3_s11_e2_i12_o12"},
]
KEYS = {
    "stem@32",
    "head_i12_c3@4",
    "r1_k3_s22_e1_i32_o8_noskip@16",
    *(f"r1_k3_s22_e2_i8_o12{light}@8" for light in ("", "_nonlocal0.25-1")),
    *(f"r1_k3_s11_e2_i12_o12{light}@4" for light in ("", "_nonlocal0.25-1")),
}
# As the binary prints it: its warm-up first, then the steady state.
PRINTED = """\
INFO: Initialized TensorFlow Lite runtime.
count=28 first=18741 curr=17519 min=17466 max=18741 avg=17713.9 std=262
count=50 first=2000 curr=2100 min=1900 max=2600 avg=2050.5 std=31{more}
Inference timings in us: Init: 10, First inference: 18741, Warmup (avg): 17713.9, Inference (avg): 2050.5
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("profile")
    write_space(root / "space.json", candidates=CANDIDATES, blocks=BLOCKS)
    return root


def words(home, *more):
    return (
        *("--mode=profile", f"--search_space={home}/space.json", "--input_image_size=32", "--num_label_classes=3"),
        *("--profile_runs=5", "--profile_networks=3", f"--model_dir={home}/profile", *more),
    )


@pytest.fixture(scope="module")
def table(home):
    profile.run(configure(*words(home)))
    return json.loads((home / "profile" / "latency.json").read_text())


def test_the_table_has_every_piece_with_its_spread_and_names_device_runtime_and_versions(table):
    assert set(table["pieces"]) == KEYS
    for value in table["pieces"].values():
        assert 0 < value["p5_ms"] <= value["median_ms"] <= value["p95_ms"]
        assert value["runs"] == 5
    assert table["device"]
    assert table["runtime"]["delegate"] == "XNNPACK"
    assert table["runtime"]["threads"] == 1
    assert table["versions"]["tensorflow"]
    assert len(table["networks"]) == table["calibration"]["networks"] == 3
    assert len({tuple(network["arch"]) for network in table["networks"].values()}) == 3


@pytest.mark.parametrize("changed", [("--seed=9",), ("--input_image_size=64",), ("--num_label_classes=4",)])
def test_networks_measured_for_another_seed_size_or_classes_are_never_taken_for_these(home, table, changed):
    shared = profile.Work(configure(*words(home)), home).networks
    found = profile.Work(configure(*words(home, *changed)), home).networks
    assert all(found[key] == shared[key] for key in found.keys() & shared.keys())
    if not changed[0].startswith("--seed"):  # another seed may draw a network again, which then takes the same time
        assert not found.keys() & shared.keys()


def test_after_the_space_file_was_edited_no_stale_network_calibrates(home, table, tmp_path):
    shutil.copytree(home / "profile", tmp_path / "profile")
    edited = [*BLOCKS[:2], {"block": "r1_k3_s11_e2_i12_o16"}]
    write_space(home / "space.json", candidates=CANDIDATES, blocks=edited)
    try:
        profile.run(configure(*words(home, f"--model_dir={tmp_path}/profile")))
    finally:
        write_space(home / "space.json", candidates=CANDIDATES, blocks=BLOCKS)
    again = json.loads((tmp_path / "profile" / "latency.json").read_text())
    assert not again["networks"].keys() & table["networks"].keys()
    assert all("o16" in network["arch"][-1] for network in again["networks"].values())
    shared = again["pieces"].keys() & table["pieces"].keys()
    assert "stem@32" in shared and all(again["pieces"][key] == table["pieces"][key] for key in shared)
    assert again["calibration"]["networks"] == len(again["networks"]) == 3


def test_a_start_after_a_kill_measures_what_is_missing_alone(home, table, capsys):
    path = home / "profile" / "latency.json"
    cut = json.loads(path.read_text())
    gone = sorted(cut["pieces"])[0]
    del cut["pieces"][gone], cut["calibration"]
    path.write_text(json.dumps(cut))
    profile.run(configure(*words(home)))
    again = json.loads(path.read_text())
    assert set(again["pieces"]) == KEYS
    assert {key: value for key, value in again["pieces"].items() if key != gone} == cut["pieces"]
    assert f"10 of 10: {gone}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("edit", "culprit"),
    [
        ({"device": "another"}, r"measured with device another, now .*choose another --model_dir"),
        ({"networks": []}, "Expected `object`, got `array` - at `.*networks"),
        ({"networks": {"network_1": {"median_ms": "fast"}}}, "Expected `float`, got `str` - at `.*networks.*median_ms"),
    ],
)
def test_a_table_of_another_device_or_a_damaged_one_is_not_gone_on_with(home, table, edit, culprit):
    path = home / "profile" / "latency.json"
    kept = path.read_text()
    path.write_text(json.dumps(table | edit))
    with pytest.raises(UserError, match=culprit):
        profile.run(configure(*words(home)))
    path.write_text(kept)


def test_any_field_of_a_table_may_be_changed_to_anything(home, table, tmp_path):
    shutil.copytree(home / "profile", tmp_path / "profile")
    path, space = tmp_path / "profile" / "latency.json", space_lib.load(str(home / "space.json"))

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(damaged(table).map(lambda value: json.dumps(value).encode()) | st.sampled_from(NO_JSON))
    def check(content):
        path.write_bytes(content)
        check_documented(lambda: latency.read_table(path).cost_model(space, image_size=32, num_classes=3))
        check_documented(lambda: profile.run(configure(*words(home, f"--model_dir={tmp_path}/profile"))))

    check()


def test_files_made_by_another_version_are_not_measured_beside_new_ones(home, table, capsys):
    path = home / "profile" / "latency.json"
    kept = path.read_text()
    older = json.loads(kept) | {"versions": table["versions"] | {"tensorflow": "1.14", "numpy": "1.0"}}
    path.write_text(json.dumps(older))
    profile.run(configure(*words(home)))  # complete: nothing is measured
    assert "next:" in capsys.readouterr().out
    del older["pieces"][sorted(older["pieces"])[0]], older["calibration"]
    path.write_text(json.dumps(older))
    with pytest.raises(UserError, match=r"files made by tensorflow 1\.14, now .*choose another --model_dir"):
        profile.run(configure(*words(home)))
    path.write_text(kept)


@pytest.fixture(scope="module")
def phone(home, table):
    """What phone.sh brings back from an `adb` that answers as a phone would."""
    tools = home / "tools"
    tools.mkdir()
    adb = tools / "adb"
    adb.write_text(
        f"#!/bin/bash\nif [[ $* == *getprop* ]]; then printf 'Maker\\r\\nModel 7\\r\\n15\\r\\n'; fi\n"
        f"if [[ $* == *--graph=* ]]; then cat <<'END'\n{PRINTED.format(more='')}END\nfi\n"
        f'echo "$*" >>{home}/adb.log\n'
    )
    adb.chmod(adb.stat().st_mode | stat.S_IXUSR)
    binary = home / "benchmark_model"
    binary.write_text("binary")
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    for _ in range(2):  # the second finds everything done
        done = subprocess.run(
            [home / "profile" / "phone.sh", binary, home / "brought"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return home / "brought"


def test_the_phones_script_times_every_file_once_and_its_output_becomes_a_table(home, phone):
    calls = (home / "adb.log").read_text().splitlines()
    assert sum("--graph=" in call for call in calls) == len(KEYS) + 3
    assert any("--num_threads=1 --use_xnnpack=true --warmup_runs=5 --num_runs=50" in call for call in calls)
    profile.run(configure(*words(home, f"--benchmark_output={phone}")))
    found = json.loads((home / "profile" / "latency_phone.json").read_text())
    assert found["device"] == "Maker Model 7 15"
    assert set(found["pieces"]) == KEYS
    assert found["pieces"]["stem@32"] == {"median_ms": 2.0505, "p5_ms": 1.9, "p95_ms": 2.6, "runs": 50}
    assert latency.read_table(home / "profile" / "latency_phone.json").content["device"] == "Maker Model 7 15"


def test_another_phone_is_not_gone_on_with(home, phone):
    (phone / "device.txt").write_text("Maker Model 6 15\n")
    before = sorted((home / "adb.log").read_text().splitlines())
    (phone / "stem@32.txt").rename(phone / "kept")
    done = subprocess.run(
        [home / "profile" / "phone.sh", home / "benchmark_model", phone],
        env={**os.environ, "PATH": f"{home}/tools:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "was made on Maker Model 6 15, this is Maker Model 7 15; choose another directory" in done.stderr
    assert (phone / "device.txt").read_text() == "Maker Model 6 15\n" and not (phone / "stem@32.txt").exists()
    assert not any("push" in call for call in (home / "adb.log").read_text().splitlines()[len(before) :])
    (phone / "device.txt").write_text("Maker Model 7 15\n")
    (phone / "kept").rename(phone / "stem@32.txt")


def test_a_missing_result_of_the_phone_is_named(home, phone):
    (phone / "stem@32.txt").rename(phone / "kept")
    with pytest.raises(UserError, match=r"lacks 1 of 10 results, the first stem@32.txt"):
        profile.run(configure(*words(home, f"--benchmark_output={phone}")))
    (phone / "kept").rename(phone / "stem@32.txt")


def test_the_next_command_can_be_pasted_where_names_have_blanks(home, phone, tmp_path, capsys):
    directory = tmp_path / "with a blank"
    profile.run(configure(*words(home, f"--benchmark_output={phone}", f"--model_dir={directory}")))
    given = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert f"--latency_table={directory}/latency_phone.json" in given
    assert f"--search_space={home}/space.json" in given


def test_a_phones_table_that_cannot_be_written_is_told_in_one_line(home, phone, tmp_path):
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(UserError, match=r"file/latency_phone\.json: cannot be written: "):
        profile.run(configure(*words(home, f"--benchmark_output={phone}", f"--model_dir={tmp_path}/file")))


@pytest.mark.parametrize("said", ["", PRINTED.splitlines()[1] + "\n"], ids=["nothing", "the warm-up"])
@pytest.mark.parametrize("code", [0, 1])
def test_a_file_the_phone_cannot_run_is_named_and_tried_again(home, phone, tmp_path, code, said):
    shutil.copytree(phone, tmp_path / "brought")
    (tmp_path / "brought" / "stem@32.txt").unlink()
    adb = tmp_path / "adb"
    adb.write_text(
        "#!/bin/bash\nif [[ $* == *getprop* ]]; then printf 'Maker\\r\\nModel 7\\r\\n15\\r\\n'; fi\n"
        f"if [[ $* == *--graph=* ]]; then echo '{said}ERROR: out of memory'; exit {code}; fi\n"
    )
    adb.chmod(0o755)
    for _ in range(2):
        done = subprocess.run(
            [home / "profile" / "phone.sh", home / "benchmark_model", tmp_path / "brought"],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "no statistics of stem@32" in done.stderr and "ERROR: out of memory" in done.stderr
        assert not (tmp_path / "brought" / "stem@32.txt").exists()


@pytest.mark.parametrize("content", [b"", b"no flatbuffer"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "stem@32.tflite"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"stem@32\.tflite: cannot be run: .*; a damaged one is made anew if removed"):
        measure(path, threads=1, warmup=0, runs=1)


def test_percentiles_are_taken_where_the_binary_prints_them():
    read = parse_benchmark_output(PRINTED.format(more=" p5=1950 median=2040 p95=2500"), "x")
    assert read == {"median_ms": 2.04, "p5_ms": 1.95, "p95_ms": 2.5, "runs": 50}
    with pytest.raises(UserError, match="x: no line of statistics"):
        parse_benchmark_output("error: device offline", "x")
    warm = "".join(PRINTED.format(more="").splitlines(keepends=True)[:2])
    with pytest.raises(UserError, match=r"x: ends behind the warm-up; remove it, and run phone\.sh again"):
        parse_benchmark_output(warm, "x")
    assert parse_benchmark_output(warm, "x", warmed_up=False)["runs"] == 28


def test_a_search_by_that_table_meets_a_target_in_milliseconds(home, table):
    class_folder(home / "pictures", {"train": 4})
    path = home / "profile" / "latency.json"
    space = space_lib.load(f"{home}/space.json")
    model = latency.read_table(path).cost_model(space, image_size=32, num_classes=3)
    members = list(itertools.product(*(block.selections() for block in space.blocks)))
    low, high = model.reachable()
    target = (low * high) ** 0.5
    assert low < target < high
    found = home / "found"
    search.run(
        configure(
            *("--mode=search", f"--search_space={home}/space.json", f"--dataset=folder:{home}/pictures"),
            *("--input_image_size=32", "--train_batch_size=6", "--train_steps=8", f"--model_dir={found}"),
            *("--cost=latency", f"--latency_table={path}", f"--target_latency_ms={target}"),
        )
    )
    facts = json.loads((found / "search.json").read_text())
    budget = facts["budget"]
    assert budget["cost"] == "latency_ms" and budget["target"] == pytest.approx(target)
    costs = [model.of(list(member)) for member in members]
    # The space has six networks: there may be none from 10% below the target to 1% above it.
    assert budget["found"] in [pytest.approx(cost) for cost in costs]
    errors = [cost / target - 1 for cost in costs]
    if any(-0.1 <= error <= 0.01 for error in errors):
        assert -0.1 <= budget["error"] <= 0.01 + 1e-9
    else:
        assert abs(budget["error"]) == pytest.approx(min(map(abs, errors)))
    assert all(point["latency_ms"] > 0 and point["macs"] > 1e5 for point in facts["trajectory"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--cost=latency",), "--cost=latency needs --latency_table"),
        (("--latency_table=x",), "--latency_table needs --cost=latency"),
        (("--target_latency_ms=3",), "--target_latency_ms does not go with --cost=macs; accepted: --cost=latency"),
        (("--cost=latency", "--latency_table=x", "--target_macs=3M"), "--target_macs does not go with --cost=latency"),
        (("--target_macs=3M", "--target_latency_ms=3"), "both given"),
    ],
)
def test_flags_of_the_cost_that_do_not_go_together_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        configure("--mode=search", "--dataset=demo", "--model_dir=x", *given)
