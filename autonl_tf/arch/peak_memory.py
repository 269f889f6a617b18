"""How much memory the steps of a training or a search take at their peak, counted before any is taken.

A step keeps for its backward pass what the gradients read: of a convolution and a depthwise convolution the input, of a
batch norm its input, of an activation what its gradient takes, of LightNL the two factors and its product. These maps
pile up in the order of the forward pass and are given back in the opposite order, while the gradient of the layer that
is at work needs some more of its size: the peak is the largest sum of both. The constants were measured
(`benchmarks/memory.py`, docs/scaling.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from autonl_tf.arch.cost import affinity_first, network_cost
from autonl_tf.arch.spec import BlockSpec, NetworkSpec, feature_map_sizes, output_size

FLOAT = 4  # bytes; batch-norm statistics, weights and optimizers are float32 whatever layers compute in
EVALUATED = 2  # maps of the largest layer that an evaluation holds
WORKING = 3  # maps of the layer at work that its gradient holds for a while
# Maps that are kept from a batch norm's output to the next layer's input.
ACTIVATED = {"swish": 2, "relu": 1, "relu6": 1, "hswish": 3}
# Copies of every weight: itself, its gradient, RMSProp's two slots; a training's moving average.
COPIES = {"search": 4, "train": 5}
MICRO_BATCHED = 1.6  # of a micro-batch's maps: the loop was measured to hold more than one's
HELD_OUT = 1.8  # of a batch's maps, where held-out images go through the network beside it: measured 1.73
BATCHES = 4  # of images: the one at work and those that the input pipeline has ready
OVERHEAD = 1.1  # of what is allocated for maps: the allocator's overhead, and maps that are freed late
PROGRAM = 620e6  # bytes: the interpreter, TensorFlow, this package
GRAPH = {"search": 44e6, "train": 15e6}  # bytes a block: the traced step as it was, optimized and while it is


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes at the peak, by what holds them: `activations` of the images at work, `variables` with their gradients and
    slots, `images` that are prepared, `program`."""

    activations: float
    variables: float
    images: float
    program: float

    @property
    def device(self) -> float:
        """What the device that computes holds, where that is not the processor."""
        return self.activations + self.variables + self.images


def peak(
    spec: NetworkSpec,
    *,
    mode: str,
    image_size: int,
    num_classes: int,
    batch: int,
    micro_batches: int = 1,
    eval_batch: int = 0,
    frozen: int = 0,
    held_out: bool = False,
    compute_bytes: int = FLOAT,
) -> Memory:
    """What one replica takes.

    Args:
      spec: the network, or, to search, the largest member of the space.
      batch: images a step of the replica.
      eval_batch: images at a time in evaluation; 0: no evaluation.
      frozen: how many of stem, blocks and head, from the front, no gradient reaches (`parts.frozen_from_the_front`).
      held_out: whether a search's step takes as many held-out images.
      compute_bytes: of a number that layers compute in.
    """
    stages = list(kept_maps(spec, image_size, searched=mode == "search"))
    largest = EVALUATED * max(max(maps) for maps in stages)
    kept = _peak([size for maps in stages[frozen:] for size in maps])
    training = (max(kept, largest) if frozen else kept) * (batch / micro_batches)
    training *= (MICRO_BATCHED if micro_batches > 1 else 1) * (HELD_OUT if held_out else 1)
    evaluation = largest * eval_batch
    params = network_cost(spec, image_size=image_size, num_classes=num_classes).total.params
    copies = COPIES[mode] + (micro_batches > 1)
    return Memory(
        activations=OVERHEAD * max(training, evaluation) * compute_bytes,
        variables=params * copies * FLOAT,
        images=BATCHES * max(batch * (1 + held_out), eval_batch) * 3 * image_size**2 * FLOAT,
        program=PROGRAM + GRAPH[mode] * len(spec.singles()),
    )


def _peak(maps: list[int]) -> int:
    piled = most = 0
    for size in maps:
        piled += size
        most = max(most, piled + WORKING * size)
    return most


def kept_maps(spec: NetworkSpec, image_size: int, searched: bool) -> Iterator[list[int]]:
    """Values an image of every map that a step keeps: of the stem, each block and the head, as the forward pass goes.

    Args:
      searched: `spec` is the largest member of a space and stands for its supernet, whose gates are read too.
    """
    blocks = spec.singles()
    sizes = feature_map_sizes(blocks, image_size)
    stem = spec.stem_filters * sizes[0] ** 2
    yield [3 * image_size**2, *[stem] * (1 + ACTIVATED[spec.activation])]
    for block, size in zip(blocks, sizes, strict=False):
        yield list(_of_block(block, size, searched))
    # The head's activation goes into a mean, whose gradient does not read it.
    yield [spec.head_filters * sizes[-1] ** 2] * (1 + max(1, ACTIVATED[spec.activation] - 1))


def _of_block(block: BlockSpec, in_size: int, searched: bool) -> Iterator[int]:
    before, after = in_size**2, output_size(in_size, block.stride) ** 2
    wide, activated = block.expanded_filters, ACTIVATED[block.activation]
    if block.expansion != 1:
        if len(block.expand_kernels) > 1:
            yield before * block.in_filters  # cut into groups
        yield from [before * wide] * (1 + activated)
    for copied in (block.shuffle_groups > 1, len(block.kernels) > 1):
        if copied:
            yield before * wide
    yield from [after * wide] * (1 + activated)
    if block.se_ratio is not None:
        yield after * wide
    if len(block.project_kernels) > 1:
        yield after * wide
    narrow = after * block.out_filters
    yield narrow  # of the projection
    if block.nonlocal_ is not None:
        yield from _of_light_nl(block, output_size(in_size, block.stride), searched)
    if block.embedded is not None:
        inner, keys = int(block.out_filters * block.embedded.ratio), output_size(in_size, block.stride)
        yield from [narrow, *[after * inner] * 4, *[after * output_size(keys, block.embedded.stride) ** 2] * 2, narrow]
    if searched and block.has_shortcut:
        yield narrow  # what the gate that keeps the block multiplies
    yield narrow  # the block's output


def _of_light_nl(block: BlockSpec, size: int, searched: bool) -> Iterator[int]:
    light, positions = block.nonlocal_, size**2
    narrow, reduced = positions * block.out_filters, positions * int(block.out_filters * light.ratio)
    yield narrow  # x
    yield from [reduced] * (2 if searched else 1)  # theta; masked
    if light.stride > 1 or searched:
        yield narrow // max(light.stride, 2) ** 2  # x at the stride
    if not searched and affinity_first(size, size, block.out_filters, light.ratio, light.stride):
        yield positions * output_size(size, light.stride) ** 2
    yield from [narrow] * 2  # y; behind the depthwise convolution
