"""Every mistake with checkpoints, directories and devices: one line names the culprit, code 2, nothing written."""

import json
import shutil
import subprocess
import sys

import pytest
from damage import NO_JSON, check_documented, damaged
from hypothesis import HealthCheck, settings
from hypothesis import given as given_by
from hypothesis import strategies as st
from mode_cases import ARCH, CLASSES, MAIN, SPACE, class_folder, configure, given, run, tree, write_space
from official_checkpoints import checkpoint_at

from autonl_tf.cli import parsing
from autonl_tf.engine import rundir
from autonl_tf.engine.runlog import RunLog, read_records
from autonl_tf.errors import UserError
from autonl_tf.pictures.training import draw_training
from autonl_tf.prepare import checkpointed


@pytest.fixture
def four(tmp_path):
    return class_folder(tmp_path / "four", {"train": 2, "val": 1}, classes=[*CLASSES, "dog"])


@pytest.mark.parametrize("mode", ["eval", "export"])
def test_other_classes_than_the_checkpoints_are_refused(mode, home, trained, four, tmp_path, refused):
    words = [f"--mode={mode}", f"--model_dir={home}/trained", f"--dataset=folder:{four}"]
    if mode == "export":
        words.append(f"--output={tmp_path}/export")
    refused(words, r"trained/best/ckpt-\d+: has 3 classes, folder:.*four has 4")
    (tmp_path / "labels.txt").write_text("bee\nant\ncat\n")
    words = given(words, dataset=f"folder:{home}/pictures", label_file=tmp_path / "labels.txt")
    refused(words, r"class 0 is 'ant' there and 'bee' in ")


MODES_OF_A_CHECKPOINT = {
    "eval": ["--mode=eval"],
    "predict": ["--mode=predict"],
    "export": ["--mode=export"],
}


@pytest.mark.parametrize("mode", MODES_OF_A_CHECKPOINT)
@pytest.mark.parametrize("flag", ["model_dir", "init_checkpoint"])
def test_a_missing_checkpoint_is_refused(flag, mode, home, tmp_path, refused):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "none"):
        words = [f"--mode={mode}", f"--{flag}={tmp_path}/{name}", f"--dataset=folder:{home}/pictures"]
        words += [f"--images={home}/pictures/val/ant/0.jpg"]
        output = {"predict": "out.npz"}.get(mode, "export")
        refused([*words, f"--output={tmp_path}/{output}"], rf"{tmp_path}/{name}: no checkpoint")


def test_a_batch_of_too_many_pixels_at_the_checkpoints_own_size_is_refused(home, run_dir, refused):
    path = run_dir / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"input_image_size": 4096}))
    words = ["--mode=eval", f"--model_dir={run_dir}", f"--dataset=folder:{home}/pictures", "--eval_batch_size=65536"]
    refused(words, r"--eval_batch_size=65536: .*4096")


def test_training_from_a_missing_checkpoint_is_refused(training, tmp_path, refused):
    refused(given(training, init_checkpoint=tmp_path / "none"), r"/none: no checkpoint there")
    for name in (".index", "..index"):
        refused(given(training, init_checkpoint=tmp_path / name), rf"/\{name}: no checkpoint there")


@pytest.mark.parametrize(
    ("changed", "pattern"),
    [
        ({"arch": "autonl_s"}, "holds another architecture"),
        ({"depth_multiplier": 2.0}, r"--depth_multiplier=2\.0: .* trained with 1\.0"),
        ({"model_dir": "SCALED", "depth_multiplier": 1.0}, r"--depth_multiplier=1\.0: .* trained with 2\.0"),
        ({"input_image_size": 8}, "LightNL stride 2 is larger than its 1x1"),
        ({"use_averages": "maybe"}, None),
    ],
)
def test_another_network_than_the_checkpoints_is_refused(changed, pattern, home, trained, tmp_path, refused):
    if "model_dir" in changed:
        scaled = shutil.copytree(home / "trained", tmp_path / "scaled")
        changed = changed | {"model_dir": scaled}
        description = json.loads((scaled / "model.json").read_text()) | {"depth_multiplier": 2.0}
        (scaled / "model.json").write_text(json.dumps(description))
    words = given(["--mode=eval", f"--model_dir={home}/trained", f"--dataset=folder:{home}/pictures"], **changed)
    if pattern is None:
        with pytest.raises(Exception, match="use_averages"):
            configure(*words)
    else:
        refused(words, pattern)


