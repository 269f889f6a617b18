"""The command line: flags to a config, a config to a mode, and what goes wrong to one line and an exit code."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable

from absl import app, flags
from absl import logging as absl_logging

from autonl_tf import errors, files, host_memory, signals, streams
from autonl_tf.cli import parsing
from autonl_tf.errors import UserError

_WITHOUT_TENSORFLOW = ("describe", "compare")
# A user's keras.json could change the axes of images, the float type and the epsilon, and a matplotlibrc the pictures;
# either may also be damaged. These settings hide both files, so that the libraries' defaults hold. Compiling every
# function is off, since the decoding of images cannot be compiled.
_OWN_ENVIRONMENT = {
    "KERAS_HOME": os.devnull,
    "KERAS_BACKEND": "tensorflow",
    "MATPLOTLIBRC": os.devnull,
    "MPLBACKEND": "agg",
    "TF_FUNCTION_JIT_COMPILE_DEFAULT": "0",
    "TF_USE_LEGACY_KERAS": "1",  # TensorFlow would import Keras 3 besides, for nothing
}

# What the same command goes on from, in the modes that can be stopped and started again.
_GOES_ON = {
    "search": "the last checkpoint, if one was saved",
    "train": "the last checkpoint, if one was saved",
    "profile": "what has been measured",
}
_PRINTING = ("describe", "compare", "eval", "predict")  # the modes whose result is what they print


def _parse(argv: list[str]) -> list[str]:
    """Parses flags; `--help` prints what it asks for and exits 0. Raises UserError where a flag is wrong."""
    if text := parsing.help_asked(argv[1:]):
        sys.stdout.write(text)
        sys.exit(0)
    parsing.parse(argv, flags.FLAGS)
    return argv[:1]


def _main(argv: list[str]) -> None:
    del argv  # checked by _parse
    if sys.flags.optimize > 1:
        raise UserError(
            "python -OO (PYTHONOPTIMIZE=2) takes away docstrings, without which tf_keras is not imported; accepted: -O"
        )
    try:
        os.getcwd()
    except OSError as error:  # which names no file
        raise UserError(
            f"the working directory cannot be used ({error.strerror}); change to one that is there"
        ) from None
    config = parsing.from_flags(flags.FLAGS)
    for name in config.given:
        if config.mode not in config.readers[name]:
            print(f"note: --{name} has no effect in --mode={config.mode}", file=sys.stderr)
    config = parsing.checked("check_files", config)
    _quiet_logging()
    run_mode = _runner(config.mode)
    signals.Watch(_end).start()
    run_mode(config)


def _quiet_logging() -> None:
    """The package's own notes on standard error as plain lines; of the libraries', errors alone."""
    absl_logging.set_verbosity(absl_logging.ERROR)
    notes = logging.StreamHandler(sys.stderr)
    notes.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("autonl_tf")
    logger.addHandler(notes)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _runner(mode: str) -> Callable:
    """The mode's function, imported without TensorFlow's start-up chatter, which no setting of its own silences.

    Within it functions are traced as they are written. AutoGraph would rewrite each of them first, a quarter of a short
    run's start; nothing here needs it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.update(_OWN_ENVIRONMENT)
    if mode not in _WITHOUT_TENSORFLOW and "tensorflow" not in sys.modules:
        print("starting: importing TensorFlow", file=sys.stderr, flush=True)
    with contextlib.nullcontext() if "tensorflow" in sys.modules else streams.held_back():
        run_mode = importlib.import_module(f"autonl_tf.commands.{mode}.run").run
        tensorflow = sys.modules.get("tensorflow")
        if tensorflow is None:
            return run_mode
        if not tensorflow.config.list_physical_devices("GPU"):  # looks for them, and says so
            # Keeps the memory of tensors for the next ones; the system would give it anew, page by page.
            os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
            os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(int(host_memory.there_is().total) >> 20))
    return tensorflow.autograph.experimental.do_not_convert(run_mode)


def _mode() -> str | None:
    try:
        return flags.FLAGS.mode
    except flags.Error:  # no flag has been parsed
        return None


def _work() -> object:
    """Runs the command and returns the exit code; prints one line if it fails. Exceptions other than a user's mistakes
    and failures of the system propagate."""
    try:
        app.run(_main, flags_parser=_parse)
    except signals.Stopped as stop:
        return _obeyed(stop.number)
    except KeyboardInterrupt:
        return _obeyed(signal.SIGINT)
    except SystemExit as end:
        return end.code
    except UserError as error:
        return _fail(error)
    except Exception as error:
        if number := signals.replaced():
            return _obeyed(number)
        if errors.system_failure(error) is None:
            raise
        return _fail(errors.failure_line(error))


def _fail(message: object) -> int:
    print(f"error: {errors.joined(message)}", file=sys.stderr)
    return errors.USAGE_ERROR


def _obeyed(number: int) -> int:
    text, code = _stopped(number)
    print(text, file=sys.stderr)
    return code


def _stopped(number: int) -> tuple[str, int]:
    """What is said, and the exit code, where a signal ends the work."""
    goes_on = _GOES_ON.get(_mode())
    how = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    code = errors.PREEMPTED if goes_on and number != signal.SIGINT else 128 + number
    return f"{how}; the same command goes on from {goes_on}" if goes_on else how, code


def _end(number: int | None, progress: signals.Progress | None) -> None:
    """Ends the process at once, as its main thread would have ended it."""
    if progress is None:
        text, code = _stopped(number)
    else:
        text = f"error: waited for {progress.others} for --wait_seconds={progress.limit:g} and more"
        code = progress.code
    signals.say(text)
    files.abandon()
    os._exit(code)


def _printed() -> int:
    """The exit code of finished work: 0, unless the printed output is the result and could not be written."""
    fault = streams.lost_output()
    if fault is None or _mode() not in (*_PRINTING, None):
        return 0
    if isinstance(fault, BrokenPipeError):
        return errors.READER_LEFT
    return _fail(f"standard output: {errors.system_failure(fault)[1]}")


def run() -> None:
    """Entry of `main.py` and of the console command; exits with the run's code (docs/faq.md)."""
    streams.outlive_readers()
    signals.handle(signals.stop)
    parsing.define_flags(flags.FLAGS)
    code = _work()
    signals.ignore()
    sys.exit(code or _printed())
