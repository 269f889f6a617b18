"""A search's page: self-contained, true to its files, made again alike, and two compared."""

import json
import re
import shlex
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from damage import NO_JSON, check_documented, damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mode_cases import class_folder, command, configure, tree, write_space

from autonl_tf.commands.report import run as report
from autonl_tf.commands.search import run as search
from autonl_tf.errors import UserError
from autonl_tf.networks.gate_table import GateTable
from autonl_tf.search import results
from autonl_tf.space import space as space_lib


class Reader(HTMLParser):
    """The text of a page, what it loads from elsewhere, and whether its tags close."""

    def __init__(self, page):
        super().__init__()
        self.text, self.loaded, self.open = "", [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    class_folder(root / "pictures", {"train": 4})
    write_space(root / "space.json", network="activation=relu6")
    for name, more in (("free", ()), ("aimed", ("--target_macs=0.56M",))):
        words = ("--mode=search", f"--search_space={root}/space.json", f"--dataset=folder:{root}/pictures")
        short = ("--input_image_size=32", "--train_batch_size=6", "--train_steps=8", "--steps_per_loop=2")
        search.run(configure(*words, *short, f"--model_dir={root}/{name}", *more))
    return root


@pytest.mark.parametrize("name", ["free", "aimed"])
def test_the_page_stands_alone_and_says_what_the_files_say(home, name):
    reader = Reader((home / name / "report.html").read_text())
    assert not reader.loaded and not reader.open
    result = json.loads((home / name / "search.json").read_text())
    for gate in result["gates"]:
        assert f"{gate['margin']:+.3f}" in reader.text
    assert all(line in reader.text for line in result["next"])
    assert ("off target" in reader.text) == (name == "aimed")
    for line in result["warnings"]:
        assert line in reader.text
    assert any(line.startswith("TOO SHORT") for line in result["warnings"])
    assert ("Not converged" in reader.text) == (name == "aimed" and not result["budget"]["converged"])
    kept = sum(block is not None for block in result["decided_blocks"])
    assert f"{kept} of {len(result['decided_blocks'])}" in reader.text
    assert ["network activation=relu6", *(block for block in result["decided_blocks"] if block)] == result["arch"]


def test_the_next_command_can_be_given_as_it_stands(home):
    lines = json.loads((home / "free" / "search.json").read_text())["next"]
    scratch, tuned = (configure(*(w for w in shlex.split(line) if w.startswith("--"))) for line in lines)
    assert (scratch.init_checkpoint, scratch.model_dir) == (None, f"{home}/free_train")
    assert (tuned.init_checkpoint, tuned.model_dir) == (f"{home}/free", f"{home}/free_tuned")
    for config in (scratch, tuned):
        assert config.mode == "train" and config.train_batch_size == 6
        assert config.arch == f"{home}/free/arch.txt"
        assert (config.input_image_size, config.dataset) == (32, f"folder:{home}/pictures")


def test_a_report_is_made_again_alike_by_command(home):
    made = (home / "aimed" / "report.html").read_bytes()
    for name in ("report.html", "network.png", "search.png"):
        (home / "aimed" / name).unlink()
    done = command("--mode=report", "aimed", "free", cwd=home)
    assert done.returncode == 0, done.stderr
    assert (home / "aimed" / "report.html").read_bytes() == made
    assert (home / "aimed" / "network.png").is_file() and (home / "aimed" / "search.png").is_file()
    page = (home / "aimed" / "comparison.html").read_text()
    reader = Reader(page)
    assert not reader.loaded
    assert "target_macs" in reader.text
    same = int(re.search(r"(\d+) of 3 blocks are the same", reader.text)[1])
    blocks = [json.loads((home / name / "search.json").read_text())["decided_blocks"] for name in ("aimed", "free")]
    assert same == sum(a == b for a, b in zip(*blocks, strict=True))
    assert reader.text.count("activation=relu6") == 2 and "Not the same" not in reader.text


def test_other_spaces_and_tables_of_one_name_are_told_beside_each_other(home, tmp_path):
    other = shutil.copytree(home / "free", tmp_path / "other")
    (other / "searched_space.json").write_text((other / "searched_space.json").read_text().replace("5", "7"))
    (other / "latency_table.json").write_text("{}")
    report.run(configure("--mode=report", f"--model_dir={other}", f"--compare_with={home}/free"))
    assert "Not the same in both: searched_space.json, latency_table.json." in (other / "comparison.html").read_text()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "metrics.jsonl").unlink(), r"metrics\.jsonl: cannot be read: No such file"),
        (lambda run: (run / "metrics.jsonl").write_text("{}\n"), r"metrics\.jsonl: line 1 is not a record of a run"),
        (lambda run: (run / "metrics.jsonl").write_bytes(b'{"phase": "tr'), r"metrics\.jsonl: line 1 is not a record"),
        (lambda run: (run / "metrics.jsonl").write_bytes(b"\xff\xfe"), r"metrics\.jsonl: line 1 is not a record"),
        (lambda run: (run / "metrics.jsonl").write_text(""), r"search\.png: no training records"),
        (lambda run: (run / "search.png").mkdir(), r"search\.png.*: cannot be written: Is a directory"),
    ],
)
def test_a_run_whose_pictures_cannot_be_made_is_told_in_one_line_and_left_as_it_is(home, tmp_path, damage, message):
    run = tmp_path / "run"
    shutil.copytree(home / "free", run)
    for name in ("report.html", "network.png", "search.png"):
        (run / name).unlink()
    damage(run)
    before = tree(run)
    with pytest.raises(UserError, match=message):
        report.run(configure("--mode=report", f"--model_dir={run}"))
    assert tree(run) == before


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("budget", 3, r"search\.json: not what --mode=search of this version writes: Expected `object`, got `int`"),
        ("budget", {"cost": "macs"}, r"Object missing required field `\w+` - at `\$\.budget`"),
        ("budget", {"cost": "macs", "target": 1.0}, r"Object missing required field `\w+` - at `\$\.budget`"),
        ("blocks", [], r"length >= 2 - at `\$\.blocks`"),
        ("decided_blocks", [], r"arch is not the decided_blocks"),
        ("macs", 123.0, r"macs is not the sum of the blocks'"),
        ("gates", [{}], r"missing required field `\w+` - at `\$\.gates\[0\]`"),
        ("gates", [], r"a point of trajectory lacks gates"),
    ],
)
def test_a_result_of_another_form_is_told_in_one_line_and_nothing_is_written(home, tmp_path, name, value, message):
    run = tmp_path / "run"
    shutil.copytree(home / "free", run)
    result = json.loads((run / "search.json").read_text())
    (run / "search.json").write_text(json.dumps(result | {name: value}))
    before = tree(tmp_path)
    with pytest.raises(UserError, match=message):
        report.run(configure("--mode=report", f"--model_dir={run}"))
    if name == "budget":
        with pytest.raises(UserError, match=r"run/search\.json: not what"):
            report.run(configure("--mode=report", f"--model_dir={home}/free", f"--compare_with={run}"))
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["paper", "cifar10", "demo", "around:mobilenet_v2", "around:mnasnet_a1", "around:efficientnet_lite0"]
)
def test_what_a_search_of_any_space_writes_is_no_other_form(name):
    space = space_lib.load(name)
    table, rng = GateTable(space), np.random.default_rng(0)
    rest = {"trajectory": [], "budget": {}, "phases": {"warmup_end": 1, "settle_start": 2, "total_steps": 3}}
    for _ in range(20):
        margins = rng.normal(size=len(table))
        _, result = results.summary(table, margins, image_size=224, num_classes=10)
        assert report._fault(json.loads(json.dumps(result | rest)), "search.json") is None