def test_a_run_directory_of_another_architecture_or_flags_is_refused(home, trained, searching, tmp_path, refused):
    refused(given(trained, seed=5), r"trained: was made with --seed=0, now it is --seed=5")
    refused(given(trained, train_steps=3), r"--train_steps=2, now it is --train_steps=3")
    refused(given(trained, arch="autonl_s"), r"trained: was made with --arch=.*arch\.txt, now it is --arch=autonl_s")
    refused(given(searching, model_dir=home / "trained"), r"made with --mode=train, now it is --mode=search")
    shutil.copytree(home / "trained", tmp_path / "moved")
    (tmp_path / "moved" / "arch.txt").write_text(ARCH.replace("se0.25", "se0.5"))
    refused(given(trained, model_dir=tmp_path / "moved"), r"another arch\.txt \(line 3: .*se0\.5.*, now .*se0\.25")


def test_a_run_goes_on_from_another_directory_however_its_paths_are_written(
    home, trained, tmp_path, monkeypatch, refused
):
    monkeypatch.chdir(home)
    begun = tmp_path / "begun"
    run(*given(trained, arch="arch.txt", dataset="folder:./pictures", model_dir=begun, train_steps=2))
    # As runs wrote their paths before.
    (begun / "data.txt").write_text((begun / "data.txt").read_text().replace(f"{home}/", "./"))
    record = json.loads((begun / "config.json").read_text())
    assert record["comparable"]["dataset"] == f"folder:{home}/pictures"
    record["comparable"] |= {"arch": "arch.txt", "dataset": "folder:./pictures"}
    (begun / "config.json").write_text(json.dumps(record))
    (tmp_path / "link").symlink_to(home)
    run(*given(trained, arch=f"{tmp_path}/link/arch.txt", model_dir=begun))
    monkeypatch.chdir(tmp_path)
    run(*given(trained, dataset="folder:link/pictures", model_dir=begun))
    class_folder(tmp_path / "pictures", {"train": 2, "val": 1})
    refused(given(trained, dataset="folder:pictures", model_dir=begun), "was made with --dataset=folder:/")


def test_a_search_of_another_space_under_the_same_name_is_refused(searching, tmp_path, refused):
    words = given(searching, search_space=write_space(tmp_path / "mine.json"), train_steps=4)
    run(*words)
    candidates = {**SPACE["candidates"], "se_ratios": [0.5]}
    write_space(tmp_path / "mine.json", candidates=candidates)
    refused(words, r"was made with another searched_space\.json \(line \d+: .*0\.25.*, now .*0\.5")


def test_a_run_directory_that_is_a_file_is_refused(training, searching, tmp_path, refused):
    (tmp_path / "file").write_text("")
    for words in (training, searching):
        refused(given(words, model_dir=tmp_path / "file"), "/file: is a file")
        refused(given(words, model_dir=tmp_path / "file" / "run"), "/file/run: cannot be made: .*/file is ")


def test_a_run_directory_that_is_a_link_to_nothing_is_refused(training, tmp_path, refused):
    (tmp_path / "link").symlink_to("nowhere")
    refused(given(training, model_dir=tmp_path / "link"), "--model_dir=.*/link: is a link to nowhere, which is not")


def test_a_search_too_short_to_decide_is_refused(searching, refused):
    refused(given(searching, train_steps=1), "a search of 1 steps leaves none for decisions: 1 are warm-up")


# Files of a run, damaged.


@pytest.fixture
def run_dir(home, trained, tmp_path):
    """A copy of the run directory, to be damaged."""
    return shutil.copytree(home / "trained", tmp_path / "run")


@pytest.mark.parametrize("name", ["best/best.json", "config.json"])
def test_any_field_of_a_runs_files_may_be_changed_to_anything(name, run_dir):
    valid = json.loads((run_dir / name).read_text())

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given_by(damaged(valid).map(lambda value: json.dumps(value).encode()) | st.sampled_from(NO_JSON))
    def check(content):
        (run_dir / name).write_bytes(content)
        if name == "config.json":
            again = lambda: rundir.prepare(run_dir, valid["settings"], valid["comparable"]).close()  # noqa: E731
        else:
            again = lambda: checkpoint_at(run_dir)  # noqa: E731
        check_documented(again)

    check()


def test_any_field_of_a_networks_description_may_be_changed_to_anything(run_dir):
    path = run_dir / "model.json"
    valid = json.loads(path.read_text())

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given_by(damaged(valid).map(lambda value: json.dumps(value).encode()) | st.sampled_from(NO_JSON))
    def check(content):
        path.write_bytes(content)
        check_documented(
            lambda: checkpointed.load(configure("--mode=eval", f"--model_dir={run_dir}", "--dataset=demo"))
        )

    check()


