"""What cannot be read is not absent: a run does not begin anew over the record of one that made steps."""

import os
import pathlib
import shutil
import tempfile

import pytest
from engine_tiny_run import Run

from autonl_tf.engine import checkpoints, rundir
from autonl_tf.engine.runlog import RunLog
from autonl_tf.errors import UserError


@pytest.fixture(scope="module")
def run():
    return Run()


@pytest.fixture
def made(tmp_path, run):
    """A run's directory after two saved steps, one of them the best, and its record."""
    saver = checkpoints.Checkpoints(tmp_path, run.learner)
    for step in (1, 2):
        run.learner.step.assign(step)
        if step == 1:
            saver.save_best(1, 0.5)
        saver.save(step)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "epoch": 1, "phase": "train", "values": {}}\n')
    return tmp_path


def everything(directory):
    return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("folder", ["checkpoints", "best"])
def test_what_was_saved_and_is_gone_is_told_and_nothing_is_touched(made, run, folder):
    shutil.rmtree(made / folder)
    before = everything(made)
    with pytest.raises(UserError, match=rf"was saved in {folder}/ and is not there now"):
        checkpoints.Checkpoints(made, run.learner).restore_latest()
    with pytest.raises(UserError, match=rf"was saved in {folder}/"):
        checkpoints.check_present(made)
    assert everything(made) == before


@pytest.mark.parametrize("gone", ["best.json", "ckpt-1.index", "ckpt-1.data-00000-of-00001"])
def test_a_best_copy_of_which_a_file_is_gone_is_told_and_nothing_is_touched(made, run, gone):
    (made / "best" / gone).unlink()
    before = everything(made)
    with pytest.raises(UserError, match=r"its best copy, of step 1, was saved in best/.*/checkpoints/ckpt-2$"):
        checkpoints.Checkpoints(made, run.learner).restore_latest()
    assert everything(made) == before


def test_a_broken_best_copy_is_told_and_the_best_of_what_follows_kept(made, run):
    data = made / "best" / "ckpt-1.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-100])
    told = []
    saver = checkpoints.Checkpoints(made, run.learner, told.append)
    assert saver.restore_latest() == 2 and saver.best is None
    assert len(told) == 1 and "best copy" in told[0] and "is broken" in told[0]
    assert not list((made / "best").iterdir())
    assert checkpoints.Checkpoints(made, run.learner).restore_latest() == 2
    assert saver.save_best(2, 0.25)
    assert [path.name for path in (made / "best").glob("*.index")] == ["ckpt-2.index"]


def test_a_link_to_a_disk_that_is_not_mounted_is_told(made, run):
    (made / "checkpoints").rename(made / "elsewhere")
    (made / "checkpoints").symlink_to(made / "not mounted")
    with pytest.raises(OSError, match="a link that leads nowhere"):
        checkpoints.Checkpoints(made, run.learner).restore_latest()
    (made / "not mounted").symlink_to("elsewhere")
    assert checkpoints.Checkpoints(made, run.learner).restore_latest() == 2


@pytest.mark.parametrize("hidden", ["", "/ckpt-2.index", "/ckpt-2.data-00000-of-00001"])
def test_what_may_not_be_read_is_neither_passed_over_nor_removed(made, run, hidden):
    """Root may read everything, so that another user tries, in a directory that others may enter."""
    before = {path.relative_to(made): data for path, data in everything(made).items()}
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(shutil.copytree(made, folder, dirs_exist_ok=True))
        for path in [place, *place.rglob("*")]:
            path.chmod(0o777)
        pathlib.Path(f"{place}/checkpoints{hidden}").chmod(0o000)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            with pytest.raises((UserError, OSError), match="Permission denied"):
                checkpoints.Checkpoints(place, run.learner).restore_latest()
        finally:
            if root:
                os.seteuid(0)
            pathlib.Path(f"{place}/checkpoints{hidden}").chmod(0o777)
        assert {path.relative_to(place): data for path, data in everything(place).items()} == before


def test_a_run_stopped_before_its_first_checkpoint_begins_anew_and_says_so(tmp_path, run, capsys):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "epoch": 1, "phase": "train", "values": {}}\n')
    assert checkpoints.Checkpoints(tmp_path, run.learner).restore_latest() == 0
    log = RunLog(tmp_path, 10, images_per_step=1, steps_per_epoch=1)
    log.resume(0)
    log.close()
    assert "begins anew" in capsys.readouterr().err


def own(directory):
    """Makes a directory of a run's files one of a run with an identity."""
    (directory / "config.json").unlink(missing_ok=True)
    aside = directory / "aside"
    rundir.prepare(aside, {}, {}).close()
    (aside / "config.json").rename(directory / "config.json")
    shutil.rmtree(aside)
    return directory


@pytest.fixture
def two(tmp_path, run):
    """The directories of two runs of the same settings."""
    places = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        places.append(own(tmp_path / name))
        saver = checkpoints.Checkpoints(places[-1], run.learner)
        for step in (1, 2):
            run.learner.step.assign(step)
            if step == 1:
                saver.save_best(1, 0.5)
            saver.save(step)
    return places


@pytest.mark.parametrize("copied", ["checkpoints/ckpt-2.*", "checkpoints/*", "best/*"])
def test_the_checkpoint_of_another_run_is_refused_and_both_are_kept(copied, two, run):
    first, second = two
    for path in second.glob(copied):
        shutil.copy(path, first / path.relative_to(second))
    before = everything(first)
    name = "best/ckpt-1" if copied.startswith("best") else "checkpoints/ckpt-2"
    with pytest.raises(UserError, match=rf"first/{name}: was saved by another run than that of .*first/config\.json"):
        checkpoints.Checkpoints(first, run.learner).restore_latest()
    assert everything(first) == before


def test_a_run_keeps_its_identity_and_one_that_has_none_goes_on(two, run):
    first, second = two
    rundir.prepare(first, {}, {}).close()
    assert checkpoints.Checkpoints(first, run.learner).restore_latest() == 2
    (second / "config.json").unlink()
    run.learner.step.assign(3)
    checkpoints.Checkpoints(second, run.learner).save(3)  # as it was saved before there was an identity
    own(second)
    shutil.rmtree(second / "best")
    (second / "saved.json").unlink()
    assert checkpoints.Checkpoints(second, run.learner).restore_latest() == 3
