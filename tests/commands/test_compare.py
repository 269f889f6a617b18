"""`--mode=describe --arch=all`, `--mode=compare`, and networks with blocks placed by hand, end to end."""

import json

import pytest
from mode_cases import ARCH, SHORT, class_folder, command, configure, run

from autonl_tf.arch import presets
from autonl_tf.commands.compare import run as compare
from autonl_tf.commands.describe import run as describe
from autonl_tf.errors import UserError


def test_the_zoo_lists_every_network(capsys):
    describe.run(configure("--mode=describe", "--arch=all"))
    said = capsys.readouterr().out
    for name in presets.names():
        assert f"\n{name} " in said
    describe.run(configure("--mode=describe", "--arch=all", "--json", "--nonlocal=all:0.25-1"))
    result = json.loads(capsys.readouterr().out)
    assert [network["arch"] for network in result["networks"]] == list(presets.published())
    assert result["nonlocal"] == "all:0.25-1"
    assert all(network["latency_ms"] is None for network in result["networks"])
    plain = describe.zoo(image_size=224, num_classes=1000, depth_multiplier=1.0)
    assert all(network["latency_ms"] is None or network["latency_ms"] > 0 for network in plain["networks"])
    sizes = {network["arch"]: network["input_image_size"] for network in result["networks"]}
    assert sizes["efficientnet_lite4"] == 300 and sizes["mobilenet_v2"] == 224
    v2 = {which["arch"]: which for which in result["networks"]}["mobilenet_v2"]
    assert v2["macs"] > next(w["macs"] for w in plain["networks"] if w["arch"] == "mobilenet_v2") == 300836992


def test_networks_stand_side_by_side_by_map_size(capsys, tmp_path):
    (tmp_path / "mine.txt").write_text(ARCH)
    names = f"autonl_s,{tmp_path}/mine.txt"
    compare.run(configure("--mode=compare", f"--arch={names}", f"--output={tmp_path}/c.png"))
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["map", *names.split(",")]
    assert [line.split()[0] for line in said if line[:1].isdigit() and "x" in line.split()[0]] == [
        "112x112", "56x56", "28x28", "14x14", "7x7",
    ]  # fmt: skip
    assert any(line.split()[:2] == ["MACs", "266.9M"] for line in said)
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    compare.run(configure("--mode=compare", f"--arch={names}", "--json"))
    result = json.loads(capsys.readouterr().out)
    assert [network["arch"] for network in result["networks"]] == names.split(",")


def test_networks_of_different_sizes_stand_stage_beside_stage(capsys, tmp_path):
    names = "efficientnet_lite0,efficientnet_lite2,autonl_s"
    compare.run(configure("--mode=compare", f"--arch={names}", f"--output={tmp_path}/c.png"))
    said = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[0] for line in said if line[:1].isdigit() and "x" in line.split()[0]] == [
        "112x112, 130x130", "56x56, 65x65", "28x28, 33x33", "14x14, 17x17", "7x7, 9x9",
    ]  # fmt: skip
    assert any(line.split() == ["px", "224", "260", "224"] for line in said)
    assert any("mean 127, stddev 128" in line and "stddev 58.395" in line for line in said)
    assert any(line.split()[0] == "header" and "activation=relu6" in line for line in said)


def test_a_stride_is_told_as_written_where_the_map_is_odd(capsys, tmp_path):
    (tmp_path / "mine.txt").write_text(ARCH)
    names = f"{tmp_path}/mine.txt,{tmp_path}/mine.txt"
    compare.run(configure("--mode=compare", f"--arch={names}", "--input_image_size=33"))  # 33, 17, 9, 5
    rows = [line for line in capsys.readouterr().out.splitlines() if "k3" in line]
    assert [row.count(" /2 ") for row in rows] == [2, 2, 0]
    assert not any("/1" in row.replace(str(tmp_path), "") for row in rows)


def test_the_command_takes_the_networks_as_words(tmp_path):
    done = command("--mode=compare", "mobilenet_v2", "mixnet_m", "--nonlocal=all:0.25-1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:3] == ["map", "mobilenet_v2", "mixnet_m"]
    assert "with --nonlocal=all:0.25-1" in done.stdout


def test_a_picture_of_one_network_is_drawn(tmp_path):
    describe.run(configure("--mode=describe", "--arch=fbnet_a", f"--output={tmp_path}/n.png"))
    assert (tmp_path / "n.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "culprit"),
    [
        (["--mode=compare", "--arch=autonl_s"], "takes two networks or more"),
        (["--mode=compare", "--arch=autonl_s,nosuch"], "--arch=nosuch"),
        (["--mode=compare", "--arch=autonl_s,autonl_l", "--output=none/c.png"], "directory does not exist"),
        (["--mode=describe", "--arch=autonl_s", "--output=c.jpg"], "must end in .png"),
        (["--mode=describe", "--arch=all", "--output=c.png"], "--output draws one network"),
        (["--mode=describe", "--arch=autonl_s", "--nonlocal=30:0.25-1"], "no block 30"),
        (["--mode=eval", "--dataset=demo", "--model_dir=run", "--nonlocal=none"], "--nonlocal=none needs --arch"),
    ],
)
def test_a_wrong_request_is_refused(words, culprit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=culprit):
        run(*words)
    assert not list(tmp_path.iterdir())


FAMILY = """\
network activation=hswish stem=8 head=32 shuffle=on
r1_k3_s22_p1.1_e1_i8_o8
r1_k3.5_s22_a1.1_e2_i8_o12_se0.25_sw
"""


def test_another_family_with_blocks_placed_by_hand_trains_evaluates_and_exports(tmp_path, capsys):
    class_folder(tmp_path / "pictures", {"train": 2, "val": 1})
    (tmp_path / "mine.txt").write_text(FAMILY)
    data, model = f"--dataset=folder:{tmp_path}/pictures", f"--model_dir={tmp_path}/run"
    which = [f"--arch={tmp_path}/mine.txt", "--nonlocal=1:embedded0.5-2"]
    run("--mode=train", *which, data, model, *SHORT)
    assert (tmp_path / "run" / "arch.txt").read_text() == FAMILY.replace("o12_se", "o12_embedded0.5-2_se")
    run("--mode=eval", *which, data, model)
    run("--mode=export", data, model, f"--output={tmp_path}/export")
    card = json.loads((tmp_path / "export" / "card.json").read_text())
    assert card["verification"]["agreements"]
    with pytest.raises(UserError, match="holds another architecture"):
        run("--mode=eval", which[0], data, model)
