"""Every flag with values that no run can use: one line, exit code 2, nothing written, TensorFlow never asked for."""

from __future__ import annotations

import json
import shlex
import types

import pytest
from absl import flags
from damage import check_documented
from mode_cases import ARCH, class_folder, write_space
from mode_cases import run as run_mode

from autonl_tf.cli import main, parsing
from autonl_tf.cli.parsing import FLAGS
from autonl_tf.errors import UserError
from autonl_tf.settings.flag import define_amount, define_count, define_real, define_switch, define_whole

WHOLE = (define_whole, define_count)
NUMERIC = (*WHOLE, define_real, define_amount)
NUMBERS = [name for name, flag in FLAGS.items() if flag.define in NUMERIC]
TEXTS = [name for name, flag in FLAGS.items() if flag.define not in (*NUMERIC, define_switch)]
# What no number of this program may be, whatever its range.
EVIL = [
    *("1e308", "-1e308", "1e400", "inf", "-inf", "nan", "-1", "9" * 400, str(2**63), str(-(2**31)), "1e300k"),
    *("", " ", "x", "0x", "1,5", "1..2", "None", "True", "[]", "\0", "1\n2", "--seed=1", "٣x", "-0.1"),
]
MODEL_FLAGS = {
    "search": "--dataset=folder:pictures --model_dir=run --search_space=space.json",
    "train": "--arch=arch.txt --dataset=folder:pictures --model_dir=run",
    "eval": "--model_dir=weights --dataset=folder:pictures",
    "predict": "--model_dir=weights --images=pictures",
    "export": "--model_dir=weights --output=export --dataset=folder:pictures --formats=tflite_int8",
    "convert": "--init_checkpoint=weights --model_dir=run",
    "describe": "--arch=arch.txt",
    "compare": "--arch=arch.txt,arch.txt",
    "explain": "--model_dir=weights --images=pictures --output=maps",
    "profile": "--model_dir=run --search_space=space.json",
    "report": "--model_dir=searched",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    class_folder(tmp_path / "pictures", {"train": 1, "val": 1})
    (tmp_path / "arch.txt").write_text(ARCH)
    (tmp_path / "hswish.txt").write_text("network activation=hswish\n" + ARCH)
    (tmp_path / "folder.csv").mkdir()
    write_space(tmp_path / "space.json")
    for folder, held in (("empty", None), ("weights", "a.index"), ("searched", "search.json"), ("taken", "thesis.txt")):
        (tmp_path / folder).mkdir()
        if held:
            (tmp_path / folder / held).touch()
    start = {"time": "", "settings": {}, "versions": {}, "git_commit": None, "earlier_starts": []}
    for name, comparable in (
        ("begun", {"mode": "train", "seed": 5}),
        ("older", {"mode": "search", "gate_start_margin": 0.02}),  # a flag of an earlier version
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(start | {"comparable": comparable}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def start(monkeypatch, capsys):
    """start(words): (exit code, standard error) of a whole start; the mode itself is replaced by nothing."""
    reached = []
    monkeypatch.setattr(main, "_quiet_logging", lambda: None)
    monkeypatch.setattr(main.signals, "Watch", lambda _: types.SimpleNamespace(start=lambda: None))
    monkeypatch.setattr(main, "_runner", lambda mode: lambda _: reached.append(mode))

    def run(words):
        values = flags.FlagValues()
        parsing.define_flags(values)
        monkeypatch.setattr(main.flags, "FLAGS", values)
        reached.clear()
        try:
            main._main(main._parse(["main.py", *words]))
        except UserError as error:
            return main._fail(error), capsys.readouterr().err
        except SystemExit as end:
            return end.code, capsys.readouterr().err
        return (0 if reached else 1), capsys.readouterr().err

    return run


def words_with(name, value):
    """A good command line of a mode that reads the flag, and the flag."""
    mode = next(mode for mode in MODEL_FLAGS if mode in FLAGS[name].modes)
    given = [word for word in shlex.split(MODEL_FLAGS[mode]) if not word.startswith(f"--{name}=")]
    companions = {
        "randaugment_layers": ["--augment=randaugment"],
        "randaugment_magnitude": ["--augment=randaugment"],
        "tpu_zone": ["--tpu=local"],
        "gcp_project": ["--tpu=local"],
        "calibration_images": ["--qat", "--init_checkpoint=weights"] if mode == "train" else [],
    }
    return [f"--mode={mode}", *given, *companions.get(name, []), f"--{name}={value}"]


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("--epochs=3", "--train_epochs, "),
        ("--batch_size=3", "--eval_batch_size, --train_batch_size"),
        ("--learning-rate=3", "--base_learning_rate"),
        ("--skip_corupt", "--skip_corrupt"),
        ("--zzz", "--freeze"),
    ],
)
def test_an_unknown_flag_names_the_nearest(word, nearest, start):
    code, said = start(["--mode=train", word])
    assert code == 2 and f"nearest: {nearest}" in said, said


@pytest.mark.parametrize("mode", MODEL_FLAGS)
def test_the_command_lines_that_are_spoilt_are_good(mode, place, start):
    assert start([f"--mode={mode}", *shlex.split(MODEL_FLAGS[mode])]) == (0, "")
    if mode == "train":
        assert start([f"--mode={mode}", *shlex.split(MODEL_FLAGS[mode]), "--init_checkpoint=weights"]) == (0, "")


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_every_range_is_refused(name, place, start):
    before = sorted(place.rglob("*"))
    for value in EVIL:
        code, said = start(words_with(name, value))
        assert code == 2 and name in said and said.startswith("error: ") and said.count("\n") == 1, (value, said)
    assert sorted(place.rglob("*")) == before


def test_every_number_is_among_those_that_are_tried():
    assert {name for name, flag in FLAGS.items() if "lower_bound" in flag.bounds} | {"target_macs"} == set(NUMBERS)


# What is said of the ends of a range that do not go with the data or the space.
AT_ODDS = {"input_image_size": ("feature map", "accepted"), "num_label_classes": ("folder:pictures has 3 classes",)}


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "target_macs"])
def test_the_ends_of_a_stated_range_are_accepted_and_what_is_beyond_them_is_not(name, place, start):
    bounds = FLAGS[name].bounds
    low, high = bounds["lower_bound"], bounds["upper_bound"]
    beyond = (low - 1, high + 1) if FLAGS[name].define in WHOLE else (low / 2 - 1e-13, high * 1.01)
    for value in beyond:
        code, said = start(words_with(name, value))
        assert code == 2 and name in said, (value, said)
    for value in (low, high):
        code, said = start(words_with(name, value))
        allowed = AT_ODDS.get(name, (name, "accepted"))
        assert code == 0 or all(words in said for words in allowed), (value, said)


