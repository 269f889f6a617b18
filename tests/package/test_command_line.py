"""The command, the recipes, the package's files and the Makefile, seen from outside."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from absl import flags

from autonl_tf import host_memory
from autonl_tf.cli import main, parsing
from autonl_tf.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECIPES = sorted(ROOT.glob("flags/*.flags"))


def run(*words, cwd=ROOT):
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_help_is_a_screen_of_modes_and_imports_no_tensorflow():
    code = (
        "import runpy, sys\n"
        "sys.argv = ['main.py', '--help']\n"
        "try:\n"
        "    runpy.run_path('main.py', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "heavy = {'tensorflow', 'tf_keras', 'matplotlib', 'tensorflow_datasets'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {mode} " in done.stdout for mode in parsing.COMMANDS)
    assert "--mode=MODE --help" in done.stdout and "--helpfull" in done.stdout
    assert len(done.stdout.splitlines()) <= 40


def told(*words):
    """The flags that a text of help has an entry for."""
    return set(re.findall(r"^  --(\w+)", parsing.help_asked(words), re.MULTILINE))


def test_help_beside_a_mode_lists_its_flags_and_helpfull_all(tmp_path):
    assert told("--helpfull") == told("--mode=train", "-helpfull") == set(parsing.FLAGS)
    for mode in parsing.COMMANDS:
        assert told(f"--mode={mode}", "--help") == {n for n, f in parsing.FLAGS.items() if mode in f.modes} - {"mode"}
    (tmp_path / "recipe").write_text("--mode=eval\n--nosuch=1\n")
    for words in (
        ("-h", "--mode", "eval"),
        ("--help", f"--flagfile={tmp_path}/recipe"),
        ("--seed=x", "--mode=eval", "-h"),
    ):
        assert told(*words) == told("--mode=eval", "--help")
    for word in ("-?", "--helpshort", "--helpxml"):
        assert parsing.help_asked([word]) == parsing.help_asked(["--help"])
    assert parsing.help_asked(["--mode=eval"]) is None
    with pytest.raises(UserError, match=r"--mode=nosuch: value should be one of <search\|train"):
        parsing.help_asked(["--mode=nosuch", "--help"])


def test_a_training_on_a_folder_imports_no_second_keras_no_tensorflow_datasets_and_no_matplotlib():
    code = (
        "import sys\n"
        "from autonl_tf.cli import main\n"
        "main._runner('train')\n"
        "heavy = {'keras', 'tensorflow_datasets', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


def test_tensorflow_is_told_how_much_memory_the_container_has(monkeypatch):
    monkeypatch.setattr(main.host_memory, "there_is", lambda: host_memory.Capacity(3 << 30, 1 << 30, "this container"))
    for name in ("TF_CPU_ALLOCATOR_USE_BFC", "TF_CPU_BFC_MEM_LIMIT_IN_MB"):
        monkeypatch.setenv(name, "")  # restores it
        monkeypatch.delenv(name)
    main._runner("train")
    assert os.environ["TF_CPU_ALLOCATOR_USE_BFC"] == "1"
    assert os.environ["TF_CPU_BFC_MEM_LIMIT_IN_MB"] == "3072"


@pytest.mark.parametrize("words", [["--nosuch=1"], ["--mode=nosuch"], ["--mode=describe", "stray"], []])
def test_a_wrong_command_line_is_one_line_and_exit_code_2(words):
    done = run(sys.executable, "main.py", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: .+\n", done.stderr)


def test_a_message_is_one_line_and_keeps_the_blanks_of_names(capsys):
    assert main._fail("no  such.txt: missing;\n  accepted: a file") == 2
    assert capsys.readouterr().err == "error: no  such.txt: missing; accepted: a file\n"


def test_a_working_directory_that_was_removed_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    with pytest.raises(UserError, match=r"the working directory cannot be used \(No such file or directory\)"):
        main._main([])


def test_flag_files_are_read_within_limits_and_within_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outer").write_bytes(b"\xef\xbb\xbf--seed=1\r\n# a note\r\n\r\n--flagfile=~/inner\r\n--seed=3\r\n")
    (tmp_path / "inner").write_text("// a note\n --seed=2\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "itself").write_text("--flagfile=other")
    (tmp_path / "other").write_text("--flagfile=itself")
    (tmp_path / "many").write_text("--flagfile=lines\n" * 200)
    (tmp_path / "lines").write_text("--seed=1\n" * 200)
    (tmp_path / "nested").write_text("--flagfile=")
    for words in (["--flagfile=~/outer"], ["--flagfile", "~/outer"], ["-flagfile", "outer"]):
        assert parsing.expanded(["--a=1", *words, "b"]) == ["--a=1", "--seed=1", "--seed=2", "--seed=3", "b"]
    for words, told in (
        (["--flagfile", "bytes"], "bytes: not a text file"),
        (["--flagfile=/dev/zero"], "/dev/zero: not a regular file"),
        (["-flagfile", "/dev/zero"], "/dev/zero: not a regular file"),
        (["--flagfile", "none"], "none: No such file"),
        (["--flagfile=itself"], "itself: reads itself, by way of other"),
        (["--flagfile=many"], "accepted: at most 10000"),
        *((words, "--flagfile is empty") for words in (["--flagfile"], ["--flagfile="], ["--flagfile", ""])),
        (["--flagfile=nested"], "--flagfile is empty"),
    ):
        with pytest.raises(UserError, match=told):
            parsing.expanded(words)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--input_image_size=abc", "flag --input_image_size=abc: accepted: a whole number from 8 to 4,096"),
        ("--input_image_size=7", "flag --input_image_size=7: accepted: a whole number from 8 to 4,096"),
        ("--depth_multiplier=x", "flag --depth_multiplier=x: accepted: a number from 0.05 to 20"),
        ("--json=maybe", "flag --json=maybe: accepted: true or false"),
        ("--target_macs=many", "flag --target_macs=many: accepted: a number from 1"),
        ("--micro_batches=few", "flag --micro_batches=few: accepted: auto, or a whole number from 1 to 65,536"),
        ("--seed", "Missing value for flag --seed"),
        ("--bogus=3", "unknown flag --bogus"),
        ("--arch = autonl_s", "blanks in --arch =; accepted: --arch=VALUE"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_accepted_and_where_it_is(line, told, tmp_path):
    (tmp_path / "recipe").write_text(f"# a note\n--mode=describe\n\n{line}\n")
    (tmp_path / "outer").write_text(f"--flagfile={tmp_path}/recipe")
    for words, where in ((["--seed=1", line], ""), ([f"--flagfile={tmp_path}/outer"], f"{tmp_path}/recipe, line 4: ")):
        values = flags.FlagValues()
        parsing.define_flags(values)
        with pytest.raises(UserError) as error:
            parsing.parse(["autonl", *words], values)
        assert str(error.value).startswith(f"{where}{told}")


def test_there_are_recipes():
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_holds_known_flags_that_fit_together(path):
    values = flags.FlagValues()
    parsing.define_flags(values)
    # What a recipe leaves to the user comes first, so that the recipe's own setting wins.
    rest = values(["main.py", "--model_dir=run", "--dataset=demo", f"--flagfile={path}"])
    assert rest == ["main.py"]
    parsing.from_flags(values)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_no_recipe_sets_a_flag_twice_or_holds_the_path_of_one_machine(path):
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    settings = [line for line in lines if line and not line.startswith("#")]
    names = [re.match(r"--(?:no)?(\w+)", line).group(1) for line in settings]
    assert len(names) == len(set(names))
    assert not [line for line in settings if re.search(r"=(/|~|\w+:/)", line)]


def test_the_command_autonl_is_the_packages_main():
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert '"autonl = autonl_tf.cli.main:run"' in text
    from autonl_tf.cli.main import run as entry

    assert callable(entry)


def test_constraints_pin_every_requirement_inside_its_range():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            (exact,) = pin.specifier
            assert exact.operator == "==", line
            pins.setdefault(canonicalize_name(pin.name), []).append((pin.marker, exact.version))
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    required = [
        Requirement(found) for found in re.findall(r'^ +"([\w-]+>=[\d.,<>=]+)",(?:  #.*)?$', text, re.MULTILINE)
    ]
    assert len(required) >= 16
    for python in ("3.10", "3.11", "3.12", "3.13"):
        for need in required:
            here = [
                version
                for marker, version in pins[canonicalize_name(need.name)]
                if marker is None or marker.evaluate({"python_version": python})
            ]
            assert len(here) == 1, f"{need.name} on Python {python}: {here}"
            assert need.specifier.contains(here[0]), f"{need} on Python {python}: {here[0]}"


def test_make_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE).group(1).split()
    wanted = {"help", "setup", "demo", "test", "lint", "bench", "clean"}
    assert set(phony) - {"FORCE"} == wanted
    done = run("make", "--no-print-directory", "help")
    assert done.returncode == 0, done.stderr
    listed = {line.split()[1] for line in done.stdout.splitlines() if len(line.split()) > 2}
    assert listed == wanted


@pytest.fixture
def makefile_alone(tmp_path):
    for name in ("Makefile", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("python", ["no-such-python", "false"])
def test_make_setup_refuses_an_interpreter_that_will_not_do(makefile_alone, python):
    done = run("make", "--no-print-directory", "setup", f"PYTHON={python}", cwd=makefile_alone)
    assert done.returncode == 2
    assert f"error: {python} is not a Python 3.10 to 3.13" in done.stderr
    assert not (makefile_alone / ".venv").exists()


def fake_environment(folder, *, python="#!/bin/sh\nexit 0\n", stamp=None):
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").write_text(python)
    (programs / "python").chmod(0o755)
    if stamp is not None:
        (folder / ".venv" / "setup.stamp").write_text(f"{stamp}\n")


def planned(folder):
    return run("make", "--no-print-directory", "--dry-run", "setup", cwd=folder).stdout


def test_make_setup_leaves_a_whole_environment_alone(makefile_alone):
    fake_environment(makefile_alone, stamp=makefile_alone)
    assert "pip install" not in planned(makefile_alone)


@pytest.mark.parametrize(
    "broken",
    [
        {"stamp": None},
        {"stamp": "/somewhere/else"},
        {"stamp": "here", "python": "#!/bin/sh\nexit 1\n"},
    ],
    ids=["installation did not end", "clone was moved", "interpreter is gone"],
)
def test_make_setup_makes_a_broken_environment_anew(makefile_alone, broken):
    stamp = makefile_alone if broken["stamp"] == "here" else broken["stamp"]
    fake_environment(makefile_alone, **(broken | {"stamp": stamp}))
    assert 'if [ -z "" ]' in planned(makefile_alone)
    assert "pip install" in planned(makefile_alone)


@pytest.mark.parametrize("name", ["setup.py", "constraints.txt"])
def test_make_setup_installs_again_when_the_requirements_change(makefile_alone, name):
    import os

    fake_environment(makefile_alone, stamp=makefile_alone)
    later = (makefile_alone / ".venv" / "setup.stamp").stat().st_mtime + 10
    os.utime(makefile_alone / name, (later, later))
    assert "pip install" in planned(makefile_alone)
    assert 'if [ -z "yes" ]' in planned(makefile_alone)
