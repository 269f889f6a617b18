"""What the documents say: commands with flags that exist, examples that run, links that lead somewhere."""

import doctest
import pathlib
import re
import shlex

import pytest
from absl import flags

from autonl_tf.cli import parsing

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "tpu" / "README.md"]


def commands(page):
    """Every command of main.py, its continued lines joined, comments cut."""
    text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
    inline = [" ".join(found.split()) for found in re.findall(r"`(python main\.py [^`]*)`", text)]
    blocks = re.findall(r"^ *(python main\.py [^`\n]*)$", text, re.MULTILINE)
    return {re.split(r"\s#|\s\|", command)[0] for command in [*inline, *blocks]}


CASES = [(page, command) for page in PAGES for command in sorted(commands(page))]


@pytest.mark.parametrize(("page", "command"), CASES, ids=[f"{page.name}-{n}" for n, (page, _) in enumerate(CASES)])
def test_every_command_has_flags_that_exist_and_fit_together(page, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = [word for word in shlex.split(command)[2:] if not word.endswith(("...", "...]"))]
    values = flags.FlagValues()
    parsing.define_flags(values)
    rest = values(["main.py", *words])
    if values.mode == "compare":
        values.arch = ",".join(rest[1:])
    else:
        assert rest == ["main.py"]
    parsing.from_flags(values)


SCRIPTS = [*PAGES, *sorted(ROOT.glob("benchmarks/*.py")), *sorted(ROOT.glob("examples/*.py"))]


@pytest.mark.parametrize("page", SCRIPTS, ids=lambda page: page.name)
def test_every_script_named_exists_and_has_the_options_it_is_given(page):
    text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
    for script, words in re.findall(r"\bpython ((?:benchmarks|examples)/\w+\.py)((?: +\[?--[^\s`]+)*)", text):
        source = (ROOT / script).read_text(encoding="utf-8")
        options = set(re.findall(r'add_argument\(\s*"--(\w+)"', source))
        assert set(re.findall(r"--(\w+)", words)) <= options, f"{script}{words}"


def headings(page):
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_project_leads_somewhere(page):
    for link, heading in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        target = page.parent / link if link else page
        assert target.exists(), link
        if heading:
            assert heading in headings(target), f"{link}#{heading}"


@pytest.mark.slow
def test_the_examples_of_the_api_page_run():
    failed, tried = doctest.testfile(str(ROOT / "docs" / "api.md"), module_relative=False)
    assert failed == 0 and tried > 5