@pytest.mark.parametrize("name", TEXTS)
def test_an_empty_text_is_not_an_absent_one(name, place, start):
    before = sorted(place.rglob("*"))
    for value in ("", " ", "\t"):
        code, said = start(words_with(name, value))
        assert code == 2 and name in said and said.startswith("error: ") and said.count("\n") == 1, (value, said)
    assert sorted(place.rglob("*")) == before


def test_flags_within_their_ranges_but_not_together_are_refused(place, start):
    for words, culprit in (
        ("--mode=train --train_batch_size=65536 --input_image_size=4096", "--train_batch_size=65536: at 4096 px"),
        ("--mode=eval --eval_batch_size=65536 --input_image_size=4096", "--eval_batch_size=65536: at 4096 px"),
        ("--mode=export --calibration_images=100000 --input_image_size=224", "--calibration_images=100000: at 224 px"),
        ("--mode=train --arch=autonl_l --depth_multiplier=20", "autonl_l: 1,470"),
        ("--mode=predict --arch=arch.txt --num_label_classes=1000000", "arch.txt: 1,281"),
    ):
        given = shlex.split(words)
        mode, named = given[0].removeprefix("--mode="), {word.split("=")[0] for word in given}
        rest = [word for word in shlex.split(MODEL_FLAGS[mode]) if word.split("=")[0] not in named]
        code, said = start([*given, *rest])
        assert code == 2 and culprit in said and "accepted: at most" in said, said


