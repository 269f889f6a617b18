"""The scripts of tpu/: what they would run, that a dry run runs nothing, and that mistakes exit with 2."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ("create_tpu_vm.sh", "setup_tpu_vm.sh", "run.sh", "delete_tpu_vm.sh")
WHERE = ("--name=tiny-tpu", "--zone=us-central1-a", "--project=my-project")

# Stand on PATH as gcloud and tmux: record their words, and run in $HOME what is meant for the VM.
GCLOUD = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "$CALLS"
for word in "$@"; do
  case $word in --command=*) cd "$HOME" && exec bash -c "${word#--command=}" ;; esac
done
"""
TMUX = """#!/usr/bin/env bash
case $1 in
  new-session) exec sh -c "${!#}" ;;
  *) exit 1 ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    """A made-up clone with the scripts and one recipe, and a PATH whose gcloud only records."""
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "tpu", folder / "tpu")
    (folder / "flags").mkdir()
    (folder / "flags" / "search.flags").write_text("--mode=search\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("gcloud", GCLOUD), ("tmux", TMUX)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return folder


def run(clone, script, *arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TPU_")}
    return subprocess.run(
        [clone / "tpu" / script, *arguments],
        env=kept
        | {"PATH": f"{clone.parent / 'bin'}:{os.environ['PATH']}", "CALLS": str(clone.parent / "calls")}
        | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def arguments_of(script):
    return ("search",) if script == "run.sh" else ()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            "create_tpu_vm.sh",
            [
                "gcloud compute tpus tpu-vm create tiny-tpu --zone=us-central1-a --project=my-project"
                " --accelerator-type=v3-8 --version=tpu-ubuntu2204-base",
                "gcloud compute tpus tpu-vm describe tiny-tpu --zone=us-central1-a --project=my-project",
            ],
        ),
        (
            "delete_tpu_vm.sh",
            ["gcloud compute tpus tpu-vm delete tiny-tpu --zone=us-central1-a --project=my-project"],
        ),
    ],
)
def test_a_dry_run_prints_exactly_the_commands(clone, script, expected):
    done = run(clone, script, *WHERE, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_dry_run_runs_nothing(clone, script):
    before = sorted(clone.rglob("*"))
    done = run(clone, script, *arguments_of(script), *WHERE, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert not (clone.parent / "calls").exists()
    assert sorted(clone.rglob("*")) == before
    for line in done.stdout.splitlines():
        assert shlex.split(line)[0] in ("gcloud", "bash"), line


def test_set_up_installs_tf_keras_without_its_dependencies(clone):
    lines = run(clone, "setup_tpu_vm.sh", *WHERE, "--dry-run").stdout.splitlines()
    remote = [shlex.split(line)[-1] for line in lines]
    (keras,) = [command for command in remote if "tf-keras" in command]
    assert "--no-deps" in keras
    assert any("-r tpu/requirements.txt" in command for command in remote)


def test_a_tpu_vm_gets_all_that_the_package_requires():
    """But for TensorFlow, whose TPU build stands in for it, and tf-keras, which is installed by itself."""
    block = re.search(r"install_requires=\[(.*?)\]", (ROOT / "setup.py").read_text(), re.DOTALL)[1]
    required = dict(re.findall(r'"([\w-]+)(>=[^"]+)"', block))
    assert required.pop("tensorflow") and required.pop("tf-keras") and len(required) > 10
    lines = (ROOT / "tpu" / "requirements.txt").read_text().splitlines()
    listed = dict(re.findall(r"^([\w-]+)(.*)$", "\n".join(line for line in lines if line[0] != "#"), re.MULTILINE))
    assert listed.pop("tensorflow-tpu") == "==2.20.0"
    assert listed == required | {"tensorboard": ">=2.20,<2.21"}


def test_run_starts_the_recipe_on_the_tpu_with_the_users_flags_last(clone, tmp_path):
    home = tmp_path / "home"
    (home / "autonl-tf" / ".venv" / "bin").mkdir(parents=True)
    python = home / "autonl-tf" / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\nfor word in "$@"; do echo "[$word]"; done; exit 3\n')
    python.chmod(0o755)
    done = run(
        clone,
        "run.sh",
        "search",
        *WHERE,
        "--dataset=folder:/with a space",
        "--model_dir=runs/my run",
        "--",
        """--label_file=it's "q" $HOME""",
        HOME=str(home),
    )
    assert done.returncode == 0, done.stderr
    log = (home / "autonl-tf" / "runs" / "my run.log").read_text().splitlines()
    assert log == [
        "[main.py]",
        "[--flagfile=flags/search.flags]",
        "[--model_dir=runs/my run]",
        "[--dataset=folder:/with a space]",
        "[--tpu=local]",
        "[--strategy=tpu]",
        """[--label_file=it's "q" $HOME]""",
        "exit code 3",
    ]
    assert "exit code 3" in done.stdout  # the log was followed to its end


def test_options_may_come_from_the_environment(clone):
    done = run(clone, "delete_tpu_vm.sh", "--dry-run", "--yes", TPU_NAME="a", TPU_ZONE="b-c", TPU_PROJECT="d")
    assert done.stdout.strip() == "gcloud compute tpus tpu-vm delete a --zone=b-c --project=d --quiet"


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("dropped", "culprit"), [("--name", "--name"), ("--zone", "--zone"), ("--project", "--project")]
)
def test_a_missing_option_is_named(clone, script, dropped, culprit):
    given = [word for word in WHERE if not word.startswith(dropped)]
    done = run(clone, script, *arguments_of(script), *given, "--dry-run")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ") and culprit in done.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "culprit"),
    [
        ("create_tpu_vm.sh", ["--spott"], "--spott"),
        ("create_tpu_vm.sh", ["--name=Tiny TPU"], "Tiny TPU"),
        ("create_tpu_vm.sh", ["--zone"], "--zone"),
        ("setup_tpu_vm.sh", ["search"], "search"),
        ("run.sh", [], "no recipe; accepted: search"),
        ("run.sh", ["serch"], "no recipe 'serch'; accepted: search"),
        ("run.sh", ["../search"], "../search"),
        ("run.sh", ["search", "train"], "two recipes"),
        ("run.sh", ["search", "--model_dir=gs://bucket/run"], "gs://bucket/run"),
        ("delete_tpu_vm.sh", ["--force"], "--force"),
    ],
)
def test_a_wrong_option_is_named(clone, script, arguments, culprit):
    done = run(clone, script, "--dry-run", *WHERE, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and culprit in done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_every_option_and_exits_0(clone, script):
    done = run(clone, script, "--help")
    assert done.returncode == 0
    for option in ("--name", "--zone", "--project", "--dry-run", "--help"):
        assert option in done.stdout
    assert "set -euo" not in done.stdout


def test_a_pod_slice_is_driven_from_worker_0_by_name(clone):
    lines = run(clone, "run.sh", "search", *WHERE, "--pod", "--detach", "--dry-run").stdout.splitlines()
    assert len(lines) == 1 and "--worker=0" in lines[0]
    assert "TPU_LOAD_LIBRARY=0" in lines[0] and "--tpu=tiny-tpu" in lines[0] and "--tpu=local" not in lines[0]
