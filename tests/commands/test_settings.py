"""No setting is unread, and each is read by the modes that claim to read it."""

import ast
import inspect
import keyword
import pathlib

import pytest
from absl import flags
from mode_cases import configure

import autonl_tf
from autonl_tf import records
from autonl_tf.arch import presets
from autonl_tf.cli import parsing
from autonl_tf.cli.parsing import COMMANDS, FLAGS
from autonl_tf.commands.search import flags as search
from autonl_tf.data import imagenet
from autonl_tf.data.facts import DEMOS
from autonl_tf.errors import UserError
from autonl_tf.prepare import run_directory
from autonl_tf.settings.flag import define_path
from autonl_tf.space import space

PACKAGE = pathlib.Path(autonl_tf.__file__).parent
ATTRIBUTES = {f"{name}_" if keyword.iskeyword(name) else name: flag for name, flag in FLAGS.items()}
NAMES = set(ATTRIBUTES) - {"mode"}  # which main reads, to pick the mode's module


def unread(sources, names):
    """Those of `names` that no source reads as an attribute, `.name`."""
    used = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                used.add(node.attr)
    return sorted(set(names) - used)


@pytest.fixture(scope="module")
def sources():
    paths = [PACKAGE / "settings" / "agreement.py", *PACKAGE.glob("prepare/*.py"), *PACKAGE.glob("commands/*/*.py")]
    paths = [path for path in paths if path.name != "flags.py"]
    asked = (search.cost_models, search.phases, search.target_of)
    return [*map(inspect.getsource, asked), *(path.read_text(encoding="utf-8") for path in paths)]


def test_every_setting_is_read_by_some_mode(sources):
    assert unread(sources, NAMES) == []
    assert "_runner(config.mode)" in (PACKAGE / "cli" / "main.py").read_text(encoding="utf-8")


def test_the_scan_finds_a_setting_that_is_only_written_or_only_named():
    assert unread(["x.seed = 1\nseed = 2\n'seed'\n# .seed"], ["seed"]) == ["seed"]
    assert unread(["f(config.seed)"], ["seed"]) == []


def test_no_two_flags_have_one_name():
    assert len(FLAGS) == 1 + sum(len(held) for held in parsing.SECTIONS.values())


class Recorder:
    """A stand-in for a config that notes which settings were looked at."""

    def __init__(self, real, seen):
        self._real, self._seen = real, seen

    def __getattr__(self, name):
        if name in ATTRIBUTES:
            self._seen.add(name)
        return getattr(self._real, name)


