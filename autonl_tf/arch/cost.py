"""Multiply-adds (MACs) and trainable parameters of an architecture, block by block.

The paper's accounting, which its 267M and 353M count: a convolution is kh*kw*(in/groups)*out*H_out*W_out, a pooling
(squeeze-excite's too) H*W*C, a dense layer in*out; biases, additions, batch norms, activations and the squeeze-excite
multiply count nothing. LightNL on [B, H, W, C] with ratio r and stride s is the cheaper association of its product,
with a real-valued C*r and n' = (H // s) * (W // s), plus its depthwise convolution, 9*C*H*W. A conventional non-local
block is its four 1x1 convolutions, its two products and, where s > 1, its two max-poolings; softmax counts nothing.

`macs_exact` differs in LightNL alone: int(C*r) channels and ceil(H / s) * ceil(W / s) positions, as computed.
"""

from __future__ import annotations

import dataclasses
import itertools

from autonl_tf import limits
from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import (
    STEM_KERNEL,
    BlockSpec,
    EmbeddedNLSpec,
    LightNLSpec,
    NetworkSpec,
    check_fits,
    feature_map_sizes,
    output_size,
    scale_filters,
    split_channels,
)
from autonl_tf.errors import UserError

NONLOCAL_KERNEL = 3


@dataclasses.dataclass(frozen=True)
class Cost:
    """MACs by the paper's accounting, MACs as computed, and trainable parameters."""

    macs: float = 0
    macs_exact: int = 0
    params: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.macs_exact + other.macs_exact, self.params + other.params)


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """One row of a network's table: the stem, a block or the head, with its map sides and channels."""

    name: str
    block: str
    in_size: int
    out_size: int
    in_filters: int
    out_filters: int
    cost: Cost


@dataclasses.dataclass(frozen=True)
class NetworkCost:
    rows: tuple[LayerCost, ...]

    @property
    def total(self) -> Cost:
        return sum((row.cost for row in self.rows), Cost())


