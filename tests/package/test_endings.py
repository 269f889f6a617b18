"""How a process ends: the exit code tells the truth whoever reads, and whatever signal comes when."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from absl import flags

from autonl_tf import signals, streams
from autonl_tf.cli import main, parsing
from autonl_tf.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Stands for a mode: prints, says how far it is, and marks its end by a file.
WORK = """
import os, pathlib, sys, time, types
from autonl_tf.cli import main
def work(config):
    {body}
    for number in range(2000):
        print('a line of the result, which is long enough for any buffer to be full some day', number)
        print('progress', file=sys.stderr)
    pathlib.Path('done').touch()
for name in ('describe', 'report'):
    sys.modules[f'autonl_tf.commands.{{name}}.run'] = types.SimpleNamespace(run=work)
for command in main.parsing.COMMANDS.values():
    command.check_files = lambda config: config
main.run()
"""
DESCRIBE = ("--mode=describe", "--arch=autonl_s")
REPORT = ("--mode=report", "--model_dir=run")


def started(folder, *words, body="pass", shell="exec {}", **options):
    """Runs `WORK` in `folder` as a shell would: `{}` in `shell` is the command."""
    program = folder / "program.py"
    program.write_text(WORK.format(body=body))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    line = shell.format(f"{sys.executable} {program} {' '.join(words)}")
    return subprocess.Popen(["bash", "-c", line], cwd=folder, env=environment, **options)


def signalled(process, folder, number):
    """Sends the signal once the work has begun; the process must end by it."""
    while not (folder / "begun").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(60) == 128 + number


@pytest.mark.parametrize("lines", ["\n", "\r\n  ", "\r", "\u2028"])
def test_a_message_is_one_line_whatever_it_quotes(lines):
    error = UserError(f"run: was made with --arch=a{lines}b; choose another --model_dir")
    assert str(error) == "run: was made with --arch=a b; choose another --model_dir"


@pytest.mark.parametrize(
    ("words", "shell", "code"),
    [
        (REPORT, "exec {} >out 2> >(head -1 >/dev/null)", 0),
        (REPORT, "exec {} > >(head -1 >/dev/null)", 0),
        (REPORT, "exec {} >/dev/full 2>/dev/full", 0),
        (REPORT, "exec {} >&- 2>&-", 0),
        (DESCRIBE, "exec {} >out 2>&-", 0),
        (DESCRIBE, "exec {} > >(head -1 >/dev/null)", 141),
        (DESCRIBE, "exec {} >/dev/full", 2),
        (DESCRIBE, "exec {} >&-", 2),
    ],
)
def test_the_work_goes_on_to_its_end_without_a_reader_and_the_code_says_whether_its_result_was_taken(
    tmp_path, words, shell, code
):
    process = started(tmp_path, *words, shell=shell, stderr=subprocess.PIPE)
    errors = process.communicate(timeout=120)[1].decode()
    assert process.returncode == code, errors
    assert (tmp_path / "done").exists()
    told = "Bad file descriptor" if ">&-" in shell else "No space left on device; make room"
    assert (f"error: standard output: {told}" in errors) == (code == 2)


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path):
    body = "pathlib.Path('kept').write_text(str(sorted(os.fstat(n).st_rdev > 0 for n in (0, 1, 2))))"
    assert started(tmp_path, *REPORT, body=body, shell="exec {} <&- >&- 2>&-").wait(120) == 0
    assert (tmp_path / "kept").read_text() == "[True, True, True]"


def test_help_that_cannot_be_printed_is_no_success(tmp_path):
    assert started(tmp_path, "--help", shell="exec {} >/dev/full 2>err").wait(120) == 2
    assert (tmp_path / "err").read_text().startswith("error: standard output: No space left on device")


def test_a_full_pipe_that_does_not_block_is_waited_for():
    read, write = os.pipe()
    os.set_blocking(write, False)
    stream = streams._Lasting(write, "w")
    if os.fork() == 0:
        os.close(write)
        while os.read(read, 1 << 16):
            pass
        os._exit(0)
    os.close(read)
    data = bytes(1 << 18)
    while data:
        data = data[stream.write(data) :]
    assert stream.fault is None


@pytest.mark.parametrize(
    ("body", "code", "shown"),
    [
        ("raise ImportError('no such thing')", 1, "native words before"),
        ("os.abort()", -signal.SIGABRT, "native words before"),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "native words before"),
        ("raise KeyboardInterrupt", 1, ""),
        ("pass", 0, ""),
    ],
)
def test_what_is_said_in_an_import_that_fails_or_kills_is_not_lost(body, code, shown):
    program = (
        "import os, signal, sys\nfrom autonl_tf import streams\nstreams.outlive_readers()\n"
        f"with streams.held_back():\n    os.write(2, b'native words before')\n    {body}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    if "KeyboardInterrupt" in body:
        assert "native words" not in done.stderr
    else:
        assert done.returncode == code
        assert shown in done.stderr and bool(shown) == ("native words" in done.stderr)


STARTING = "starting: importing TensorFlow\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "waiting",
    [
        "time.sleep(100)",  # where Python hears of the signal
        "signals.stop = None; signals.handle(lambda number: None); time.sleep(100)",  # where it does not
    ],
)
def test_a_signal_ends_any_mode_with_its_code_and_what_was_begun_is_cleared(tmp_path, number, waiting):
    body = f"""
    from autonl_tf import files, signals
    signals.GRACE_SECONDS = 0.1
    with files.directory_in_place('target'), files.in_place('file'):
        pathlib.Path('begun').touch()
        {waiting}"""
    process = started(tmp_path, *REPORT, body=body, shell="exec {} 2>err")
    signalled(process, tmp_path, number)
    assert (tmp_path / "err").read_text() == f"{STARTING}stopped by {signal.Signals(number).name}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "err", "program.py"]


def test_a_process_whose_reader_takes_nothing_is_ended(tmp_path):
    body = """
    from autonl_tf import signals
    signals.GRACE_SECONDS = 0.1
    os.set_blocking(2, False)
    try:
        while True:
            os.write(2, b'x')
    except BlockingIOError:
        os.set_blocking(2, True)
    pathlib.Path('begun').touch()"""
    read, write = os.pipe()
    process = started(tmp_path, *REPORT, body=body, stderr=write)
    signalled(process, tmp_path, signal.SIGTERM)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("error", ["RuntimeError('MISMATCH')", "SystemError('bad argument to internal function')"])
def test_a_signal_in_whose_place_native_code_raises_another_error_is_obeyed(tmp_path, number, error):
    body = f"""
    try:
        pathlib.Path('begun').touch()
        time.sleep(100)
    except BaseException:
        pass
    raise {error}"""
    process = started(tmp_path, *REPORT, body=body, shell="exec {} 2>err")
    signalled(process, tmp_path, number)
    assert "Traceback" not in (tmp_path / "err").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_in_a_destructor_is_obeyed(tmp_path, number):
    body = """
    from autonl_tf import signals
    signals.GRACE_SECONDS = 1000
    class Gone:
        def __del__(self):
            pathlib.Path('begun').touch()
            time.sleep(100)
    Gone()
    time.sleep(100)"""
    process = started(tmp_path, *REPORT, body=body, shell="exec {} 2>err")
    signalled(process, tmp_path, number)
    said = (tmp_path / "err").read_text()
    assert said.startswith(STARTING) and len(said.splitlines()) == 2


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    body = "import signal; os.kill(os.getpid(), signal.SIGHUP)"
    assert started(tmp_path, *REPORT, body=body, shell="trap '' HUP; exec {} >out 2>err").wait(120) == 0


SAVED = "the same command goes on from the last checkpoint, if one was saved"


@pytest.mark.parametrize(
    ("mode", "raised", "code", "said"),
    [
        ("search", KeyboardInterrupt(), 130, f"interrupted; {SAVED}"),
        ("profile", KeyboardInterrupt(), 130, "interrupted; the same command goes on from what has been measured"),
        ("describe", KeyboardInterrupt(), 130, "interrupted"),
        ("train", signals.Stopped(15), 42, f"stopped by SIGTERM; {SAVED}"),
        ("profile", signals.Stopped(1), 42, "stopped by SIGHUP; the same command goes on from what has been measured"),
        ("export", signals.Stopped(15), 143, "stopped by SIGTERM"),
        ("eval", OSError(5, "Input/output error", "a/b"), 2, "error: a/b: Input/output error"),
        ("eval", UserError("two\nlines"), 2, "error: two lines"),
        ("eval", SystemExit(43), 43, ""),
    ],
)
def test_every_ending_has_its_code_and_its_line(mode, raised, code, said, monkeypatch, capsys):
    values = flags.FlagValues()
    parsing.define_flags(values)
    values(["main.py", f"--mode={mode}"])
    monkeypatch.setattr(main.flags, "FLAGS", values)

    def fails(*arguments, **options):
        raise raised

    monkeypatch.setattr(main.app, "run", fails)
    assert main._work() == code
    assert capsys.readouterr().err == (f"{said}\n" if said else "")


def test_a_fault_of_the_program_is_no_failure_of_the_system(monkeypatch):
    def fails(*arguments, **options):
        raise RuntimeError("a fault")

    monkeypatch.setattr(main.app, "run", fails)
    with pytest.raises(RuntimeError, match="a fault"):
        main._work()


class Ended(Exception):
    pass


def test_a_wait_without_hope_ends_and_is_told_before(monkeypatch, capfd):
    def end(number, progress):
        raise Ended(number, progress)

    monkeypatch.setattr(signals, "_QUIET_SECONDS", 0.0)
    watch = signals.Watch(end)
    try:
        with (
            signals.watched("a data service", 1.5, 2) as progress,
            progress.stretch(),
            pytest.raises(Ended) as ended,
        ):
            watch.run()
        assert ended.value.args == (None, progress)
        told = "no step for 0 s: waiting for a data service? giving up after 1.5 s (--wait_seconds)\n"
        assert capfd.readouterr().err == told
    finally:
        signals.Watch.current = None
        signal.set_wakeup_fd(-1)


def test_the_time_that_the_first_step_took_is_forgotten(monkeypatch):
    now = 0.0
    monkeypatch.setattr(signals.time, "monotonic", lambda: now)
    progress = signals.Progress("others", 100.0, 43)
    for seconds in (60.0, *[0.1] * 50):
        with progress.stretch():
            now += seconds
    with progress.stretch():
        now += 70.0
        assert progress.waited(60.0)


def test_a_request_to_stop_waits_for_the_end_of_a_stretch_unless_that_waits_for_others(monkeypatch):
    def end(number, progress):
        raise Ended(number)

    watch = signals.Watch(end)
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        for others, quiet in ((None, 0.0), ("others", 100.0), ("others", 0.0)):
            monkeypatch.setattr(signals, "_QUIET_SECONDS", quiet)
            monkeypatch.setattr(signals, "GRACE_SECONDS", 0.0)
            hurried = []
            with signals.watched(others, 100.0, 2) as progress, progress.stretch():
                progress.patient, progress.hurry = True, lambda: hurried.append(True)  # noqa: B023
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.01)
                if others and not quiet:
                    with pytest.raises(Ended):
                        watch.run()
                else:
                    selected = iter([None])
                    monkeypatch.setattr(signals.select, "select", stopping(watch, selected))
                    watch.run()
                    monkeypatch.undo()
                    signals.Watch.current = watch
                assert hurried == [True]
    finally:
        signals.Watch.current = None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, before)


def stopping(watch, selected):
    """A `select` after whose first answer the watch ends."""
    import select

    real = select.select

    def select_once(*arguments):
        signals.Watch.current = None
        return real(*arguments)

    return select_once
