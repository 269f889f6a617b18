"""Puts this directory on the path, so that tests share `golden_data`, registers the marker, and collects garbage less
often: models leave so many objects that walking them took up to a third of a file's time. No test is timed, those of
hypothesis included."""

import gc

from hypothesis import settings


def pytest_configure(config):
    gc.set_threshold(200_000, 20, 50)
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    config.addinivalue_line("markers", "slow: more than ten seconds")