def light_nl_products(height: int, width: int, channels: int, ratio: float, stride: int) -> tuple[float, float]:
    """MACs of (theta phi^T) g and of theta (phi^T g) on [H, W, C], the paper's accounting."""
    positions = (height // stride) * (width // stride)
    affinity = height * width * positions * channels * (1 + ratio)
    context = height * width * channels**2 * ratio + positions * channels**2 * ratio
    return affinity, context


def affinity_first(height: int, width: int, channels: int, ratio: float, stride: int) -> bool:
    """Whether (theta phi^T) g costs less than theta (phi^T g): the release's rule, decided on static shapes."""
    affinity, context = light_nl_products(height, width, channels, ratio, stride)
    return affinity < context


def _light_nl(size: int, channels: int, light: LightNLSpec) -> Cost:
    reduced, positions = int(channels * light.ratio), output_size(size, light.stride) ** 2
    if affinity_first(size, size, channels, light.ratio, light.stride):
        exact = size * size * positions * (reduced + channels)
    else:
        exact = (size * size + positions) * reduced * channels
    depthwise = NONLOCAL_KERNEL**2 * channels * size * size
    product = min(light_nl_products(size, size, channels, light.ratio, light.stride))
    params = NONLOCAL_KERNEL**2 * channels + 2 * channels
    return Cost(product + depthwise, exact + depthwise, params)


def embedded_cost(size: int, channels: int, embedded: EmbeddedNLSpec) -> Cost:
    """theta, phi, g: C to c with bias; the products over n' = ceil(H / s)^2 positions; out: c to C, batch norm."""
    inner, positions = int(channels * embedded.ratio), output_size(size, embedded.stride) ** 2
    macs = 4 * channels * inner * size * size + 2 * size * size * positions * inner
    if embedded.stride > 1:
        macs += 2 * size * size * inner
    return _work(macs, 3 * (channels * inner + inner) + inner * channels + 2 * channels)


def _work(macs: int, params: int) -> Cost:
    return Cost(macs, macs, params)


def _convolution(kernels: tuple[int, ...], inputs: int, outputs: int, size: int) -> Cost:
    """A convolution of one group a kernel size, with its batch norm; `size` is the output map's side."""
    weights = sum(
        kernel**2 * group_in * group_out
        for kernel, group_in, group_out in zip(
            kernels, split_channels(inputs, len(kernels)), split_channels(outputs, len(kernels)), strict=True
        )
    )
    return _work(weights * size * size, weights + 2 * outputs)


def block_cost(block: BlockSpec, in_size: int) -> Cost:
    """Cost of one single block (repeats 1) that receives [in_size, in_size, in_filters]."""
    out_size, expanded = output_size(in_size, block.stride), block.expanded_filters
    cost = Cost()
    if block.expansion != 1:
        cost += _convolution(block.expand_kernels, block.in_filters, expanded, in_size)
    groups = split_channels(expanded, len(block.kernels))
    taps = sum(kernel**2 * group for kernel, group in zip(block.kernels, groups, strict=True))
    cost += _work(taps * out_size * out_size, taps + 2 * expanded)
    if block.se_ratio is not None:
        weights = 2 * expanded * block.se_filters
        cost += _work(out_size * out_size * expanded + weights, weights + block.se_filters + expanded)
    cost += _convolution(block.project_kernels, expanded, block.out_filters, out_size)
    if block.nonlocal_ is not None:
        cost += _light_nl(out_size, block.out_filters, block.nonlocal_)
    if block.embedded is not None:
        cost += embedded_cost(out_size, block.out_filters, block.embedded)
    return cost


def stem_cost(image_size: int, filters: int) -> Cost:
    return _convolution((STEM_KERNEL,), 3, filters, output_size(image_size, 2))


def head_cost(in_filters: int, size: int, num_classes: int, filters: int) -> Cost:
    """1x1 convolution to `filters`, global average pool, dense with bias."""
    convolution = _convolution((1,), in_filters, filters, size)
    pool = _work(size * size * filters, 0)
    dense = _work(filters * num_classes, (filters + 1) * num_classes)
    return convolution + pool + dense


def network_cost(spec: NetworkSpec, *, image_size: int, num_classes: int, depth_multiplier: float = 1.0) -> NetworkCost:
    """Cost of a whole network, row by row.

    Raises:
      UserError: a non-local block that does not fit its feature map at this size.
    """
    check_fits(spec, image_size, depth_multiplier)
    blocks = spec.singles(depth_multiplier)
    sizes = feature_map_sizes(blocks, image_size)
    stem = scale_filters(spec.stem_filters, depth_multiplier)
    # Name, block, channels in and out, cost.
    parts = [("stem", "conv 3x3 stride 2", 3, stem, stem_cost(image_size, stem))]
    for index, (block, size) in enumerate(zip(blocks, sizes, strict=False)):
        name, line = f"block{index}", blockstring.write_block(block)
        parts.append((name, line, block.in_filters, block.out_filters, block_cost(block, size)))
    last = blocks[-1].out_filters
    head = head_cost(last, sizes[-1], num_classes, spec.head_filters)
    parts.append(("head", f"conv 1x1 to {spec.head_filters}, pool, dense", last, num_classes, head))
    sides = itertools.pairwise((image_size, *sizes, 1))
    rows = [LayerCost(name, line, *side, *rest) for (name, line, *rest), side in zip(parts, sides, strict=True)]
    return NetworkCost(tuple(rows))


def check_parameters(spec: NetworkSpec, *, image_size: int, num_classes: int, depth_multiplier: float = 1.0) -> None:
    """Raises UserError for a network that does not fit the image size, or is too large for any machine in sight."""
    sizes = {"image_size": image_size, "num_classes": num_classes, "depth_multiplier": depth_multiplier}
    params = network_cost(spec, **sizes).total.params
    if params > limits.MOST_PARAMETERS:
        raise UserError(f"{spec.source}: {params:,} parameters; accepted: at most {limits.MOST_PARAMETERS:,}")
