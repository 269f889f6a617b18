"""What the tests of every mode start from: good input that each of them spoils, and a run directory."""

import pytest
from mode_cases import ARCH, SHORT, class_folder, run, tree, write_space

from autonl_tf.errors import UserError


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """Good input that each test spoils: a class folder, an architecture, a space."""
    root = tmp_path_factory.mktemp("home")
    class_folder(root / "pictures", {"train": 2, "val": 1})
    (root / "arch.txt").write_text(ARCH)
    write_space(root / "space.json")
    return root


@pytest.fixture(scope="session")
def trained(home):
    """A run directory of two steps on that folder."""
    words = ("--mode=train", f"--arch={home}/arch.txt", f"--dataset=folder:{home}/pictures", *SHORT)
    run(*words, f"--model_dir={home}/trained")
    return (*words, f"--model_dir={home}/trained")


@pytest.fixture
def training(home, tmp_path):
    words = ("--mode=train", f"--arch={home}/arch.txt", f"--dataset=folder:{home}/pictures", *SHORT)
    return (*words, f"--model_dir={tmp_path}/run")


@pytest.fixture
def searching(home, tmp_path):
    words = ("--mode=search", f"--search_space={home}/space.json", f"--dataset=folder:{home}/pictures", *SHORT)
    return (*words, f"--model_dir={tmp_path}/run")


@pytest.fixture
def refused(home, tmp_path):
    """refused(words, pattern): a UserError of that text, and every file below `home` and `tmp_path` as it was."""

    def check(words, pattern):
        before = tree(home, tmp_path)
        with pytest.raises(UserError, match=pattern):
            run(*words)
        assert tree(home, tmp_path) == before

    return check


@pytest.fixture
def spoilt(tmp_path):
    """A class folder with one picture cut short in each split."""
    root = class_folder(tmp_path / "spoilt", {"train": 2, "val": 2})
    for split in ("train", "val"):
        path = root / split / "bee" / "1.jpg"
        path.write_bytes(path.read_bytes()[:300])
    return root