def test_any_field_of_a_runs_metrics_may_be_changed_to_anything(run_dir):
    metrics = run_dir / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines()

    @settings(max_examples=100, suppress_health_check=list(HealthCheck))
    @given_by(
        st.integers(0, len(lines) - 1),
        st.sampled_from(lines).flatmap(lambda line: damaged(json.loads(line))).map(lambda v: json.dumps(v).encode())
        | st.sampled_from(NO_JSON),
    )
    def check(number, line):
        metrics.write_bytes(b"\n".join([*lines[:number], line, *lines[number + 1 :], b""]))
        for use in (
            lambda: draw_training(
                read_records(metrics), run_dir / "training.png", validation=read_records(metrics, "validation")
            ),
            lambda: RunLog(run_dir, 2, images_per_step=6, steps_per_epoch=1).resume(1),
        ):
            check_documented(use)

    check()


@pytest.mark.parametrize(
    ("name", "content", "pattern"),
    [
        ("arch.txt", b"\xff\xfe", r"arch\.txt: not a text file"),
        ("labels.txt", b"\xff\xfe", r"labels\.txt: not a text file"),
        ("config.json", b"\xff\xfe", r"config\.json: not a text file"),
        ("best/best.json", b'{"step": "1"}', r"best\.json: not .*: Expected `int`, got `str` - at `\$\.step`"),
        ("metrics.jsonl", b"\xff\n{}\n", r"metrics\.jsonl: line 1 is not a record of a run"),
        ("tensorboard", None, r"tensorboard: is a file; a run keeps a directory there"),
        ("checkpoints", None, r"checkpoints: is a file; a run keeps a directory there"),
        ("arch.txt", None, r"arch\.txt: Is a directory"),
        ("config.json", None, r"config\.json: Is a directory"),
    ],
)
def test_a_run_with_a_damaged_file_is_not_gone_on_with(name, content, pattern, run_dir, trained):
    path = run_dir / name
    if content is not None:
        path.write_bytes(content)
    elif path.is_dir():
        shutil.rmtree(path)
        path.write_text("")
    else:
        path.unlink()
        path.mkdir()
    check_not_gone_on_with(given(trained, model_dir=run_dir), run_dir, pattern)


def check_not_gone_on_with(words, run_dir, pattern):
    """The run is refused, and what it saved and logged is as it was."""
    results = [run_dir / "checkpoints", run_dir / "best"]
    before = tree(*results), (run_dir / "metrics.jsonl").read_bytes()
    with pytest.raises(UserError, match=pattern):
        run(*words)
    assert (tree(*results), (run_dir / "metrics.jsonl").read_bytes()) == before


def test_the_checkpoint_of_another_step_is_refused_and_kept(run_dir, trained):
    for path in (run_dir / "checkpoints").glob("ckpt-2.*"):
        path.rename(path.with_name(path.name.replace("ckpt-2", "ckpt-7")))
    words = given(trained, model_dir=run_dir)
    check_not_gone_on_with(words, run_dir, r"checkpoints/ckpt-7: is the checkpoint of step 2, of another run")
    words = ("--mode=eval", next(word for word in trained if word.startswith("--dataset=")))
    with pytest.raises(UserError, match=r"checkpoints/ckpt-7: is the checkpoint of step 2, of another run"):
        run(*words, f"--init_checkpoint={run_dir}/checkpoints/ckpt-7")


@pytest.mark.parametrize("lost", ["best", "best/best.json", "best/ckpt-*.index", "best/ckpt-*.data-*", ""])
def test_a_best_copy_that_is_gone_or_broken_is_told_and_no_other_taken_for_it(lost, run_dir, trained):
    step = json.loads((run_dir / "best/best.json").read_text())["step"]
    for path in run_dir.glob(lost) if lost else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not lost:
        (data,) = run_dir.glob("best/ckpt-*.data-*")
        data.write_bytes(data.read_bytes()[:-100])
    said = f"best copy, of step {step}, was saved in best/ and is not there" if lost else "cannot read the checkpoint"
    words = ("--mode=eval", next(word for word in trained if word.startswith("--dataset=")))
    with pytest.raises(UserError, match=rf"{said}.*, or name another checkpoint, .*/checkpoints/ckpt-2$"):
        run(*words, f"--model_dir={run_dir}")
    run(*words, f"--init_checkpoint={run_dir}/checkpoints/ckpt-2")


