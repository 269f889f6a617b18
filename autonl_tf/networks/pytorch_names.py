"""The variables of the authors' PyTorch port, by name, and how its numbers become ours.

Source: the port's modules (github.com/meijieru/yet_another_mobilenet_series, models/mobilenet_base.py and
mobilenet_supernet.py). It computes another function than the TensorFlow release in two places:

1. Convolutions with a stride pad alike on both sides; TensorFlow's SAME puts the odd pixel behind. No weights make up
   for that in kernels of the same size: the network must have `padding=symmetric` in its header, and then does alike.
2. LightNL multiplies its product by W / H, where the release divides by H * W. Both are linear, and a depthwise
   convolution follows: its kernel times H * W * W / H makes ours equal, exactly at the map size it was folded for.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from autonl_tf.arch.spec import BlockSpec, NetworkSpec, feature_map_sizes
from autonl_tf.errors import UserError

_BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_COUNTER = ".num_batches_tracked"
_LISTED = 10


def pytorch_names(spec: NetworkSpec) -> list[tuple[str, str]]:
    """(our variable, the port's), such as ("block0_depthwise/depthwise_kernel", "features.1.depth_ops.0.0.0.weight").

    Raises:
      UserError: what the port has not: groups of kernels, another activation, a shortcut that is left out.
    """
    blocks = spec.singles()
    pairs = _conv_bn("stem", "features.0")
    for index, block in enumerate(blocks):
        _check(block, f"{spec.source}: block {index}")
        pairs += _block(block, f"block{index}_", f"features.{index + 1}")
    pairs += _conv_bn("head", f"features.{len(blocks) + 1}")
    return [*pairs, ("logits/kernel", "classifier.1.weight"), ("logits/bias", "classifier.1.bias")]


def _check(block: BlockSpec, where: str) -> None:
    if any(len(kernels) > 1 for kernels in (block.kernels, block.expand_kernels, block.project_kernels)):
        raise UserError(f"{where}: convolutions in groups are not of the PyTorch port")
    if block.activation != "swish" or block.embedded:
        raise UserError(f"{where}: only swish and LightNL are of the PyTorch port")
    if not block.skip and block.stride == 1 and block.in_filters == block.out_filters:
        raise UserError(f"{where}: 'noskip' is not of the PyTorch port, which has the shortcut")


def _norm(ours: str, port: str) -> list[tuple[str, str]]:
    return [(f"{ours}/{leaf}", f"{port}.{other}") for leaf, other in _BATCH_NORM.items()]


def _conv_bn(ours: str, port: str) -> list[tuple[str, str]]:
    return [(f"{ours}_conv/kernel", f"{port}.0.weight"), *_norm(f"{ours}_bn", f"{port}.1")]


def _block(block: BlockSpec, ours: str, port: str) -> list[tuple[str, str]]:
    pairs = []
    if block.expansion != 1:
        pairs += _conv_bn(f"{ours}expand", f"{port}.expand_conv")
    depth = f"{port}.depth_ops.0.{1 if block.expansion != 1 else 0}"
    pairs += [(f"{ours}depthwise/depthwise_kernel", f"{depth}.0.weight"), *_norm(f"{ours}depthwise_bn", f"{depth}.1")]
    if block.se_ratio is not None:
        for part in ("reduce", "expand"):
            pairs += [
                (f"{ours}se_{part}/{leaf}", f"{port}.se_op.se_{part}.{other}")
                for leaf, other in (("kernel", "weight"), ("bias", "bias"))
            ]
    pairs += _conv_bn(f"{ours}project", f"{port}.project_conv")
    if block.nonlocal_ is not None:
        pairs.append((f"{ours}nl_depthwise/depthwise_kernel", f"{port}.nl_op.depthwise_conv.weight"))
        pairs += _norm(f"{ours}nl_bn", f"{port}.nl_op.bn")
    return pairs


def convert_state(
    spec: NetworkSpec, state: Mapping[str, np.ndarray], image_size: int, where: str
) -> dict[str, np.ndarray]:
    """The port's state dictionary as our variables' values, float32, by name.

    Args:
      spec: with `padding="symmetric"`.
      state: name -> array; `module.` before every name and counters of batches are passed over.
      image_size: at which LightNL's scale is folded.
      where: the file, for messages.

    Raises:
      UserError: an architecture that is not of the port; variables missing or unexpected; values not finite.
      ValueError: a spec of another padding.
    """
    if spec.padding != "symmetric":
        raise ValueError("the port pads symmetrically: its networks need padding=symmetric")
    named = {name.removeprefix("module."): value for name, value in state.items() if not name.endswith(_COUNTER)}
    pairs = pytorch_names(spec)
    missing = [port for _, port in pairs if port not in named]
    unexpected = sorted(named.keys() - {port for _, port in pairs})
    if missing or unexpected:
        parts = [f"{len(names)} {kind}: {_list(names)}" for kind, names in
                 (("missing", missing), ("unexpected", unexpected)) if names]  # fmt: skip
        raise UserError(f"{where}: does not fit the network: {'; '.join(parts)}")
    with np.errstate(over="ignore"):
        laid = {ours: _laid_out(ours, named[port]) for ours, port in pairs}
    bad = [port for ours, port in pairs if not np.isfinite(laid[ours]).all()]
    if bad:
        raise UserError(f"{where}: holds values that are not finite in {_list(bad)}")
    scales = {
        f"block{index}_nl_depthwise/depthwise_kernel": float(size * size)
        for index, size in enumerate(feature_map_sizes(spec.singles(), image_size)[1:])
    }
    return {ours: value * np.float32(scales.get(ours, 1.0)) for ours, value in laid.items()}


def _laid_out(ours: str, value: np.ndarray) -> np.ndarray:
    """[out, in, kh, kw] to [kh, kw, in, out]; a depthwise [C, 1, kh, kw] to [kh, kw, C, 1]; dense: transposed."""
    value = np.asarray(value, np.float32)
    if ours.endswith("depthwise_kernel") and value.ndim == 4:
        return value.transpose(2, 3, 0, 1)
    if ours.endswith("/kernel"):
        return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
    return value


def _list(names: list[str]) -> str:
    rest = len(names) - _LISTED
    shown = (name if name.isprintable() else repr(name) for name in names[:_LISTED])
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
