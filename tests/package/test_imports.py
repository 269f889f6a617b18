"""What each folder of the package may import, and what may not be imported at all."""

from __future__ import annotations

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE, TESTS = ROOT / "autonl_tf", ROOT / "tests"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted([ROOT / "main.py", ROOT / "setup.py", *ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("examples/*.py")])
MODULES_BY_NAME = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in MODULES
}

# A folder, or a module beside the folders, may import itself and these. `package` is autonl_tf/__init__.py, which holds
# the version, and names that it loads when they are used; it loads the layers when tf_keras is imported.
ALLOWED = {
    "errors": set(),
    "package": set(),
    "plain_text": set(),
    "strict_json": {"files", "plain_text"},
    "limits": set(),
    "flag_values": set(),
    "signals": set(),
    "streams": {"plain_text"},
    "files": {"errors"},
    "cluster": {"errors"},
    "host_memory": set(),
    "reading": {"errors"},
    "records": {"limits"},
    "arch": {"errors", "reading", "limits"},
    "layers": {"arch", "errors", "flag_values"},
    "space": {"layers", "arch", "errors", "reading", "records"},
    "data": {"arch", "errors", "reading", "flag_values", "plain_text"},
    "engine": {
        *("layers", "errors", "package", "plain_text", "strict_json", "reading", "records"),
        *("cluster", "files", "signals", "streams", "flag_values"),
    },
    "networks": {"space", "layers", "arch", "errors"},
    "checkpoint": {
        *("data", "engine", "networks", "space", "arch", "errors", "files", "reading", "records", "flag_values"),
        "strict_json",
    },
    "search": {"engine", "networks", "space", "layers", "arch", "errors", "signals"},
    "export": {
        *("data", "networks", "space", "arch", "errors", "files", "flag_values", "package", "strict_json", "reading"),
        "records",
    },
    "pictures": {"space", "arch", "errors", "files"},
    "api": {"checkpoint", "data", "networks", "layers", "arch", "errors"},
    "settings": {
        *("arch", "checkpoint", "cluster", "data", "engine", "errors", "flag_values", "limits", "reading", "records"),
        *("space", "strict_json"),
    },
    "prepare": {
        *("checkpoint", "cluster", "data", "engine", "files", "networks", "settings", "arch", "errors"),
        *("host_memory", "limits", "plain_text", "reading", "records", "streams"),
    },
    "commands": {
        *("checkpoint", "data", "engine", "export", "files", "flag_values", "networks", "prepare", "settings"),
        *("search", "signals", "space", "layers", "arch", "errors", "plain_text", "reading", "records"),
        *("limits", "pictures", "streams", "strict_json"),
    },
    # commands: by name
    "cli": {"commands", "errors", "files", "host_memory", "reading", "settings", "signals", "streams"},
    "demo": {"settings", "errors"},
}
WITHOUT_TENSORFLOW = (
    "errors",
    "plain_text",
    "strict_json",
    "limits",
    "flag_values",
    "signals",
    "streams",
    "files",
    "cluster",
    "host_memory",
    "reading",
    "records",
    "arch",
    "space",
    "settings",
    "cli",
    "pictures",
)


def folder_of(path: pathlib.Path) -> str:
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "package" if name == "__init__" else name


def imported(tree: ast.AST) -> list[tuple[int, str]]:
    """Full names of everything a module imports, wherever in it, with their lines."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written in full"
            names += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return names


def folders_imported(tree: ast.AST) -> list[tuple[int, str]]:
    """The folders, and modules beside them, that a module imports, with their lines."""
    found = []
    for line, name in imported(tree):
        parts = name.split(".")
        if parts[0] == "autonl_tf":
            found.append((line, parts[1] if len(parts) > 1 and parts[1] in ALLOWED else "package"))
    return found


def in_cycles(imports: dict[str, set[str]]) -> set[str]:
    """The names that import each other, or something that does."""
    while lowest := {name for name, others in imports.items() if not others}:
        imports = {name: others - lowest for name, others in imports.items() if name not in lowest}
    return set(imports)


def forbidden(tree: ast.AST) -> list[tuple[int, str]]:
    """Uses of Keras 3, of the deprecated interpreter, and of the Keras environment switch."""
    found = []
    for line, name in imported(tree):
        if name.startswith(("tensorflow.keras", "keras.", "tensorflow.lite.Interpreter")) or name == "keras":
            found.append((line, name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in ("tf.keras", "tensorflow.keras", "tf.lite.Interpreter", "tensorflow.lite.Interpreter"):
                found.append((node.lineno, name))
        elif isinstance(node, ast.Constant) and node.value == "TF_USE_LEGACY_KERAS":
            found.append((node.lineno, node.value))
    return found


def named(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_folder_has_its_imports_listed():
    assert {folder_of(path) for path in MODULES} <= set(ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_go_one_way(path):
    folder = folder_of(path)
    wrong = [
        f"line {line}: {folder} may not import {other}"
        for line, other in folders_imported(ast.parse(path.read_text(encoding="utf-8")))
        if other != folder and other not in ALLOWED[folder]
    ]
    assert not wrong


def test_the_folders_have_no_cycle():
    assert in_cycles(ALLOWED) == set()


def named_in(path: pathlib.Path) -> set[str]:
    """What a module defines or imports at its top."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        found |= {getattr(node, "name", "")} | {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
        found |= {alias.asname or alias.name for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)}
    return found