def test_the_checkpoint_of_another_run_is_refused_wherever_its_directory_is_read(run_dir, trained):
    config = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps(config | {"run": "0" * 32}))
    check_not_gone_on_with(given(trained, model_dir=run_dir), run_dir, r"best/ckpt-\d+: was saved by another run than")
    with pytest.raises(UserError, match=r"best/ckpt-\d+: was saved by another run than that of .*config\.json"):
        run("--mode=eval", f"--model_dir={run_dir}", next(word for word in trained if word.startswith("--dataset=")))


# Prediction and export.


def test_an_export_of_classes_called_0_1_2_is_of_named_classes(home, training, tmp_path):
    digits = class_folder(tmp_path / "digits", {"train": 2, "val": 1}, classes=("0", "1", "2"))
    run(*given(training, dataset=f"folder:{digits}"))
    words = ("--mode=export", f"--model_dir={tmp_path}/run", "--formats=savedmodel", f"--output={tmp_path}/export")
    run(*words)
    evaluation = ("--mode=eval", f"--init_checkpoint={tmp_path}/export", "--eval_batch_size=3")
    run(*evaluation, f"--dataset=folder:{digits}")
    with pytest.raises(UserError, match="class 0 is '0' there and 'ant' in"):
        run(*evaluation, f"--dataset=folder:{home}/pictures")


def test_images_are_turned_as_in_training_unless_a_flag_says_otherwise(home, trained, tmp_path):
    run(*given(trained, model_dir=tmp_path / "run"), "--noexif_orientation")
    words = ("--mode=predict", f"--images={home}/pictures/val/*/0.jpg")
    for model_dir, flag, turned in (
        (home / "trained", (), True),
        (tmp_path / "run", (), False),
        (tmp_path / "run", ("--exif_orientation",), True),
    ):
        config = parsing.checked("check_files", configure(*words, f"--model_dir={model_dir}", *flag))
        assert config.exif_orientation is turned


@pytest.fixture
def predicting(home, trained, tmp_path):
    words = ("--mode=predict", f"--model_dir={home}/trained", f"--images={home}/pictures/val/*/0.jpg")
    return (*words, f"--output={tmp_path}/out.npz")


def test_pictures_that_are_missing_or_cannot_be_decoded_are_refused(predicting, spoilt, tmp_path, refused):
    refused(given(predicting, images=f"{tmp_path}/*.jpg"), r"--images=.*/\*\.jpg: no such file")
    refused(given(predicting, images=f"{tmp_path}/none.jpg"), r"--images=.*/none\.jpg: no such file")
    (tmp_path / "bare").mkdir()
    refused(given(predicting, images=tmp_path / "bare"), "bare: holds no images")
    refused(given(predicting, images=f"{spoilt}/val/*/*.jpg"), r"corrupt image .*/val/bee/1\.jpg: ")
    (tmp_path / "note.jpg").write_text("not a picture")
    refused(given(predicting, images=tmp_path / "note.jpg"), r"corrupt image .*/note\.jpg: not an image")


def test_an_export_directory_in_use_is_refused(home, trained, tmp_path, refused):
    words = ["--mode=export", f"--model_dir={home}/trained"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    refused([*words, f"--output={tmp_path}/full"], r"--output=.*/full: holds thesis\.txt")
    refused([*words, f"--output={tmp_path}/full/thesis.txt"], r"--output=.*/thesis\.txt: is a file")


# Devices.


def test_a_batch_that_the_replicas_do_not_divide_is_refused(home, tmp_path):
    code = (
        "import sys, tensorflow as tf\n"
        "from mode_cases import configure\n"
        "from autonl_tf.errors import UserError\n"
        "from autonl_tf.cli.main import _runner\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "for mode, batch in (('train', 'train'), ('train', 'eval'), ('search', 'train'), ('eval', 'eval')):\n"
        "    words = [word for word in sys.argv[1:] if mode != 'search' or not word.startswith('--arch=')]\n"
        "    config = configure(f'--mode={mode}', *words, '--strategy=mirrored', f'--{batch}_batch_size=5')\n"
        "    try:\n"
        "        _runner(mode)(config)\n"
        "    except UserError as error:\n"
        "        print(mode, error)\n"
    )
    words = [f"--arch={home}/arch.txt", f"--dataset=folder:{home}/pictures", f"--search_space={home}/space.json"]
    words += [f"--model_dir={tmp_path}/run"]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys\nsys.path[:0] = {[str(MAIN.parent), str(MAIN.parent / 'tests')]}\n" + code,
            *words,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    expected = ["train --train", "train --eval", "search --train", "eval --eval"]
    assert [line.partition("_")[0] for line in said] == expected
    assert all("_batch_size=5: must be a positive multiple of the number of replicas, 2" in line for line in said)
    assert not list(tmp_path.iterdir())
