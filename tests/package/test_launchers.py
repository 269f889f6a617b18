"""The launchers for GPU machines: what every worker gets, what is started again, and that mistakes exit with 2."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import time

import pytest
from absl.flags import FlagValues

from autonl_tf.cli.parsing import define_flags

ROOT = pathlib.Path(__file__).resolve().parents[2]
KUBERNETES = ("search", "--image=registry.example/autonl:1", "--claim=runs", "--nodes=2")
CALLS = {
    "run_gpus.sh": ("search",),
    "run_slurm.sh": ("search", "--nodes=2"),
    "run_kubernetes.sh": KUBERNETES,
    "worker.sh": ("--workers=a:1", "--index=0"),
}
# In the place of the programs: they record their words, and do what the real ones would do on one machine.
STUBS = {
    "ssh": 'echo "ssh $*" >> "$CALLS"; exec bash -c "${!#}"',
    "sbatch": """printf "%s\\n" "$@" >> "$CALLS"
for word; do case $word in --wrap=*) bash -c "${word#--wrap=}" ;; esac; done""",
    "srun": """echo "srun $*" >> "$CALLS"; shift 2; export SLURM_STEP_NODELIST="n[1-2]"
for SLURM_PROCID in 0 1; do export SLURM_PROCID; "$@" || exit $?; done""",
    "scontrol": 'echo "scontrol $*" >> "$CALLS"; [[ $1 != show ]] || printf "n1\\nn2\\n"',
    "kubectl": 'echo "kubectl $*" >> "$CALLS"; cat > "$CALLS.manifest"',
}
# In the place of .venv/bin/python: tells its words and its cluster, and ends with the next of the codes in `codes`; one
# that is called slow has first something to save.
PYTHON = """#!/usr/bin/env bash
flock "$CALLS.lock" bash -c 'echo "$TF_CONFIG $*" >> "$CALLS.workers"' python "$@"
next() { code=$(head -n 1 "$CALLS.codes"); sed -i 1d "$CALLS.codes"; echo "$code"; }
[[ -s $CALLS.codes ]] || exit 0
exec 9> "$CALLS.lock"; flock 9; code=$(next); flock -u 9
[[ $code != slow* ]] || { sleep 1.5; echo saved >> "$CALLS.saved"; }
exit "${code#slow }"
"""


@pytest.fixture
def clone(tmp_path):
    """A made-up clone with the scripts, one recipe and an interpreter that only tells, and stubs on PATH."""
    folder = tmp_path / "a clone"
    shutil.copytree(ROOT / "tpu", folder / "tpu")
    (folder / "flags").mkdir()
    (folder / "flags" / "search.flags").write_text("--mode=search\n")
    (tmp_path / "bin").mkdir()
    programs = {tmp_path / "bin" / name: f"#!/usr/bin/env bash\n{text}\n" for name, text in STUBS.items()}
    programs[folder / ".venv" / "bin" / "python"] = PYTHON
    for path, text in programs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return folder


def run(clone, script, *arguments):
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TF_", "SLURM_"))},
        "PATH": f"{clone.parent / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(clone.parent / "calls"),
        "SLURM_JOB_ID": "77",
    }
    return subprocess.run(
        [clone / "tpu" / script, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def recorded(clone, suffix=""):
    path = clone.parent / f"calls{suffix}"
    return path.read_text().splitlines() if path.exists() else []


def cluster(line):
    """(workers, index, flags) of a line that the interpreter has told."""
    text, _, words = line.partition("} main.py ")
    config = json.loads(text + "}")
    assert config["task"]["type"] == "worker"
    return config["cluster"]["worker"], config["task"]["index"], words.split()


def test_one_machine_runs_one_process_without_a_cluster(clone):
    done = run(clone, "run_gpus.sh", "search", "--dataset=demo", "--", "--train_batch_size=512")
    assert done.returncode == 0, done.stderr
    assert recorded(clone, ".workers") == [
        " main.py --strategy=auto --flagfile=flags/search.flags --model_dir=runs/search --dataset=demo"
        " --train_batch_size=512"
    ]


def test_every_host_gets_its_place_in_one_cluster(clone):
    done = run(clone, "run_gpus.sh", "search", "--hosts=me@one,two,three", "--port=9000", "--model_dir=/shared/run")
    assert done.returncode == 0, done.stderr
    found = sorted((cluster(line) for line in recorded(clone, ".workers")), key=lambda each: each[1])
    assert [index for _, index, _ in found] == [0, 1, 2]
    for workers, _, flags in found:
        assert workers == ["one:9000", "two:9000", "three:9000"]
        assert flags[-1] == "--strategy=multiworker" and "--model_dir=/shared/run" in flags
    assert sorted(line.split(" ")[6] for line in recorded(clone)) == ["me@one", "three", "two"]


@pytest.mark.parametrize("recipe", ["train_s_8gpu", "train_l_8gpu"])
def test_a_recipe_for_one_machine_runs_as_one_cluster_on_several(recipe, clone, monkeypatch):
    shutil.copytree(ROOT / "flags", clone / "flags", dirs_exist_ok=True)
    done = run(clone, "run_gpus.sh", recipe, "--hosts=one,two")
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(clone)
    for line in recorded(clone, ".workers"):
        values = FlagValues()
        define_flags(values)
        values(["main.py", *cluster(line)[2]])
        assert values.strategy == "multiworker"


def test_the_first_failure_ends_the_other_workers_and_code_42_lets_them_save(clone):
    codes = clone.parent / "calls.codes"
    for code, saved in (("1", []), ("42", ["saved"])):
        codes.write_text(f"{code}\nslow 0\n")
        done = run(clone, "run_gpus.sh", "search", "--hosts=one,two", "--restarts=0")
        assert done.returncode == int(code)
        time.sleep(2)
        assert recorded(clone, ".saved") == saved


def test_a_lost_worker_starts_all_again_and_a_mistake_does_not(clone):
    codes = clone.parent / "calls.codes"
    codes.write_text("1\n0\n")
    done = run(clone, "run_gpus.sh", "search", "--restarts=2")
    assert (done.returncode, len(recorded(clone, ".workers"))) == (0, 2), done.stderr
    assert "ended with code 1; 2 restarts left" in done.stderr
    codes.write_text("1\n1\n1\n0\n")
    assert run(clone, "run_gpus.sh", "search", "--restarts=2").returncode == 1
    codes.write_text("2\n0\n")
    assert run(clone, "run_gpus.sh", "search", "--restarts=2").returncode == 2
    assert len(recorded(clone, ".workers")) == 2 + 3 + 1


def test_slurm_gives_every_task_its_place_and_queues_a_saved_run_again(clone):
    (clone.parent / "calls.codes").write_text("0\n42\n")
    done = run(clone, "run_slurm.sh", "search", "--nodes=2", "--gpus=4", "--time=1:00:00", "--", "--label_file=a b")
    assert done.returncode == 42
    calls = recorded(clone)
    for word in ("--nodes=2", "--gpus-per-node=4", "--ntasks-per-node=1", "--time=1:00:00", "--requeue"):
        assert word in calls
    assert "scontrol requeue 77" in calls
    found = [cluster(line) for line in recorded(clone, ".workers")]
    assert [(workers, index) for workers, index, _ in found] == [
        (["n1:8470", "n2:8470"], 0),
        (["n1:8470", "n2:8470"], 1),
    ]
    assert all(flags[-3:-1] == ["--label_file=a", "b"] for _, _, flags in found)  # one word, told with its blank


def test_slurm_does_not_queue_a_failed_run_again(clone):
    (clone.parent / "calls.codes").write_text("1\n")
    assert run(clone, "run_slurm.sh", "search", "--nodes=2").returncode == 1
    assert not [line for line in recorded(clone) if "requeue " in line and line.startswith("scontrol")]


def manifest(clone, *more):
    done = run(clone, "run_kubernetes.sh", *KUBERNETES, *more)
    assert done.returncode == 0, done.stderr
    assert recorded(clone) == ["kubectl apply --filename=-"]
    return (clone.parent / "calls.manifest").read_text()


def test_the_jobset_names_its_pods_and_starts_all_again_when_one_is_lost(clone):
    text = manifest(clone, "--secret=bucket-key", "--", '--label_file=it\'s "q" $(HOME) \\n')
    assert not re.search("@[A-Z_]+@", text)
    lines = {
        line.split(":", 1)[0].strip("- "): line.split(":", 1)[1].strip() for line in text.splitlines() if ":" in line
    }
    assert (lines["completions"], lines["parallelism"], lines["completionMode"]) == ("2", "2", "Indexed")
    assert (lines["backoffLimit"], lines["maxRestarts"], lines["restartPolicy"]) == ("0", "20", "Never")
    workers, dashes, *flags = json.loads(lines["args"])
    assert workers == "--workers=" + ",".join(f"autonl-search-worker-0-{i}.autonl-search:8470" for i in range(2))
    assert dashes == "--"
    # Kubernetes would put a variable in the place of $(HOME): $$ keeps it from that.
    assert flags[-1] == '--label_file=it\'s "q" $$(HOME) \\n'
    assert json.loads(lines["envFrom"]) == [{"secretRef": {"name": "bucket-key"}}]


def test_the_pods_command_makes_the_cluster_of_its_index(clone):
    text = manifest(clone)
    command, args = (
        json.loads(next(line.split(":", 1)[1] for line in text.splitlines() if line.strip().startswith(key)))
        for key in ("command:", "args:")
    )
    environment = {**os.environ, "JOB_COMPLETION_INDEX": "1", "CALLS": str(clone.parent / "calls")}
    subprocess.run([*command, *args], cwd=clone, env=environment, check=True, timeout=60)
    workers, index, flags = cluster(recorded(clone, ".workers")[0])
    assert (len(workers), index) == (2, 1)
    assert flags == ["--flagfile=flags/search.flags", "--model_dir=/runs/search", "--strategy=multiworker"]


@pytest.mark.parametrize("script", CALLS)
def test_a_dry_run_prints_and_runs_nothing(clone, script):
    before = sorted(clone.rglob("*"))
    done = run(clone, script, *CALLS[script], "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert sorted(clone.rglob("*")) == before
    assert not recorded(clone) and not recorded(clone, ".workers")
    if script != "run_kubernetes.sh":
        assert shlex.split(done.stdout)[0] in ("tpu/worker.sh", "sbatch", "env")


@pytest.mark.parametrize(
    ("script", "arguments", "culprit"),
    [
        ("run_gpus.sh", [], "no recipe; accepted: search"),
        ("run_gpus.sh", ["search", "--hosts=a b"], "--hosts=a b"),
        ("run_gpus.sh", ["search", "--restarts=many"], "--restarts=many"),
        ("run_gpus.sh", ["search", "--host=a"], "--host=a"),
        ("run_slurm.sh", ["search"], "--nodes="),
        ("run_slurm.sh", ["search", "--nodes=0"], "--nodes=0"),
        ("run_kubernetes.sh", [*KUBERNETES, "--name=Not This"], "--name=Not This"),
        ("run_kubernetes.sh", ["search", "--image=a", "--nodes=2"], "--claim="),
        ("worker.sh", ["--workers=a:1,b:2", "--index=2"], "--index=2"),
        ("worker.sh", ["--workers=a,b", "--index=0"], "--workers=a,b"),
        ("worker.sh", ["--slurm"], "--slurm"),
    ],
)
def test_a_wrong_option_is_named(clone, script, arguments, culprit):
    done = run(clone, script, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and culprit in done.stderr and len(done.stderr.splitlines()) == 1
    assert not recorded(clone)


@pytest.mark.parametrize("script", CALLS)
def test_help_names_the_options_and_exits_0(clone, script):
    done = run(clone, script, "--help")
    assert done.returncode == 0
    assert "--dry-run" in done.stdout and "set -euo" not in done.stdout
    accepted = {
        line.split(")")[0].strip().split("=")[0]
        for line in (clone / "tpu" / script).read_text().splitlines()
        if line.strip().startswith("--") and "=?*)" in line
    }
    assert accepted <= {word.split("=")[0] for word in done.stdout.split()}