def test_what_is_imported_of_the_package_is_there():
    """In functions too, and in scripts that no test runs."""
    here = {module: named_in(path) for module, path in MODULES_BY_NAME.items()}
    absent = []
    for path in (*MODULES, *SCRIPTS, *ROOT.glob("tests/**/*.py")):
        for line, name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            module, _, last = name.rpartition(".")
            if module.startswith("autonl_tf.") and name not in here and last not in here.get(module, ()):
                absent.append(f"{named(path)}:{line}: {name}")
    assert absent == []


def test_the_tree_of_contributing_has_every_folder_above_what_it_imports():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = re.findall(r"^  (\w+)/ ", text, re.MULTILINE)
    assert sorted(tree) == sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    assert {folder: above for n, folder in enumerate(tree) if (above := ALLOWED[folder] & set(tree[:n]))} == {}


def test_no_modules_import_each_other():
    """Not for their types either, nor within functions."""
    imports, paths = {}, MODULES_BY_NAME
    for module, path in paths.items():
        names = {name for _, name in imported(ast.parse(path.read_text(encoding="utf-8")))}
        imports[module] = {name if name in paths else name.rpartition(".")[0] for name in names} & paths.keys() - {
            module
        }
    assert in_cycles(imports) == set()


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=named)
def test_no_keras_3_and_no_deprecated_interpreter(path):
    # The command's process is its own; in a user's program what tf.keras means is not ours to say.
    allowed = {"TF_USE_LEGACY_KERAS"} if path.name == "main.py" else set()
    assert {name for _, name in forbidden(ast.parse(path.read_text(encoding="utf-8")))} <= allowed


@pytest.mark.parametrize(
    "text",
    [
        "import tensorflow as tf\ntf.keras.layers.Dense(1)",
        "from tensorflow import keras",
        "import keras",
        "import tensorflow as tf\ntf.lite.Interpreter('x')",
        "import os\nos.environ['TF_USE_LEGACY_KERAS'] = '1'",
    ],
)
def test_the_scan_finds_what_it_looks_for(text):
    assert forbidden(ast.parse(text))


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("from autonl_tf.data import images", "data"),
        ("import autonl_tf.engine.loop", "engine"),
        ("def f():\n    from autonl_tf import networks", "networks"),
        ("from autonl_tf import __version__", "package"),
    ],
)
def test_the_scan_sees_every_way_to_import_a_folder(text, folder):
    assert [found for _, found in folders_imported(ast.parse(text))] == [folder]


def test_a_test_imports_only_what_lies_beside_it_or_in_tests():
    """So that each folder's tests run alone."""
    files = sorted(TESTS.rglob("*.py"))
    stems = {folder: {path.stem for path in folder.glob("*.py")} for folder in {path.parent for path in files}}
    for path in files:
        elsewhere = set().union(*stems.values()) - stems[TESTS] - stems[path.parent]
        names = {name.split(".")[0] for _, name in imported(ast.parse(path.read_text(encoding="utf-8")))}
        assert not names & elsewhere, path


def test_what_needs_no_tensorflow_imports_none():
    names = [
        name
        for name, path in MODULES_BY_NAME.items()
        if folder_of(path) in WITHOUT_TENSORFLOW or (folder_of(path) == "commands" and path.stem == "flags")
    ]
    code = f"import {', '.join(names)}, sys; assert not {{'tensorflow', 'tf_keras'}} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
