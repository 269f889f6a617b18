"""Puts this directory on the path, so that tests share `golden_data`, registers the marker, puts files with slow tests
first, so that no process is left alone with them at the end, and collects garbage less often: models leave so many
objects that walking them took up to a third of a file's time. TensorFlow's operations run on one thread: the tests run
in a process for each core, and threads that wait for work took a sixth of the time. No test is timed, those of
hypothesis included."""

import gc
import os
import signal
import sys

import pytest
from hypothesis import settings


def pytest_configure(config):
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    gc.set_threshold(200_000, 20, 50)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has those in the background ignore it
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    config.addinivalue_line("markers", "slow: more than ten seconds, what it is set up from included")


def pytest_collection_modifyitems(items):
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """As every mode is run: without AutoGraph, but for what people call themselves and what shows that modes are."""
    folders = item.path.relative_to(item.config.rootpath).parts
    with_it = {"api", "checkpoint", "layers", "package", "test_short_runs.py"}.intersection(folders)
    if with_it or "tensorflow" not in sys.modules:
        return (yield)
    from tensorflow.python.autograph.core import ag_ctx

    with ag_ctx.ControlStatusCtx(ag_ctx.Status.DISABLED):
        return (yield)
