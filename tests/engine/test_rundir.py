"""A run directory: what it records and whom it refuses."""

import datetime
import errno
import fcntl
import json
import os

import pytest

from autonl_tf.engine import rundir
from autonl_tf.errors import UserError

SETTINGS = {"mode": "train", "seed": 1, "steps_per_loop": 10}
COMPARABLE = {"seed": 1, "image_sizes": (64, 64)}
FILES = {"arch.txt": "line one\nline two\n"}


def prepare(path, settings=SETTINGS, comparable=COMPARABLE, files=FILES):
    rundir.prepare(path, settings, comparable, files).close()


def test_it_explains_itself(tmp_path):
    prepare(tmp_path / "a" / "run")
    config = json.loads((tmp_path / "a" / "run" / "config.json").read_text())
    assert config["settings"] == SETTINGS
    assert config["versions"].keys() == {"autonl_tf", "numpy", "python", "tensorflow", "tf_keras"}
    assert "git_commit" in config
    assert (tmp_path / "a" / "run" / "arch.txt").read_text() == FILES["arch.txt"]


def test_the_same_settings_may_go_on_and_changes_of_version_are_noted(tmp_path):
    prepare(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["versions"]["numpy"] = "1.0"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with rundir.prepare(tmp_path, {**SETTINGS, "steps_per_loop": 99}, COMPARABLE, FILES) as run:
        assert len(run.notes) == 1 and run.notes[0].startswith("numpy was 1.0")
    assert json.loads((tmp_path / "config.json").read_text())["settings"]["steps_per_loop"] == 99


def test_every_start_is_kept_with_its_time_settings_and_versions(tmp_path):
    for loop in (10, 20, 30):
        prepare(tmp_path, {**SETTINGS, "steps_per_loop": loop})
    config = json.loads((tmp_path / "config.json").read_text())
    starts = [*config["earlier_starts"], config]
    assert [start["settings"]["steps_per_loop"] for start in starts] == [10, 20, 30]
    assert all(start["versions"] == rundir.versions() and "git_commit" in start for start in starts)
    times = [datetime.datetime.fromisoformat(start["time"]) for start in starts]
    assert times == sorted(times) and times[0].utcoffset() == datetime.timedelta(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"comparable": {"seed": 2, "image_sizes": (64, 64)}}, r"made with --seed=1, now it is --seed=2"),
        ({"comparable": {"image_sizes": (64, 64)}}, r"--seed=1, now it is --seed=\(absent\)"),
        ({"comparable": {**COMPARABLE, "new": 3}}, r"--new=\(absent\), now it is --new=3"),
        (
            {"files": {"arch.txt": "line one\nline 2\n"}},
            r"another arch.txt \(line 2: 'line two', now 'line 2'",
        ),
    ],
)
def test_other_settings_are_refused_and_nothing_is_written(change, message, tmp_path):
    prepare(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, **change)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_results_without_a_config_are_not_a_run_directory(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match=r"holds metrics\.jsonl but no config\.json"):
        prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        prepare(tmp_path / "file")


def test_damaged_configs_are_errors_that_name_the_file(tmp_path):
    for text in ("{", "[]", "{}"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"config\.json"):
            prepare(tmp_path)


def test_a_second_owner_is_refused_until_the_first_lets_go(tmp_path):
    first = rundir.prepare(tmp_path, SETTINGS, COMPARABLE, FILES)
    with pytest.raises(UserError, match=r"in use by process \d+ on "):
        prepare(tmp_path)
    first.close()
    prepare(tmp_path)


def test_a_file_system_without_locks_is_no_reason_to_refuse_a_run(tmp_path, monkeypatch):
    def no_locks(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    prepare(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["arch.txt", "config.json"]


def test_only_the_chief_writes(tmp_path):
    rundir.prepare(tmp_path / "run", SETTINGS, COMPARABLE, FILES, is_chief=False).close()
    assert not (tmp_path / "run").exists()


def test_nothing_is_left_of_a_lock_nor_of_a_start_that_failed(tmp_path, monkeypatch):
    prepare(tmp_path / "good")
    assert sorted(path.name for path in (tmp_path / "good").iterdir()) == ["arch.txt", "config.json"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/arch.txt").write_text(FILES["arch.txt"])

    def full(path, content):
        raise UserError(f"{path}: cannot be written: No space left on device")

    monkeypatch.setattr(rundir, "write_json", full)
    for name in ("deep/er/run", "mine", "good"):
        with pytest.raises(UserError, match="No space left"):
            prepare(tmp_path / name)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        *("good", "good/arch.txt", "good/config.json", "mine", "mine/arch.txt")
    ]


@pytest.mark.parametrize("name", ["arch.txt", "model.json", "manifest.jsonl", "metrics.jsonl"])
def test_a_directory_with_files_of_someone_else_is_refused_and_left_as_it_is(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"holds {name} but no config.json: not a run directory; choose another"):
        prepare(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_lock_that_was_let_go_between_opening_and_locking_is_taken_anew(tmp_path, monkeypatch):
    first = rundir.prepare(tmp_path, SETTINGS, COMPARABLE, FILES)
    flock = fcntl.flock

    def late(file, how):
        monkeypatch.setattr(fcntl, "flock", flock)
        first.close()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with rundir.prepare(tmp_path, SETTINGS, COMPARABLE, FILES), pytest.raises(UserError, match="in use by process"):
        prepare(tmp_path)
