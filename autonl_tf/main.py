"""The command line: flags to a config, a config to a mode, mistakes to one line and exit code 2."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
import tempfile

from absl import app, flags
from absl import logging as absl_logging

from autonl_tf import config as config_lib
from autonl_tf import early
from autonl_tf.errors import UserError
from autonl_tf.plain_text import PlainText

USAGE_ERROR = 2
INTERRUPTED = 130

# The user's keras.json would turn the axes of images, and shift numbers by its float type and its epsilon, as their
# matplotlibrc would change pictures, and either may be damaged: with this neither is found, and the libraries' own
# defaults hold.
_OWN_ENVIRONMENT = {
    "KERAS_HOME": os.devnull,
    "KERAS_BACKEND": "tensorflow",
    "MATPLOTLIBRC": os.devnull,
    "MPLBACKEND": "agg",
}

# What writing to a full disk, or beyond a quota or a limit, fails with.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _fail(message: object) -> None:
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(USAGE_ERROR)


def _parse(argv: list[str]) -> list[str]:
    """Parses flags; `--help` prints every flag and exits 0, a wrong flag exits 2."""
    if any(argument in ("--help", "-help", "-h") for argument in argv[1:]):
        sys.stdout.write(config_lib.usage())
        sys.exit(0)
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        _fail(error)
    if len(rest) > 1 and flags.FLAGS.mode == "compare" and flags.FLAGS.arch is None:
        flags.FLAGS.arch = ",".join(rest[1:])
        return rest[:1]
    if flags.FLAGS.mode == "report":
        rest = _take_directories(rest)
    if len(rest) > 1:
        _fail(f"unexpected argument {rest[1]!r}; settings are given as --flag=value, see --help")
    return rest


def _take_directories(rest: list[str]) -> list[str]:
    """`--mode=report RUN_A RUN_B`: its directories may be given by themselves."""
    for name in ("model_dir", "compare_with"):
        if len(rest) > 1 and not flags.FLAGS[name].present:
            flags.FLAGS[name].value = rest.pop(1)
    return rest


def _main(argv: list[str]) -> None:
    del argv  # checked by _parse
    try:
        config = config_lib.from_flags()
        for name in config_lib.unread_flags(config):
            print(f"note: --{name} has no effect in --mode={config.run.mode}", file=sys.stderr)
        target = config_lib.target_of(config.search) if config.run.mode == "search" else None
        if target and flags.FLAGS["cost_lambda"].present:
            print(f"note: --cost_lambda has no effect beside --{target[0]}", file=sys.stderr)
        early.check(config)
        _quiet_logging()
        _import_mode(config.run.mode).run(config)
    except UserError as error:
        _fail(error)
    except BrokenPipeError:
        # The reader of our output left: nothing more to say, and nothing to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _fail(f"{error.filename or 'a file'}: {error.strerror}; make room and run the same command again")
    except KeyboardInterrupt:
        goes_on = "; the same command goes on from the last checkpoint"
        advice = {
            "search": goes_on,
            "train": goes_on,
            "profile": "; the same command goes on with what is not measured",
        }
        print("interrupted" + advice.get(flags.FLAGS.mode, ""), file=sys.stderr)
        sys.exit(INTERRUPTED)


def _quiet_logging() -> None:
    """The package's own notes on standard error as plain lines; of the libraries', errors alone."""
    absl_logging.set_verbosity(absl_logging.ERROR)
    notes = logging.StreamHandler(sys.stderr)
    notes.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("autonl_tf")
    logger.addHandler(notes)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _import_mode(mode: str):
    """The mode's module, without TensorFlow's start-up chatter, which no setting of its own silences."""
    if sys.flags.optimize > 1:
        _fail(
            "python -OO (PYTHONOPTIMIZE=2) takes away docstrings, without which tf_keras is not imported; accepted: -O"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.update(_OWN_ENVIRONMENT)
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            module = importlib.import_module(f"autonl_tf.modes.{mode}")
            if "tensorflow" in sys.modules:
                sys.modules["tensorflow"].config.list_physical_devices()  # looks for GPUs, and says so
            return module
        except BaseException:
            chatter.seek(0)
            os.write(kept, chatter.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def run() -> None:
    """Entry of `main.py` and of the console command; exits with the run's code."""
    sys.stdout, sys.stderr = PlainText.of(sys.stdout), PlainText.of(sys.stderr)
    config_lib.define_flags()
    app.run(_main, flags_parser=_parse)
