"""Every mistake a user can make: one line that names the culprit, exit code 2, and nothing written."""

import json
import shutil
import subprocess
import sys

import pytest
from mode_cases import ARCH, CLASSES, MAIN, SPACE, class_folder, command, configure, tree, write_space

from autonl_tf.errors import UserError
from autonl_tf.main import _import_mode

SHORT = ("--input_image_size=32", "--train_batch_size=6", "--eval_batch_size=6", "--train_steps=2")
LINES = ARCH.splitlines()


def run(*words):
    config = configure(*words)
    _import_mode(config.run.mode).run(config)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Good input that each test spoils: a class folder, an architecture, a space."""
    root = tmp_path_factory.mktemp("home")
    class_folder(root / "pictures", {"train": 2, "val": 1})
    (root / "arch.txt").write_text(ARCH)
    write_space(root / "space.json")
    return root


@pytest.fixture(scope="module")
def trained(home):
    """A run directory of two steps on that folder."""
    words = ("--mode=train", f"--arch={home}/arch.txt", f"--dataset=folder:{home}/pictures", *SHORT)
    run(*words, f"--model_dir={home}/trained")
    return (*words, f"--model_dir={home}/trained")


def given(words, **changed):
    """A command line with some flags replaced."""
    kept = [word for word in words if word.split("=")[0].lstrip("-") not in changed]
    return [*kept, *(f"--{name}={value}" for name, value in changed.items())]


@pytest.fixture
def training(home, tmp_path):
    words = ("--mode=train", f"--arch={home}/arch.txt", f"--dataset=folder:{home}/pictures", *SHORT)
    return (*words, f"--model_dir={tmp_path}/run")


@pytest.fixture
def searching(home, tmp_path):
    words = ("--mode=search", f"--search_space={home}/space.json", f"--dataset=folder:{home}/pictures", *SHORT)
    return (*words, f"--model_dir={tmp_path}/run")


@pytest.fixture
def refused(home, tmp_path):
    """refused(words, pattern): a UserError of that text, and every file below `home` and `tmp_path` as it was."""

    def check(words, pattern):
        before = tree(home, tmp_path)
        with pytest.raises(UserError, match=pattern):
            run(*words)
        assert tree(home, tmp_path) == before

    return check


# The command line itself, in processes that end before TensorFlow.

WRONG_FLAGS = {
    "unknown flag": (["--mode=train", "--nosuch=1"], "nosuch"),
    "unknown mode": (["--mode=nosuch"], "nosuch"),
    "no mode": (["--seed=1"], "--mode"),
    "unknown strategy": (["--mode=eval", "--strategy=nosuch"], "strategy"),
    "unknown output": (["--mode=describe", "--output=xml"], "xml"),
    "not a number": (["--mode=train", "--train_steps=many"], "train_steps"),
    "out of range": (["--mode=train", "--dropout_rate=1.5"], "dropout_rate"),
    "no steps": (["--mode=train", "--train_steps=0"], "train_steps"),
    "not finite": (["--mode=describe", "--arch=autonl_s", "--train_epochs=inf"], "--train_epochs=inf"),
    "not a number at all": (["--mode=describe", "--arch=autonl_s", "--cost_lambda=nan"], "--cost_lambda=nan"),
    "steps and epochs": (
        ["--mode=train", "--arch=autonl_s", "--dataset=demo", "--model_dir=run", "--train_steps=1", "--train_epochs=1"],
        "--train_steps and --train_epochs",
    ),
    "no model_dir": (["--mode=train", "--arch=autonl_s", "--dataset=demo"], "--model_dir"),
    "no weights": (["--mode=predict", "--images=a.jpg"], "--init_checkpoint"),
    "archive of another kind": (
        ["--mode=predict", "--images=a.jpg", "--model_dir=run", "--predictions_out=out.csv"],
        "out.csv",
    ),
    "zone without a TPU": (["--mode=eval", "--dataset=demo", "--model_dir=run", "--tpu_zone=z"], "--tpu"),
    "shares that leave nothing": (
        [
            *("--mode=search", "--dataset=demo", "--model_dir=run"),
            *("--search_warmup_share=0.9", "--search_settle_share=0.1"),
        ],
        "--search_warmup_share",
    ),
    "no such flag file": (["--flagfile=nosuch.flags"], "nosuch.flags"),
    "stray word": (["--mode=describe", "--arch=autonl_s", "stray"], "stray"),
    "describe a misspelt preset": (["--mode=describe", "--arch=autonl_x"], "autonl_x"),
    "describe a map too small": (["--mode=describe", "--arch=autonl_s", "--input_image_size=8"], "LightNL stride"),
}


def check_one_line(done, culprit, folder, before=()):
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert culprit in line
    assert sorted(folder.iterdir()) == sorted(before)


@pytest.mark.parametrize("case", WRONG_FLAGS)
def test_a_wrong_command_line_ends_with_code_2_and_one_line(case, tmp_path):
    words, culprit = WRONG_FLAGS[case]
    check_one_line(command(*words, cwd=tmp_path), culprit, tmp_path)


@pytest.mark.parametrize("case", ["data set", "architecture"])
def test_the_modes_mistakes_end_with_code_2_and_one_line_too(case, home, tmp_path):
    words = ["--mode=train", "--arch=autonl_s", "--dataset=nosuch", "--model_dir=run"]
    culprit = "'nosuch'"
    if case == "architecture":
        (tmp_path / "bad.txt").write_text(f"{LINES[0]}\n{LINES[1].replace('nonlocal', 'nonlocl')}\n")
        words = given(words, arch="bad.txt", dataset=f"folder:{home}/pictures")
        culprit = "bad.txt, line 2: unknown token 'nonlocl0.25-2'"
    before = list(tmp_path.iterdir())
    check_one_line(command(*words, cwd=tmp_path), culprit, tmp_path, before)


# Architecture files.

BAD_ARCH = {
    "misspelt": (1, LINES[1].replace("nonlocal", "nonlocl"), r"line 2: unknown token 'nonlocl0\.25-2'"),
    "missing": (1, LINES[1].replace("_o12", ""), r"line 2: .* lacks the token 'o'"),
    "repeated": (2, LINES[2] + "_k5", r"line 3: token 'k5' repeats 'k'"),
    "ratio out of range": (1, "r1_k3_s22_e2_i8_o12_nonlocal1.5-1", r"line 2: token 'nonlocal1\.5-1' is out of range"),
    "even kernel": (0, LINES[0].replace("k3", "k4"), r"line 1: token 'k4' is out of range"),
    "uneven stride": (0, LINES[0].replace("s22", "s12"), r"line 1: token 's12' is out of range"),
    "channels that do not chain": (2, LINES[2].replace("i12", "i16"), r"line 3: token 'i16' does not follow .* 'i12'"),
    "not the stem's channels": (0, LINES[0].replace("i32", "i24"), r"line 1: token 'i24' .* stem"),
}


@pytest.mark.parametrize("mode", ["train", "describe"])
@pytest.mark.parametrize("case", BAD_ARCH)
def test_a_wrong_block_is_refused_by_file_line_and_token(case, mode, training, tmp_path, refused):
    number, line, pattern = BAD_ARCH[case]
    path = tmp_path / "bad.txt"
    path.write_text("".join(f"{line if i == number else other}\n" for i, other in enumerate(LINES)))
    refused(given(training, mode=mode, arch=path), rf"bad\.txt, {pattern}")


@pytest.mark.parametrize("mode", ["train", "describe"])
@pytest.mark.parametrize(
    ("data", "pattern"),
    [(b"", "no block"), (b"\n \n", "no block"), (b"\xff\xfe", "not a text file"), (None, "No such")],
)
def test_a_file_without_blocks_is_refused_by_name(data, pattern, mode, training, tmp_path, refused):
    path = tmp_path / "bad.txt"
    if data is not None:
        path.write_bytes(data)
    refused(given(training, mode=mode, arch=path), rf"bad\.txt: {pattern}")


@pytest.mark.parametrize("mode", ["train", "describe"])
def test_a_light_nl_stride_larger_than_its_map_is_refused(mode, training, tmp_path, refused):
    path = tmp_path / "bad.txt"
    path.write_text(ARCH.replace("nonlocal0.25-2", "nonlocal0.25-5"))
    refused(given(training, mode=mode, arch=path), r"bad\.txt: block 1 at 32 px: LightNL stride 5 .* 4x4")


# Data.

FITTING = ["training", "searching"]


@pytest.mark.parametrize("words", FITTING)
@pytest.mark.parametrize("name", ["nosuch", "folder:", "nosuch:here", "demo:nosuch"])
def test_an_unknown_data_set_is_refused(words, name, request, refused):
    refused(given(request.getfixturevalue(words), dataset=name), rf"unknown data set '{name}'; expected one of demo")


@pytest.mark.parametrize("words", FITTING)
def test_a_folder_that_is_missing_empty_or_of_one_class_is_refused(words, request, tmp_path, refused):
    words = request.getfixturevalue(words)
    refused(given(words, dataset=f"folder:{tmp_path}/none"), r"/none: no such directory")
    (tmp_path / "empty").mkdir()
    refused(given(words, dataset=f"folder:{tmp_path}/empty"), r"/empty: no images in class folders")
    class_folder(tmp_path / "one", {"train": 1, "val": 1}, classes=["ant"])
    refused(given(words, dataset=f"folder:{tmp_path}/one"), r"/one: only one class, 'ant'")


@pytest.fixture
def spoilt(tmp_path):
    """A class folder with one picture cut short in each split."""
    root = class_folder(tmp_path / "spoilt", {"train": 2, "val": 2})
    for split in ("train", "val"):
        path = root / split / "bee" / "1.jpg"
        path.write_bytes(path.read_bytes()[:300])
    return root


@pytest.mark.parametrize("words", FITTING)
def test_a_corrupt_picture_is_refused_by_name(words, request, spoilt, refused):
    refused(given(request.getfixturevalue(words), dataset=f"folder:{spoilt}"), r"corrupt image .*/train/bee/1\.jpg: ")


def test_skip_corrupt_counts_what_it_leaves_out_and_goes_on(home, trained, training, spoilt, tmp_path, capsys):
    dataset = f"--dataset=folder:{spoilt}"
    run(*given(training, dataset=f"folder:{spoilt}"), "--skip_corrupt")
    assert "left out 2 corrupt images" in capsys.readouterr().err
    run("--mode=eval", f"--model_dir={home}/trained", dataset, "--skip_corrupt", "--output=json")
    said = capsys.readouterr()
    assert json.loads(said.out)["count"] == 5
    assert "left out 1 corrupt images" in said.err
    run("--mode=export", f"--model_dir={home}/trained", dataset, "--skip_corrupt", f"--export_dir={tmp_path}/export")
    assert json.loads((tmp_path / "export" / "card.json").read_text())["accuracy"]["count"] == 5
    assert "left out 1 corrupt images" in capsys.readouterr().err


def imagenet_records(root, pictures):
    """Pictures of a class folder as one record file a split, one picture of each class."""
    import tensorflow as tf

    for split, folder in (("train", "train"), ("validation", "val")):
        with tf.io.TFRecordWriter(str(root / f"{split}-00000-of-00001")) as writer:
            for label, name in enumerate(CLASSES, start=1):
                image = tf.train.BytesList(value=[(pictures / folder / name / "1.jpg").read_bytes()])
                features = {
                    "image/encoded": tf.train.Feature(bytes_list=image),
                    "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
    (root / "labels.txt").write_text("".join(f"{name}\n" for name in CLASSES))


@pytest.mark.parametrize("mode", ["train", "eval", "export"])
def test_a_corrupt_picture_met_on_the_way_is_named(mode, home, trained, training, spoilt, tmp_path, monkeypatch):
    from autonl_tf.data import datasets

    # As for a set too large to be checked before it is used.
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", 0)
    imagenet_records(tmp_path, spoilt)
    data = {"dataset": f"imagenet_tfrecord:{tmp_path}", "label_file": tmp_path / "labels.txt"}
    split = "train" if mode == "train" else "validation"
    if mode != "train":
        training = [f"--mode={mode}", f"--model_dir={home}/trained", f"--export_dir={tmp_path}/export"]
    with pytest.raises(UserError, match=rf"corrupt image .*{split}-00000-of-00001#1: damaged .*--skip_corrupt"):
        run(*given(training, **data))
    assert not (tmp_path / "export").exists()
    assert not list((tmp_path / "run").glob("checkpoints/*"))


@pytest.mark.parametrize("words", FITTING)
def test_a_class_the_label_file_does_not_name_is_refused(words, request, tmp_path, refused):
    words = request.getfixturevalue(words)
    (tmp_path / "labels.txt").write_text("ant\nbee\ndog\n")
    refused(given(words, label_file=tmp_path / "labels.txt"), r"class 'cat' is not in label file .*labels\.txt")
    refused(given(words, label_file=tmp_path / "none.txt"), r"label file .*none\.txt: No such file")


@pytest.mark.parametrize("words", FITTING)
def test_another_number_of_classes_than_the_datas_is_refused(words, request, refused):
    refused(given(request.getfixturevalue(words), num_label_classes=4), r"--num_label_classes=4: .* has 3 classes")


# Checkpoints and run directories.


@pytest.fixture
def four(tmp_path):
    return class_folder(tmp_path / "four", {"train": 2, "val": 1}, classes=[*CLASSES, "dog"])


@pytest.mark.parametrize("mode", ["eval", "export"])
def test_other_classes_than_the_checkpoints_are_refused(mode, home, trained, four, tmp_path, refused):
    words = [f"--mode={mode}", f"--model_dir={home}/trained", f"--dataset=folder:{four}"]
    if mode == "export":
        words.append(f"--export_dir={tmp_path}/export")
    refused(words, r"trained/best/ckpt-\d+: has 3 classes, folder:.*four has 4")
    (tmp_path / "labels.txt").write_text("bee\nant\ncat\n")
    words = given(words, dataset=f"folder:{home}/pictures", label_file=tmp_path / "labels.txt")
    refused(words, r"class 0 is 'ant' there and 'bee' in ")


def test_starting_from_a_checkpoint_of_other_classes_is_refused(home, trained, training, four, refused):
    words = given(training, dataset=f"folder:{four}", init_checkpoint=home / "trained")
    refused(words, r"trained: has 3 classes, .* has 4")


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
        words += [f"--images={home}/pictures/val/ant/0.jpg", f"--predictions_out={tmp_path}/out.npz"]
        refused([*words, f"--export_dir={tmp_path}/export"], rf"{tmp_path}/{name}: no checkpoint")


def test_training_from_a_missing_checkpoint_is_refused(training, tmp_path, refused):
    refused(given(training, init_checkpoint=tmp_path / "none"), r"/none: no checkpoint there")


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
        refused(given(words, model_dir=tmp_path / "file" / "run"), "/file/run: cannot be written: Not a directory")


def test_a_search_too_short_to_decide_is_refused(searching, refused):
    refused(given(searching, train_steps=1), "a search of 1 steps leaves none for decisions: 1 are warm-up")


# Spaces.

BAD_SPACES = {
    "not JSON": ("{", r"bad\.json: not JSON"),
    "unknown key": (json.dumps({**SPACE, "block": []}), r"bad\.json: unknown key 'block'"),
    "lacks candidates": (json.dumps({"blocks": SPACE["blocks"]}), r"bad\.json: lacks 'candidates'"),
    "no blocks": (json.dumps({**SPACE, "blocks": []}), r"bad\.json: \"blocks\" must be"),
    "kernels that fall": (
        json.dumps({**SPACE, "candidates": {**SPACE["candidates"], "kernels": [5, 3]}}),
        r"bad\.json, block entry 1: 'kernels' must be ascending",
    ),
    "bad block": (
        json.dumps({**SPACE, "blocks": [{"block": "r1_k3_s22_e6_i32_o12_nonlocl"}]}),
        r"bad\.json, line 1: unknown token 'nonlocl'",
    ),
    "stride larger than its map": (
        json.dumps({**SPACE, "candidates": {**SPACE["candidates"], "nonlocal_strides": [5, 1]}}),
        r"bad\.json: block 1 at 32 px: LightNL stride 5",
    ),
}


@pytest.mark.parametrize("case", BAD_SPACES)
def test_a_wrong_space_file_is_refused(case, searching, tmp_path, refused):
    text, pattern = BAD_SPACES[case]
    (tmp_path / "bad.json").write_text(text)
    refused(given(searching, search_space=tmp_path / "bad.json"), pattern)


def test_a_missing_space_is_refused(searching, refused):
    refused(given(searching, search_space="nosuch"), r"--search_space=nosuch: No such file.*demo, paper")


# Prediction and export.


@pytest.fixture
def predicting(home, trained, tmp_path):
    words = ("--mode=predict", f"--model_dir={home}/trained", f"--images={home}/pictures/val/*/0.jpg")
    return (*words, f"--predictions_out={tmp_path}/out.npz")


def test_pictures_that_are_missing_or_cannot_be_decoded_are_refused(predicting, spoilt, tmp_path, refused):
    refused(given(predicting, images=f"{tmp_path}/*.jpg"), r"--images=.*/\*\.jpg: no such file")
    refused(given(predicting, images=f"{tmp_path}/none.jpg"), r"--images=.*/none\.jpg: no such file")
    refused(given(predicting, images=tmp_path), "no such file")
    refused(given(predicting, images=f"{spoilt}/val/*/*.jpg"), r"corrupt image .*/val/bee/1\.jpg: ")
    (tmp_path / "note.jpg").write_text("not a picture")
    refused(given(predicting, images=tmp_path / "note.jpg"), r"corrupt image .*/note\.jpg: not a JPEG")


def test_an_archive_that_cannot_be_written_is_refused(predicting, tmp_path, refused):
    refused(given(predicting, predictions_out=tmp_path / "none" / "out.npz"), r"--predictions_out=.*/none/out\.npz: ")
    (tmp_path / "folder.npz").mkdir()
    refused(given(predicting, predictions_out=tmp_path / "folder.npz"), r"--predictions_out=.*/folder\.npz: ")


def test_an_export_directory_in_use_is_refused(home, trained, tmp_path, refused):
    words = ["--mode=export", f"--model_dir={home}/trained"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    refused([*words, f"--export_dir={tmp_path}/full"], r"--export_dir=.*/full: holds thesis\.txt")
    refused([*words, f"--export_dir={tmp_path}/full/thesis.txt"], r"--export_dir=.*/thesis\.txt: is a file")


# Devices.


def test_a_batch_that_the_replicas_do_not_divide_is_refused(home, tmp_path):
    code = (
        "import sys, tensorflow as tf\n"
        "from mode_cases import configure\n"
        "from autonl_tf.errors import UserError\n"
        "from autonl_tf.main import _import_mode\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "for mode, batch in (('train', 'train'), ('train', 'eval'), ('search', 'train'), ('eval', 'eval')):\n"
        "    config = configure(f'--mode={mode}', *sys.argv[1:], '--strategy=mirrored', f'--{batch}_batch_size=5')\n"
        "    try:\n"
        "        _import_mode(mode).run(config)\n"
        "    except UserError as error:\n"
        "        print(mode, error)\n"
    )
    words = [f"--arch={home}/arch.txt", f"--dataset=folder:{home}/pictures", f"--search_space={home}/space.json"]
    words += [f"--model_dir={tmp_path}/run"]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys\nsys.path[:0] = {[str(MAIN.parent), str(MAIN.parent / 'tests/modes')]}\n" + code,
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
