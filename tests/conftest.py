"""Puts this directory on the path, so that tests share `golden_data`, and registers the marker."""


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: more than ten seconds")