@pytest.mark.parametrize(
    ("mode", "flag", "culprit"),
    [
        ("train", "--dataset=folder:none", "no such directory"),
        ("train", "--dataset=pictures", "did you mean folder:pictures?"),
        ("train", "--dataset=nosuch", "unknown data set 'nosuch'"),
        ("search", "--dataset=imagenet_tfrecord:none", "no such directory"),
        ("train", "--arch=none.txt", "No such file"),
        ("eval", "--arch=none.txt", "No such file"),
        ("train", "--nonlocal=99:0.25-1", "no block 99"),
        ("train", "--init_checkpoint=none", "no checkpoint there"),
        ("eval", "--model_dir=none", "no checkpoint there"),
        ("convert", "--init_checkpoint=none.pth", "no checkpoint there"),
        ("predict", "--images=none/*.jpg", "no such file"),
        ("predict", "--images=empty", "--images=empty: holds no images"),
        ("predict", "--label_file=none.txt", "No such file"),
        ("train", "--label_file=empty", "Is a directory"),
        ("train", "--class_weights=arch.txt", "is not CLASS WEIGHT"),
        ("train", "--lr_multipliers=backbone", "is not PART:FACTOR"),
        ("train", "--lr_multipliers=backbone:1e9", "is not PART:FACTOR"),
        ("explain", "--query_points=2:2", "is not X:Y"),
        ("search", "--search_space=none.json", "No such file"),
        ("profile", "--search_space=arch.txt", "not JSON"),
        ("search", "--cost=latency --latency_table=none.json", "No such file"),
        ("predict", "--output=none/out.csv", "its directory does not exist"),
        ("predict", "--output=pictures", "must end in .npz or .csv"),
        ("predict", "--output=folder.csv", "is a directory; accepted: the path of a file to write"),
        ("eval", "--output=none/none", "cannot be made"),
        ("eval", "--output=arch.txt", "is a file"),
        ("explain", "--output=arch.txt", "is a file"),
        ("train", "--model_dir=arch.txt", "is a file"),
        ("export", "--calibration_dataset=folder:none", "no such directory"),
        ("profile", "--benchmark_output=none", "no such directory"),
        ("report", "--compare_with=none", "no such directory"),
        ("report", "--model_dir=empty", "no search.json: not the run directory of a finished search"),
        ("eval", "--model_dir=empty", "no checkpoint in this directory"),
        ("train", "--init_checkpoint=taken", "no checkpoint in this directory"),
        ("train", "--dataset=folder:empty", "no images in class folders"),
        ("search", "--dataset=imagenet_tfrecord:empty", "no files named like train-00000-of-01024"),
        ("train", "--model_dir=begun", "begun: was made with --seed=5, now it is --seed=0; choose"),
        ("search", "--model_dir=begun", "begun: was made with --mode=train, now it is --mode=search; choose"),
        (
            "search",
            "--model_dir=older",
            "older: was made with --gate_start_margin=0.02, now it is --gate_start_margin=(abs",
        ),
        ("train", "--model_dir=arch.txt/run", "arch.txt is not a directory that can be written"),
        ("export", "--output=arch.txt/new/export", "arch.txt is not a directory that can be written"),
        ("export", "--output=taken", "holds thesis.txt, which no export wrote"),
        ("convert", "--model_dir=taken", "holds thesis.txt; convert writes a new or an empty directory"),
        ("convert", "--from=pytorch", "needs --arch"),
        ("explain", "--output=arch.txt/maps", "cannot be made"),
        ("train", "--freeze=stem,hat", "no part 'hat'; accepted: stem"),
        ("train", "--lr_multipliers=block0-9:0.5", "block numbers from 0 to 2"),
        ("train", "--strategy=tpu", "needs --tpu"),
        ("train", "--strategy=cpu --tpu=local", "--tpu does not go with --strategy=cpu"),
        ("train", "--tpu_zone=here", "--tpu_zone and --gcp_project need --tpu"),
        ("compare", "--arch=arch.txt,,arch.txt", "an empty name"),
        ("compare", "--arch=arch.txt", "takes two networks or more"),
        ("train", "--qat --init_checkpoint=weights --arch=hswish.txt", "no int8 form of HardSwish"),
    ],
)
def test_a_file_that_is_not_what_the_flag_means_is_refused_before_tensorflow(mode, flag, culprit, place, start):
    given = shlex.split(flag)
    named = {word.split("=")[0] for word in given}
    rest = [word for word in shlex.split(MODEL_FLAGS[mode]) if word.split("=")[0] not in named]
    before = sorted(place.rglob("*"))
    code, said = start([f"--mode={mode}", *rest, *given])
    assert code == 2 and culprit in said and said.startswith("error: ") and said.count("\n") == 1, said
    assert sorted(place.rglob("*")) == before


# What makes a run long or large at the ends of its range, or is refused there beside another flag.
LONG = {
    *("train_steps", "train_epochs", "train_batch_size", "eval_batch_size", "input_image_size", "num_label_classes"),
    *("depth_multiplier", "micro_batches", "recalibrate_batches", "validation_fraction", "randaugment_layers"),
    *("randaugment_magnitude", "target_macs", "target_latency_ms", "search_split"),
    *("search_warmup_share",),
}


@pytest.mark.parametrize("end", ["lower_bound", "upper_bound"])
@pytest.mark.parametrize("mode", ["train", "search"])
def test_a_run_with_every_number_at_an_end_of_its_range_ends_or_says_why_not(end, mode, training, searching):
    words = [*list(training if mode == "train" else searching), "--train_steps=4"]
    for name in NUMBERS:
        if mode in FLAGS[name].modes and name not in LONG:
            words.append(f"--{name}={FLAGS[name].bounds[end]}")
    check_documented(lambda: run_mode(*words))
