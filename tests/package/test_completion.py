"""Shell completion, as the shells themselves see it."""

from __future__ import annotations

import re
import subprocess

import pytest

from autonl_tf.cli import completion
from autonl_tf.cli.parsing import FLAGS

# What a shell does at <Tab>: it calls the registered function with the words so far.
AT_TAB = """
source "$1"; shift
COMP_WORDS=(autonl "$@"); COMP_CWORD=$#
complete_with=$(complete -p autonl | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$complete_with
echo "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "autonl"
    path.write_text(completion.script("bash"))

    def at_tab(*words: str) -> list[str]:
        command = ["bash", "-c", AT_TAB, "bash", str(path), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    return at_tab


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_flag_is_offered(shell):
    text = completion.script(shell)
    assert all(name in text for name in FLAGS)


def test_bash_completes_flags_and_their_values(bash):
    assert bash("--search_sp") == ["--search_space", "--search_split"]
    assert bash("--mode", "tr") == ["train"]
    assert bash("--noq") == ["--noqat"]


def test_paths_are_completed():
    text = completion.script("bash")
    assert re.search(r"_shtab_autonl___?model_dir_COMPGEN=_shtab_compgen_dirs", text)
    assert re.search(r"_shtab_autonl___?init_checkpoint_COMPGEN=_shtab_compgen_files", text)


def test_an_unknown_shell_is_told_with_those_that_are_known(capsys):
    assert completion.main(["ksh"]) == 2
    assert "completion of 'ksh' is not known; accepted: bash, zsh" in capsys.readouterr().err
    assert completion.main([]) == 2
    assert "usage" in capsys.readouterr().err
