"""The words of code, tests and documents: the field's names, and sentences that begin with their subject."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("autonl_tf", "benchmarks", "docs", "examples", "flags", "tests", "tpu")
TEXTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.*"), *(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*")))
    if path.suffix in (".md", ".py", ".sh", ".cfg", ".txt", ".ipynb") and path != pathlib.Path(__file__)
}
# A private vocabulary, each word with what the field says for it.
INSTEAD = {
    r"\brooms\b|\bdoors?\b": "folder, import",
    "ladder": "choice",
    "rung": "gate, order",
    "climb": "choose",
    "fence": "threshold",
    "landing": "flips, target",
    "skeleton": "kernel and expansion",
    "wiring": "what the module does",
    r"(?<!service )\baccounts?\b": "result",
    "verdict": "what was found",
    "guard": "check",
}


def found(pattern: str) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in TEXTS.items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]


def test_there_are_words_to_look_at():
    assert {"README.md", "autonl_tf/space/gate_kind.py", "tests/conftest.py", "docs/search.md"} <= TEXTS.keys()


def test_no_sentence_begins_with_of():
    assert found(r'(?:"""|^|# |[.:;|(-] )\s*Of [a-z`]') == []


def test_no_private_word_comes_back():
    assert {word: lines for word in INSTEAD if (lines := found(f"(?i){word}"))} == {}
