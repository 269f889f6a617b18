"""Files and directories take their place whole, whatever fails or dies in between."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest

from autonl_tf import files
from autonl_tf.errors import UserError, system_failure


def tree(root):
    return {str(path.relative_to(root)): path.is_file() and path.read_text() for path in sorted(root.rglob("*"))}


def replace(target, text):
    with files.directory_in_place(target) as aside:
        (aside / "name").write_text(text)


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def exchange(request, monkeypatch):
    """With renameat2, and on a file system that does not know it."""
    if not request.param:
        monkeypatch.setattr(files, "_exchanged", lambda first, second: False)
    return request.param


def test_a_directory_takes_the_place_of_none_an_empty_one_and_another(tmp_path, exchange):
    target = tmp_path / "made" / "target"
    replace(target, "first")
    assert tree(tmp_path) == {"made": False, "made/target": False, "made/target/name": "first"}
    replace(target, "second")
    (tmp_path / "empty").mkdir()
    replace(tmp_path / "empty", "third")
    expected = {
        "empty": False,
        "empty/name": "third",
        "made": False,
        "made/target": False,
        "made/target/name": "second",
    }
    assert tree(tmp_path) == expected


def test_what_fails_leaves_everything_as_it_was(tmp_path, exchange):
    replace(tmp_path / "target", "before")
    for error in (UserError("no"), KeyboardInterrupt()):
        with pytest.raises(type(error)), files.directory_in_place(tmp_path / "target"):
            raise error
    with pytest.raises(UserError, match="no"), files.directory_in_place(tmp_path / "on" / "the" / "way"):
        raise UserError("no")
    assert tree(tmp_path) == {"target": False, "target/name": "before"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that dies")
def test_a_process_killed_at_any_of_its_calls_leaves_the_old_directory_or_the_new_one(tmp_path, exchange):
    """Killed just before each call in turn that changes a name, by os._exit, which runs nothing more."""
    for deadly in range(6):
        root = tmp_path / str(deadly)
        root.mkdir()
        replace(root / "target", "before")
        child = os.fork()
        if child == 0:
            calls = iter(range(100))

            def counted(function, calls=calls, deadly=deadly):
                return lambda *arguments, **options: (
                    os._exit(9) if next(calls) == deadly else function(*arguments, **options)
                )

            for name in ("replace", "rmdir", "unlink"):
                setattr(os, name, counted(getattr(os, name)))
            files._exchanged = counted(files._exchanged)
            replace(root / "target", "after")
            os._exit(0)
        os.waitpid(child, 0)
        if exchange:
            assert (root / "target" / "name").read_text() in ("before", "after")
        files.recover(root / "target")
        assert tree(root) in [{"target": False, "target/name": text} for text in ("before", "after")]
        replace(root / "target", "again")
        assert tree(root) == {"target": False, "target/name": "again"}


def test_what_a_living_process_is_writing_is_left_alone(tmp_path):
    replace(tmp_path / "target", "before")
    with files.directory_in_place(tmp_path / "target") as aside:
        with pytest.raises(UserError, match="another process is writing it"):
            replace(tmp_path / "target", "other")
        (aside / "name").write_text("mine")
    assert tree(tmp_path) == {"target": False, "target/name": "mine"}


def test_an_old_directory_that_cannot_be_removed_is_told_and_the_new_one_is_in_its_place(
    tmp_path, exchange, monkeypatch, caplog
):
    replace(tmp_path / "target", "before")

    def failing(path, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.shutil, "rmtree", failing)
    replace(tmp_path / "target", "after")
    monkeypatch.undo()
    assert (tmp_path / "target" / "name").read_text() == "after"
    assert "cannot be removed: Permission denied" in caplog.text


def test_a_file_takes_its_place_through_a_link_and_over_what_a_dead_process_left(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "file")
    (tmp_path / "elsewhere" / ".file.part").write_text("left by a process that was killed, and longer")
    files.write_text(tmp_path / "link", "text")
    assert tree(tmp_path) == {"elsewhere": False, "elsewhere/file": "text", "link": "text"}
    assert (tmp_path / "link").is_symlink()


def test_a_second_writer_of_a_file_waits_for_the_first(tmp_path, monkeypatch):
    waits = []
    flock = fcntl.flock

    def watched(descriptor, operation):
        try:
            flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            waits.append(descriptor)
            first.__exit__(None, None, None)
            flock(descriptor, operation)

    first = files.in_place(tmp_path / "file")
    first.__enter__().write_text("first")
    monkeypatch.setattr(files.fcntl, "flock", watched)
    files.write_text(tmp_path / "file", "second")
    assert waits and tree(tmp_path) == {"file": "second"}


@pytest.mark.parametrize("name", ["missing/file", "file/below", "x" * 300, "folder"])
def test_a_file_that_cannot_be_written_is_one_line_with_its_name(tmp_path, name):
    (tmp_path / "file").write_text("before")
    (tmp_path / "folder").mkdir()
    before = tree(tmp_path)
    with pytest.raises(UserError, match=f"{name}: cannot be written: ") as error:
        files.write_text(tmp_path / name, "text")
    assert "\n" not in str(error.value)
    assert tree(tmp_path) == before


def test_a_failure_within_a_directory_is_told_by_the_name_that_the_user_gave(tmp_path):
    with pytest.raises(UserError) as error, files.directory_in_place(tmp_path / "target") as aside:
        files.write_text(aside / "missing" / "file", "text")
    assert str(error.value).startswith(f"{tmp_path}/target/missing/file: cannot be written: ")


def test_a_link_that_leads_nowhere_is_not_absent(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "not mounted")
    assert not files.exists(tmp_path / "other")
    with pytest.raises(OSError, match="a link that leads nowhere"):
        files.exists(tmp_path / "link")


class TensorFlowSays(Exception):
    """As the exceptions of TensorFlow's many classes look from outside."""


