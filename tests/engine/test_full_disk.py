"""A disk that is full: the run stops with one line, and the same command goes on from the last checkpoint.

RLIMIT_FSIZE stands in for it: writing beyond it fails as writing to a full disk does.
"""

import contextlib
import errno
import pathlib
import resource

import pytest
from engine_tiny_run import Run

from autonl_tf.engine import checkpoints, runlog
from autonl_tf.engine.runlog import RunLog
from autonl_tf.errors import UserError


@contextlib.contextmanager
def room_for(size):
    """No file may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


WITHOUT_ROOM = r"cannot save \S*ckpt-2: [^{\[]*; make room [^{\[]*; the same command goes on from .*ckpt-1"


def read_only(path, missing_ok=False):
    raise OSError(errno.EROFS, "Read-only file system", str(path))


@pytest.mark.parametrize("removable", [False, True])
@pytest.mark.parametrize("best", [False, True])
def test_a_checkpoint_without_room_leaves_the_one_before_and_nothing_else(tmp_path, best, removable, monkeypatch):
    run = Run()
    saver = checkpoints.Checkpoints(tmp_path, run.learner)
    for step in (1, 2):
        run.learner.step.assign(step)
        if step == 1:
            saver.save(1)
            saver.save_best(1, 0.1)
            before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with monkeypatch.context() as system:
        if not removable:  # as on a disk that the system has made read-only
            system.setattr(pathlib.Path, "unlink", read_only)
            (tmp_path / "checkpoints" / "ckpt-2.data-00000-of-00001").touch()  # of a save that was killed
        with room_for(500), pytest.raises(UserError, match=WITHOUT_ROOM):
            saver.save_best(2, 0.2) if best else saver.save(2)
    saver._clear_leftovers()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert checkpoints.Checkpoints(tmp_path, run.learner).restore_latest() == 1


def test_a_log_without_room_says_so_and_goes_on_whole(tmp_path):
    log = RunLog(tmp_path, 100, images_per_step=1, steps_per_epoch=1)
    log.resume(0)
    with room_for(300), pytest.raises(UserError, match=r"log cannot be written: /\S+: .*make room"):
        for step in range(1, 20):
            log.write("train", step, {"loss": 1.0})
    log.close()
    written = (tmp_path / "metrics.jsonl").read_text().splitlines()
    again = RunLog(tmp_path, 100, images_per_step=1, steps_per_epoch=1)
    again.resume(3)
    again.write("train", 4, {"loss": 1.0})
    again.close()
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == written[:4]


def test_a_note_without_room_ends_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr(runlog.streams, "lost", lambda: {"standard error": OSError(errno.EPIPE, "Broken pipe")})
    log = RunLog(tmp_path, 100, images_per_step=1, steps_per_epoch=1)
    log.resume(0)
    log.write("train", 1, {"loss": 1.0})
    note = tmp_path / runlog.LOST_OUTPUT
    assert note.read_text() == "not to be written any more at step 1:\nstandard error: Broken pipe\n"
    note.unlink()
    note.mkdir()
    again = RunLog(tmp_path, 100, images_per_step=1, steps_per_epoch=1)
    again.resume(1)
    again.write("train", 2, {"loss": 1.0})
    for each in (log, again):
        each.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
