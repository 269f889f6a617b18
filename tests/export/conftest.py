"""A tiny network with everything a block can have, and exports of it."""

from __future__ import annotations

import pytest
from export_cases import EVERYTHING, ONE_BLOCK, Case, make_case


@pytest.fixture(scope="session")
def everything() -> Case:
    """Seven classes, two of one name, one not in ASCII."""
    return make_case(EVERYTHING, ("crane", "crane", "tea pot", "Bär", "e", "f", "g"))


@pytest.fixture(scope="session")
def small() -> Case:
    """One block, three classes: fewer than the names a SavedModel would give."""
    return make_case(ONE_BLOCK, ("a", "b", "c"))


@pytest.fixture(scope="session")
def exported(everything, tmp_path_factory):
    """(the directory, the report) of an export of `everything`."""
    directory = tmp_path_factory.mktemp("exports") / "made" / "here"
    return directory, everything.export(directory)


@pytest.fixture(scope="session")
def exported_small(small, tmp_path_factory):
    directory = tmp_path_factory.mktemp("small") / "export"
    return directory, small.export(directory, accuracy=None, weights=None)