def test_any_field_of_a_result_may_be_changed_to_anything(home, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(home / "aimed", run)
    valid = json.loads((run / "search.json").read_text())

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(damaged(valid).map(lambda value: json.dumps(value).encode()) | st.sampled_from(NO_JSON))
    def check(content):
        (run / "search.json").write_bytes(content)
        words = ("--mode=report", f"--model_dir={run}", f"--compare_with={home}/free")
        check_documented(lambda: report.run(configure(*words)))

    check()


def test_a_report_of_the_working_directory_has_its_name(home, monkeypatch):
    made = (home / "free" / "report.html").read_bytes()
    monkeypatch.chdir(home / "free")
    report.run(configure("--mode=report", "--model_dir=."))
    assert (home / "free" / "report.html").read_bytes() == made


def test_what_is_no_finished_search_is_refused(home, tmp_path):
    with pytest.raises(UserError, match=r"search\.json: No such file"):
        report.run(configure("--mode=report", f"--model_dir={tmp_path}"))
    shutil.copy(home / "free" / "search.json", tmp_path / "search.json")
    result = json.loads((tmp_path / "search.json").read_text())
    del result["budget"]
    (tmp_path / "search.json").write_text(json.dumps(result))
    with pytest.raises(UserError, match=r"missing required field `budget`"):
        report.run(configure("--mode=report", f"--model_dir={home}/free", f"--compare_with={tmp_path}"))
    done = command("--mode=report", "free", "aimed", "third", cwd=home)
    assert done.returncode == 2 and "unexpected argument 'third'" in done.stderr
