"""What `import autonl_tf` offers: lazily, documented, typed, with examples that run."""

import ast
import doctest
import importlib
import inspect
import pathlib
import subprocess
import sys

import pytest

import autonl_tf

STUB = pathlib.Path(autonl_tf.__file__).with_suffix(".pyi")


def test_importing_the_package_imports_no_tensorflow():
    code = "import autonl_tf, sys; dir(autonl_tf); assert not {'tensorflow', 'tf_keras', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", autonl_tf.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert inspect.getdoc(getattr(autonl_tf, name))
    assert name in dir(autonl_tf)


def test_only_public_names_are_listed():
    assert autonl_tf.api and autonl_tf.arch  # modules are there, and attributes
    assert sorted(dir(autonl_tf)) == sorted([*autonl_tf.__all__, "__version__"])


def test_the_stub_names_what_the_package_has():
    found = {}
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname: node.module for alias in node.names}
    assert found == autonl_tf._LAZY


def test_public_functions_are_typed():
    for name in ("AutoNLS", "AutoNLL", "from_arch", "backbone"):
        signature = inspect.signature(getattr(autonl_tf, name))
        assert all(p.annotation is not p.empty for p in signature.parameters.values())
        assert signature.return_annotation is not signature.empty


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'AutoNLX'"):
        autonl_tf.AutoNLX  # noqa: B018


@pytest.mark.parametrize("name", ["applications", "predictions"])
def test_examples_run(name):
    module = importlib.import_module(f"autonl_tf.api.{name}")
    failed, tried = doctest.testmod(module)
    assert failed == 0 and tried > 0