TensorFlowSays.__module__ = "tensorflow.python.framework.errors_impl"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EIO, "Input/output error", "a/b"), ("a/b", "Input/output error")),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory"), ("", "No usable temporary directory")),
        (OSError("no number"), ("", "no number")),
        (MemoryError("Unable to allocate 3 GiB"), ("", "out of memory: Unable to allocate 3 GiB")),
        (
            TensorFlowSays("{{function_node __wrapped__SaveV2}} /a; b/c; Permission denied [Op:SaveV2]"),
            ("/a; b/c", "Permission denied"),
        ),
        (TensorFlowSays("/a/b; Stale file handle\n\tmore of it"), ("/a/b", "Stale file handle")),
        (TensorFlowSays("a shape; another shape"), None),
        (ValueError("a; Permission denied"), None),
    ],
)
def test_a_failure_of_the_system_is_told_from_a_fault_of_the_program(error, told):
    assert system_failure(error) == told


class ResourceExhaustedError(TensorFlowSays):
    __module__ = TensorFlowSays.__module__


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "Graph execution error:\n\nDetected at node a/b defined at\n\n"
            "OOM when allocating tensor with shape[64,32,112,112] and type float on /device:CPU:0 by allocator x\n",
            "out of memory: no room for a tensor of shape [64,32,112,112]; a smaller batch takes less",
        ),
        ("{{node a}} Out of quota [Op:Fill]", "out of memory: Out of quota"),
    ],
)
def test_memory_that_is_not_there_is_told_by_the_tensor_that_wants_it(said, told):
    assert system_failure(ResourceExhaustedError(said)) == ("", told)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))]
)
def test_where_there_is_no_room_it_says_what_to_do(error):
    assert system_failure(error)[1].endswith("; make room and run the same command again")


def test_a_directory_is_made_at_the_path_that_was_given(tmp_path, monkeypatch):
    """TensorFlow reads nothing back from a path in full that has a bracket."""
    monkeypatch.chdir(tmp_path)
    with files.directory_in_place("target") as aside:
        assert not aside.is_absolute()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with files.directory_in_place("link") as aside:
        (aside / "new").touch()
    assert (tmp_path / "target" / "new").is_file() and (tmp_path / "link").is_symlink()
