"""State dictionaries of the authors' PyTorch port: its names, and how its parameters become ours.

Source: the port's modules (github.com/meijieru/yet_another_mobilenet_series, models/mobilenet_base.py and
mobilenet_supernet.py). It computes another function than the TensorFlow release in two places:

1. Convolutions with a stride pad alike on both sides; TensorFlow's SAME puts the odd pixel behind. No weights make up
   for that in kernels of the same size: the network must have `padding=symmetric` in its header, and then does alike.
2. LightNL multiplies its product by W / H, where the release divides by H * W. Both are linear, and a depthwise
   convolution follows: its kernel times H * W * W / H makes ours equal, exactly at the map size it was folded for.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from autonl_tf.arch.spec import BlockSpec, NetworkSpec, feature_map_sizes
from autonl_tf.checkpoint.checkpoint import Checkpoint, Chosen, Loaded, Tell, silent
from autonl_tf.checkpoint.torch_file import conv_norm, norm, read_state, stored_under
from autonl_tf.data.labels import numbered
from autonl_tf.errors import UserError

_BIAS = "classifier.1.bias"


def open_pytorch(path: str, arch: NetworkSpec, *, image_size: int, tell: Tell = silent) -> Checkpoint:
    """A file of PyTorch as weights of the network of `arch` with symmetric padding.

    `module.` before every name and counters of batches are passed over.

    Args:
      path: a state dictionary, by itself or in a dictionary under `model` or `state_dict`.
      image_size: at which LightNL's scale is folded.

    Raises:
      UserError: the file is not a PyTorch file, or holds more than tensors; the architecture is not of the port.
    """
    spec = symmetric(arch)
    found, within = read_state(path)
    state = {name.removeprefix("module."): value for name, value in found.items()}
    bias = state.get(_BIAS, np.zeros(1))
    if bias.ndim != 1 or not bias.size:
        raise UserError(f"{path}: its classifier's bias has shape {bias.shape}, not one a class")
    scales = {
        f"block{index}_nl_depthwise/depthwise_kernel": float(size * size)
        for index, size in enumerate(feature_map_sizes(spec.singles(), image_size)[1:])
    }
    stored = stored_under(path, state, dict(pytorch_names(spec)), scales)
    tell(f"{path}{within}: strided convolutions pad alike on both sides")
    if any(block.nonlocal_ for block in spec.blocks):
        tell(f"LightNL's scale is folded for {image_size} px: at other sizes the port computes something else")
    return Checkpoint(
        format="pytorch",
        where=path,
        spec=spec,
        class_names=numbered(len(bias)),
        image_size=image_size,
        choose=lambda *_: Chosen(stored, Loaded(path)),
    )


def symmetric(spec: NetworkSpec) -> NetworkSpec:
    """The network with convolutions that pad as PyTorch's do."""
    blocks = tuple(dataclasses.replace(block, padding="symmetric") for block in spec.blocks)
    return dataclasses.replace(spec, blocks=blocks, padding="symmetric")


def pytorch_names(spec: NetworkSpec) -> list[tuple[str, str]]:
    """(our variable, the port's), such as ("block0_depthwise/depthwise_kernel", "features.1.depth_ops.0.0.0.weight").

    Raises:
      UserError: what the port lacks: groups of kernels, another activation, a shortcut that is left out.
    """
    blocks = spec.singles()
    pairs = conv_norm("stem", "features.0.0", "features.0.1")
    for index, block in enumerate(blocks):
        _check(block, f"{spec.source}: block {index}")
        pairs += _block(block, f"block{index}_", f"features.{index + 1}")
    last = f"features.{len(blocks) + 1}"
    pairs += conv_norm("head", f"{last}.0", f"{last}.1")
    return [*pairs, ("logits/kernel", "classifier.1.weight"), ("logits/bias", "classifier.1.bias")]


def _check(block: BlockSpec, where: str) -> None:
    if any(len(kernels) > 1 for kernels in (block.kernels, block.expand_kernels, block.project_kernels)):
        raise UserError(f"{where}: the PyTorch port has no convolutions in groups")
    if block.activation != "swish" or block.embedded:
        raise UserError(f"{where}: the PyTorch port has only swish and LightNL")
    if not block.skip and block.stride == 1 and block.in_filters == block.out_filters:
        raise UserError(f"{where}: the PyTorch port has no 'noskip': it keeps the shortcut")


def _block(block: BlockSpec, ours: str, port: str) -> list[tuple[str, str]]:
    pairs = []
    if block.expansion != 1:
        pairs += conv_norm(f"{ours}expand", f"{port}.expand_conv.0", f"{port}.expand_conv.1")
    depth = f"{port}.depth_ops.0.{1 if block.expansion != 1 else 0}"
    pairs += conv_norm(f"{ours}depthwise", f"{depth}.0", f"{depth}.1")
    if block.se_ratio is not None:
        for part in ("reduce", "expand"):
            se, theirs = f"{ours}se_{part}", f"{port}.se_op.se_{part}"
            pairs += [(f"{se}/kernel", f"{theirs}.weight"), (f"{se}/bias", f"{theirs}.bias")]
    pairs += conv_norm(f"{ours}project", f"{port}.project_conv.0", f"{port}.project_conv.1")
    if block.nonlocal_ is not None:
        pairs.append((f"{ours}nl_depthwise/depthwise_kernel", f"{port}.nl_op.depthwise_conv.weight"))
        pairs += norm(f"{ours}nl_bn", f"{port}.nl_op.bn")
    return pairs
