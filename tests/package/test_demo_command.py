"""`make demo` as far as it goes without running it: its commands are valid and chain, its closing words are facts."""

import json
import pathlib

from absl import flags

from autonl_tf import demo
from autonl_tf.cli import parsing

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_every_command_of_the_demo_is_valid_and_reads_what_the_one_before_writes(monkeypatch):
    monkeypatch.chdir(ROOT)
    parsed = []
    for command in demo.commands():
        values = flags.FlagValues()
        parsing.define_flags(values)
        assert values(["main.py", *command]) == ["main.py"]
        parsed.append(parsing.from_flags(values))
    search, train, evaluate, export = parsed
    assert [step.mode for step in parsed] == ["search", "train", "eval", "export"]
    assert train.arch == f"{search.model_dir}/arch.txt"
    assert evaluate.model_dir == export.model_dir == train.model_dir
    assert {(step.dataset, step.data_dir) for step in parsed} == {("demo", "runs/data")}


def test_the_demo_ends_with_the_places_and_scores_of_its_files(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = {"arch": ["r1_k3_s22_e1_i32_o16", "r1_k3_s11_e3_i16_o24_nonlocal0.25-1"], "macs": 2e6, "largest_macs": 5e6}
    card = {"accuracy": {"top1": 0.75, "count": 1600}, "num_classes": 8}
    for path, facts in ((f"{demo.SEARCH}/search.json", found), (f"{demo.EXPORT}/card.json", card)):
        pathlib.Path(path).parent.mkdir(parents=True)
        pathlib.Path(path).write_text(json.dumps(facts), encoding="utf-8")
    text = demo.closing(90)
    for part in ("1.5 minutes", "2 blocks, 1 with LightNL", "2.00M MACs of 5.00M", "75.00% on 1600", "chance 12.50%"):
        assert part in text


def test_the_demo_says_where_it_must_be_run(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert demo.run() == 2
    assert "project's root" in capsys.readouterr().err
