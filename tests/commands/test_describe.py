"""`--mode=describe`: exact counts, block by block, as text and as JSON."""

import itertools
import json
import subprocess
import sys

import pytest
from golden_data import TESTDATA
from mode_cases import ARCH, MAIN, command, configure

from autonl_tf.commands.compare import run as compare
from autonl_tf.commands.describe import run as describe
from autonl_tf.errors import UserError

# The published networks at 224 px and 1000 classes; LightNL's maps divide by its strides, its ratios by its channels.
PRESETS = {
    "autonl_s": (266878784, 266878784, 4389350, [76.5, 93.1]),
    "autonl_l": (352829728, 352829728, 5580336, [77.7, 93.7]),
}
RANDOM = json.loads((TESTDATA / "presets" / "random_archs.json").read_text())


def described(capsys, *words):
    """What describe prints as JSON: one line, one object."""
    describe.run(configure("--mode=describe", "--json", *words))
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_count_exactly_as_published(capsys, name):
    result = described(capsys, f"--arch={name}")
    macs, exact, params, published = PRESETS[name]
    blocks = result.pop("blocks")
    assert result == {
        "arch": name,
        "input_image_size": 224,
        "num_label_classes": 1000,
        "depth_multiplier": 1.0,
        "network": "",
        "mean": [123.675, 116.28, 103.53],
        "stddev": [58.395, 57.12, 57.375],
        "macs": macs,
        "macs_exact": exact,
        "params": params,
        "published_top1_top5": published,
    }
    assert all(type(result[key]) is int for key in ("macs", "macs_exact", "params"))
    for key in ("macs", "macs_exact", "params"):
        assert sum(block[key] for block in blocks) == result[key]
    assert [block["name"] for block in blocks] == ["stem", *(f"block{i}" for i in range(len(blocks) - 2)), "head"]
    for before, after in itertools.pairwise(blocks):
        assert before["output"] == after["input"]
    assert blocks[0]["input"] == [224, 224, 3] and blocks[-1]["output"] == [1, 1, 1000]


@pytest.mark.parametrize("index", range(0, 40, 5))
def test_any_file_size_classes_and_multiplier_count_as_officially(capsys, tmp_path, index):
    case = RANDOM[index]
    path = tmp_path / "arch.txt"
    path.write_text("\n".join(case["arch"]) + "\n")
    multiplier = case["depth_multiplier"] or 1.0
    result = described(
        capsys,
        f"--arch={path}",
        f"--input_image_size={case['image_size']}",
        f"--num_label_classes={case['num_classes']}",
        f"--depth_multiplier={multiplier}",
    )
    assert (result["macs"], result["params"]) == (case["macs"], case["trainable_params"])
    assert result["input_image_size"] == case["image_size"]
    assert result["depth_multiplier"] == multiplier
    assert result["published_top1_top5"] is None
    assert sum(block["params"] for block in result["blocks"]) == result["params"]


def test_a_run_directory_stands_for_its_architecture(capsys, tmp_path):
    (tmp_path / "arch.txt").write_text(ARCH)
    by_directory, by_file = (described(capsys, f"--arch={path}") for path in (tmp_path, tmp_path / "arch.txt"))
    assert by_directory["arch"] == str(tmp_path)
    assert by_directory | {"arch": ""} == by_file | {"arch": ""}


def model_json(classes=3, size=32):
    return json.dumps(
        {
            **{"arch": ARCH, "input_image_size": size, "crop_padding": 0, "depth_multiplier": 1.0},
            "class_names": [f"c{i}" for i in range(classes)],
        }
    )


def config_json(classes=3, size=32):
    settings = {"input_image_size": size, "num_label_classes": classes}
    record = {"comparable": {}, "time": "", "settings": settings, "versions": {}, "git_commit": None}
    return json.dumps(record | {"earlier_starts": []})


@pytest.mark.parametrize(("name", "text"), [("model.json", model_json()), ("config.json", config_json())])
def test_a_run_directory_is_counted_at_its_own_size_and_classes(capsys, tmp_path, name, text):
    (tmp_path / "arch.txt").write_text(ARCH)
    (tmp_path / name).write_text(text)
    own, given, larger = (
        described(capsys, f"--arch={tmp_path}", *more)
        for more in ((), ("--input_image_size=32", "--num_label_classes=3"), ("--input_image_size=64",))
    )
    assert own == given and (own["input_image_size"], own["num_label_classes"]) == (32, 3)
    assert (larger["input_image_size"], larger["num_label_classes"]) == (64, 3)
    compare.run(configure("--mode=compare", f"--arch={tmp_path},mobilenet_v2", "--json"))
    ours, beside = json.loads(capsys.readouterr().out)["networks"]
    assert ours == own and (beside["input_image_size"], beside["num_label_classes"]) == (32, 3)
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=name):
        described(capsys, f"--arch={tmp_path}")


def test_a_scaled_preset_does_not_boast_the_published_accuracy(capsys):
    assert described(capsys, "--arch=autonl_s", "--depth_multiplier=0.5")["published_top1_top5"] is None
    assert "ImageNet" not in describe.table(described(capsys, "--arch=autonl_s", "--depth_multiplier=0.5"))


def test_a_network_is_counted_at_the_size_it_was_published_at(capsys):
    own, smaller = (described(capsys, "--arch=efficientnet_lite3", *size) for size in ((), ("--input_image_size=224",)))
    assert (own["input_image_size"], own["macs"], own["params"]) == (280, 1383425552, 8197096)
    assert (own["mean"], own["stddev"]) == ([127.0] * 3, [128.0] * 3)
    assert "pixels of 0 to 255 are normalised by mean 127, stddev 128" in describe.table(own).splitlines()
    assert own["published_top1_top5"] == [79.8, None] and smaller["published_top1_top5"] is None
    assert smaller["input_image_size"] == 224 and smaller["macs"] < own["macs"]


def test_the_table_has_one_row_a_block_and_the_totals(capsys):
    result = described(capsys, "--arch=autonl_s")
    lines = describe.table(result).splitlines()
    rows = lines[1 : 1 + len(result["blocks"])]
    for row, block in zip(rows, result["blocks"], strict=True):
        assert row.startswith(block["name"]) and row.endswith(f"{block['params']:,}")
        assert f"{block['macs'] / 1e6:.3f}" in row
    assert "266.878784M MACs" in lines[-2] and "4,389,350 trainable" in lines[-2]
    assert "76.5%" in lines[-1]


def test_the_command_prints_one_object_and_nothing_else(tmp_path):
    done = command("--mode=describe", "--arch=autonl_s", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["macs"] == 266878784
    assert not list(tmp_path.iterdir())


def test_describing_needs_no_tensorflow():
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['main.py', '--mode=describe', '--arch=autonl_s']\n"
        f"try:\n    runpy.run_path({str(MAIN)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, cwd=MAIN.parent).returncode == 0


def test_a_space_is_counted_at_a_thousand_classes_where_none_are_given(capsys):
    assert described(capsys, "--search_space=demo")["num_label_classes"] == 1000