def claimed(mode):
    return {name for name in NAMES if mode in ATTRIBUTES[name].modes}


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory):
    """mode -> the settings that a run of it looked at."""
    from mode_cases import ARCH, class_folder, configure, write_space
    from official_checkpoints import tiny_checkpoint

    from autonl_tf.cli.main import _runner

    root = tmp_path_factory.mktemp("settings")
    class_folder(root / "pictures", {"train": 2, "val": 1})
    (root / "arch.txt").write_text(ARCH)
    write_space(root / "space.json")
    few = {"kernels": [3], "expansions": [2], "se_ratios": [0.25], "nonlocal_ratios": [], "nonlocal_strides": []}
    write_space(root / "few.json", candidates=few, blocks=[{"block": "r1_k3_s22_e2_i32_o8"}])
    data = [f"--dataset=folder:{root}/pictures", "--num_label_classes=3", "--eval_batch_size=3"]
    fit = ["--input_image_size=32", "--train_batch_size=6", "--train_steps=4", "--steps_per_loop=4", *data]
    trained = f"--model_dir={root}/train"
    words = {
        "describe": [f"--arch={root}/arch.txt", "--input_image_size=32"],
        "compare": [f"--arch={root}/arch.txt,{root}/arch.txt", "--input_image_size=32"],
        "search": [f"--search_space={root}/space.json", f"--model_dir={root}/search", *fit],
        "report": [f"--model_dir={root}/search"],
        "profile": [f"--search_space={root}/few.json", f"--model_dir={root}/profile", "--input_image_size=32"],
        "train": [f"--arch={root}/arch.txt", trained, *fit, "--eval_every_epochs=4"],
        "eval": [trained, *data],
        "predict": [trained, f"--images={root}/pictures/val/*/*.jpg", f"--output={root}/out.npz"],
        "explain": [trained, f"--images={root}/pictures/val/*/*.jpg", f"--output={root}/explain"],
        "export": [
            *(trained, *data, f"--output={root}/export", "--max_accuracy_drop=100"),
            *("--formats=tflite_fp32,tflite_int8", "--calibration_images=2"),
        ],
        "convert": [f"--init_checkpoint={tiny_checkpoint(root / 'official')}", f"--model_dir={root}/convert"],
    }
    seen = {}
    from autonl_tf.prepare import defaults, fit_memory

    def recorded(complete):
        return lambda config, *rest: Recorder(complete(config._real, *rest), config._seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(defaults, "resolved", recorded(defaults.resolved))
        patch.setattr(defaults, "completed", recorded(defaults.completed))
        patch.setattr(fit_memory, "fitted", recorded(fit_memory.fitted))
        for mode, given in words.items():
            seen[mode] = set()
            _runner(mode)(Recorder(configure(f"--mode={mode}", *given), seen[mode]))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("mode", COMMANDS)
def test_a_mode_reads_the_settings_it_claims_and_no_others(mode, looked_at):
    read = looked_at[mode] & NAMES
    # Steps are looked at before epochs, and a decay's rate where there are decays; the others only beside
    # --init_checkpoint, --qat, --arch, and a space is described where no --arch is.
    unasked = {"train_epochs", "lr_warmup_epochs", "lr_decay_rate"}
    if mode == "train":
        unasked |= {"use_averages", "calibration_dataset", "calibration_images"}
    elif mode in ("search", "describe"):
        unasked |= {"use_averages", "arch"} if mode == "search" else {"search_space"}
    elif mode not in ("describe", "compare"):
        unasked |= {"nonlocal_"}
    # What evaluation seeds, initial weights, is replaced by the checkpoint's; a data service decides who decodes an
    # image, and there is none where it cannot be given.
    harmless = {"data_service"} | ({"seed"} if mode == "eval" else set())
    assert claimed(mode) - read - unasked == set(), "claimed but not read: the user is not told it has no effect"
    assert read - claimed(mode) - harmless == set(), "read but not claimed: the user is told it has no effect"


HOME_FLAGS = {
    "model_dir": "~/run",
    "compare_with": "~/run",
    "init_checkpoint": "~/run/",
    "images": "~/photos/*.jpg",
    "output": "~/export",
    "arch": "~/a.txt,autonl_s,~/b.txt",
    "dataset": "folder:~/photos",
    "data_dir": "~/data",
    "label_file": "~/labels.txt",
    "calibration_dataset": "imagenet_tfrecord:~/records",
    "search_space": "~/space.json",
    "latency_table": "~/table.json",
    "benchmark_output": "~/phone",
    "class_weights": "~/weights.txt",
}


def parsed(name, value):
    values = flags.FlagValues()
    parsing.define_flags(values)
    values(["main.py", f"--{name}={value}"])
    return values[name].value


def test_every_path_flag_knows_the_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert {name for name, flag in FLAGS.items() if flag.define is define_path} == set(HOME_FLAGS)
    for name, value in HOME_FLAGS.items():
        assert parsed(name, value) == value.rstrip("/").replace("~", "/home/me"), name
        with pytest.raises(flags.Error, match="no such user: ~nosuchuser"):
            parsed(name, value.replace("~", "~nosuchuser"))
    assert parsed("dataset", "folder:/") == "folder:/" and parsed("arch", "autonl_s") == "autonl_s"


def test_words_that_are_no_flags_are_read_as_the_flags_that_they_stand_for(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    values = flags.FlagValues()
    parsing.define_flags(values)
    parsing.parse(["main.py", "--mode=report", "~/a/", "b/"], values)
    assert (values.model_dir, values.compare_with) == ("/home/me/a", "b")
    values = flags.FlagValues()
    parsing.define_flags(values)
    parsing.parse(["main.py", "--mode=compare", "autonl_s", "~/b.txt"], values)
    assert values.arch == "autonl_s,/home/me/b.txt"
    with pytest.raises(UserError, match="no such user: ~nosuchuser"):
        parsing.parse(["main.py", "--mode=report", "~nosuchuser/a"], values)


@pytest.mark.parametrize("name", ["model_dir", "init_checkpoint", "data_dir"])
@pytest.mark.parametrize("path", ["runs/a [2]", "runs/a\\b", "a\nb", "a\x1bb", "a\udcffb"])
def test_a_path_that_tensorflow_cannot_read_back_is_refused(name, path):
    with pytest.raises(flags.Error, match=rf"(?s)flag --{name}=.*choose another"):
        parsed(name, path)


def test_an_export_is_refused_where_tensorflow_cannot_read_it_back():
    words = ("--mode=export", "--model_dir=run", "--output=runs/a [2]")
    with pytest.raises(UserError, match=r"--output='runs/a \[2\]': '\[': TensorFlow reads no checkpoint back"):
        configure(*words)
    assert configure("--mode=predict", "--model_dir=run", "--images=a", "--output=runs/a [2].csv").output


@pytest.mark.parametrize("path", ["runs/a b", "a*b", "a?b", "é", "a]b", "a{b,c}", "a'b", "-x"])
def test_other_odd_paths_are_taken_as_they_are(path):
    assert parsed("model_dir", path) == path


@pytest.mark.parametrize("name", ["model_dir", "output"])
def test_a_name_too_long_to_be_written_aside_is_refused(name):
    with pytest.raises(flags.Error, match="too long for a file's name"):
        parsed(name, "x" * 250)


def test_the_flags_that_are_paths_of_what_is_read_are_known():
    """All that hold a path, but for those that may change between two starts and those of modes that have none."""
    paths = {name for name, flag in FLAGS.items() if flag.define is define_path}
    begun = {name for name in paths if {"search", "train", "profile"} & set(FLAGS[name].modes)}
    assert begun - run_directory._FREE - {"benchmark_output"} == set(records.PATHS)


def test_ways_to_write_one_path_are_one_setting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pictures", "other", "swish"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("pictures")
    ways = ("pictures", "./pictures", "other/../pictures", "link", str(tmp_path / "pictures"))
    for kind in ("folder", "imagenet_tfrecord"):
        assert all(records.same_setting("dataset", f"{kind}:pictures", f"{kind}:{way}") for way in ways)
    assert not records.same_setting("dataset", "folder:pictures", "imagenet_tfrecord:pictures")
    assert not records.same_setting("dataset", "folder:pictures", "folder:other")
    assert not records.same_setting("dataset", "folder:none", f"folder:{tmp_path}/none")  # nothing says that it is one
    assert records.located({"dataset": "tfds:pictures", "augment": "swish", "arch": "swish", "seed": 3}) == {
        "dataset": "tfds:pictures",
        "augment": "swish",
        "arch": f"{tmp_path}/swish",
        "seed": 3,
    }


def test_a_shipped_name_is_no_path_whatever_lies_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"arch": presets.names(), "search_space": space.names(), "dataset": DEMOS}
    names["search_space"] += tuple(f"around:{name}{words}" for name in presets.names() for words in ("", ",depth"))
    names |= {"label_file": [imagenet.NAME], "init_checkpoint": [imagenet.NAME], "class_weights": ["balanced"]}
    values = [(flag, value) for flag, named in names.items() for value in named]
    for _, value in values:
        (tmp_path / value.rpartition(":")[2].partition(",")[0]).mkdir(exist_ok=True)
    assert all(records.located({flag: value}) == {flag: value} for flag, value in values)
    for value in ("folder:demo", "imagenet_tfrecord:texture"):
        assert records.located({"dataset": value}) == {"dataset": value.replace(":", f":{tmp_path}/")}
    (tmp_path / "arch.txt").touch()
    around = records.located({"search_space": "around:arch.txt,depth"})
    assert around == {"search_space": f"around:{tmp_path}/arch.txt,depth"}
