"""Names from outside neither move a terminal's cursor nor run in a spreadsheet."""

from __future__ import annotations

import csv
import io
import subprocess
import sys

import pytest

from autonl_tf.plain_text import CLEAR_LINE, PlainText, write_table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("back\rspace\b\x07", r"back\rspace\x08\x07"),
        ("\x9b2J\x7f\u202egpj.exe", r"\x9b2J\x7f\u202egpj.exe"),
        (CLEAR_LINE + "step 1", r"\r\x1b[Kstep 1"),
        ("käfer 蜂 a\tb\nc", "käfer 蜂 a\tb\nc"),
        ("\udcff", r"\udcff"),
        (CLEAR_LINE, CLEAR_LINE),
    ],
)
def test_control_characters_never_reach_a_terminal(text, shown):
    raw = io.BytesIO()
    stream = PlainText(raw, encoding="utf-8", errors="backslashreplace", newline="")
    print(text, file=stream, flush=True)
    assert raw.getvalue().decode() == shown + "\n"


def test_python_without_docstrings_is_refused_in_a_line():
    words = [sys.executable, "-OO", "main.py", "--mode=predict", "--images=x.jpg", "--model_dir=run"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: python -OO") and done.stderr.count("\n") == 1


def test_neither_does_a_message_of_the_program():
    words = [sys.executable, "main.py", "--mode=describe", "--arch=none/\x1b]0;a\x07.txt"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and r"none/\x1b]0;a\x07.txt" in done.stderr and "\x1b" not in done.stderr


def test_a_cell_that_would_run_as_a_formula_is_text(tmp_path):
    odd = [
        "=1+1.jpg",
        "+cmd",
        "-cmd|' /C calc'!A0",
        "@SUM(A1)",
        " =1",
        "\t=1",
        "\uff1d1",
        "-2",
        "+1e3",
        "ant",
        "",
        3,
        -0.5,
    ]
    with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as file:
        write_table(file, [odd])
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.reader(file)
    assert row == [f"'{cell}" for cell in odd[:7]] + ["-2", "+1e3", "ant", "", "3", "-0.5"]
