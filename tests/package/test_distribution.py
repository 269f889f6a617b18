"""The wheel: built from the sources, whole, and a command in an environment that has nothing else of ours."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ("*.json", "*.tsv", "*.arch.txt", "*.sh", "*.pyi", "py.typed")


def checked(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "autonl_tf", source / "autonl_tf", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps", "--no-index"]
    checked(*pip, "--no-build-isolation", "--wheel-dir", str(built), ".", cwd=source)
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_holds_every_module_and_data_file(wheel):
    package = ROOT / "autonl_tf"
    expected = {path.relative_to(ROOT).as_posix() for pattern in ("*.py", *DATA) for path in package.rglob(pattern)}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("autonl_tf/")}
    assert held == expected


def test_the_installed_command_helps_and_describes(wheel, tmp_path):
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index"]
    checked(*pip, "--target", str(target), str(wheel))
    environment = {**os.environ, "PYTHONPATH": str(target), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, str(target / "bin" / "autonl")]
    assert "--mode=" in checked(*command, "--help", cwd=tmp_path, env=environment)
    assert "mixnet_m" in checked(*command, "--mode=describe", "--arch=all", cwd=tmp_path, env=environment)
    where = checked(sys.executable, "-c", "import autonl_tf; print(autonl_tf.__file__)", cwd=tmp_path, env=environment)
    assert where.strip() == str(target / "autonl_tf" / "__init__.py")


def test_the_stage_on_an_older_tensorflow_pins_every_package_that_follows_its_version():
    stage = (ROOT / ".ci" / "tf220").read_text(encoding="utf-8")
    replaced = dict(re.findall(r"s/\^([\w-]+)==\.\*/[\w-]+==(2\.20[\w.]*)/", stage))
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    follow = set(re.findall(r"^(t(?:ensor|f_)[\w-]+)==2\.21\.", constraints, re.MULTILINE))
    assert follow == set(replaced) >= {"tensorflow", "tf_keras", "tensorboard", "tensorflow-serving-api"}
