"""Registers this room's marker."""


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: more than ten seconds")
