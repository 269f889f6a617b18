"""What an architecture is: blocks as written in `arch.txt`, and the single blocks they stand for.

Source: the block notation of the AutoNL release (an extension of MnasNet's and MixNet's). Two things are this project's
own: the header (`activation`, `stem`, `head`, `shuffle`, `padding`, `mean`, `stddev`), for other families, and the
conventional non-local block (`embedded`), for comparison.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from autonl_tf.errors import UserError

STEM_FILTERS = 32
HEAD_FILTERS = 1280
STEM_KERNEL = 3
STEM_STRIDE = 2
PADDINGS = ("same", "symmetric")
ACTIVATIONS = ("swish", "relu", "relu6", "hswish")


@dataclasses.dataclass(frozen=True)
class Normalization:
    """How a network takes pixels of 0 to 255: (pixel - mean) / stddev, each for red, green and blue.

    The defaults are the AutoNL release's: mean (0.485, 0.456, 0.406) * 255, stddev (0.229, 0.224, 0.225) * 255.
    """

    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    stddev: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __str__(self) -> str:
        return f"mean {_channels(self.mean)}, stddev {_channels(self.stddev)}"


def _channels(values: tuple[float, float, float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "/".join(f"{value:g}" for value in values)


@dataclasses.dataclass(frozen=True)
class LightNLSpec:
    """How compact a LightNL is: `ratio` of the channels in theta and phi, spatial `stride` of g and phi."""

    ratio: float
    stride: int = 1


@dataclasses.dataclass(frozen=True)
class EmbeddedNLSpec:
    """The conventional non-local block: `ratio` of the channels inside, `stride` of its pooled keys and values."""

    ratio: float
    stride: int = 1


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One line of an architecture: `repeats` inverted bottlenecks, of which the first takes the stride.

    Attributes:
      kernels: depthwise kernel sizes; several split the channels into groups (MixNet's MDConv).
      stride: of the first repeat, in height and width.
      expansion: ratio of expanded to input channels; 1 means no expansion convolution.
      in_filters, out_filters: channels before and after.
      expand_kernels, project_kernels: kernel sizes of the grouped pointwise convolutions, one group each.
      se_ratio: squeeze-excite filters as a share of `in_filters`; None without squeeze-excite.
      nonlocal_: LightNL after the projection; None without.
      embedded: a conventional non-local block there; None without.
      skip: whether an identity shortcut is allowed (it is there only at stride 1 and equal filters).
      activation: of the block, squeeze-excite included. The header's, or swish where the line carries `sw`.
      padding: of convolutions with a stride: TensorFlow's "same", or "symmetric", alike on both sides as PyTorch's.
      shuffle: whether the header has a projection in several groups shuffle the channels before its depthwise.
      swish_token: whether the line carries `sw`, which changes nothing without a header: everything is swish.
    """

    kernels: tuple[int, ...]
    stride: int
    expansion: int
    in_filters: int
    out_filters: int
    repeats: int = 1
    expand_kernels: tuple[int, ...] = (1,)
    project_kernels: tuple[int, ...] = (1,)
    se_ratio: float | None = None
    nonlocal_: LightNLSpec | None = None
    embedded: EmbeddedNLSpec | None = None
    skip: bool = True
    activation: str = "swish"
    shuffle: bool = False
    padding: str = "same"
    swish_token: bool = dataclasses.field(default=False, compare=False)

    @property
    def has_shortcut(self) -> bool:
        """Whether a single block (repeats 1) adds its input to its output."""
        return self.skip and self.stride == 1 and self.in_filters == self.out_filters

    @property
    def shuffle_groups(self) -> int:
        """Groups among which the channels are shuffled before the depthwise convolution; 1: they are not."""
        return len(self.project_kernels) if self.shuffle else 1

    @property
    def expanded_filters(self) -> int:
        return self.in_filters * self.expansion

    @property
    def se_filters(self) -> int:
        """Filters of the squeeze-excite bottleneck: max(1, int(in_filters * ratio)); 0 without squeeze-excite."""
        return squeeze_filters(self.in_filters, self.se_ratio)

    def too_many_groups(self) -> tuple[str, str] | None:
        """Which token of a single block gives a convolution more groups than channels, and how many; None: none."""
        for token, kernels, channels in (
            ("k", self.kernels, self.expanded_filters),
            ("a", self.expand_kernels, self.in_filters),
            ("p", self.project_kernels, min(self.expanded_filters, self.out_filters)),
        ):
            if len(kernels) > channels:
                return token, f"{len(kernels)} groups for {channels} channels"
        return None

    def canonical(self) -> BlockSpec:
        """The same block (repeats 1) without a `noskip` that changes nothing."""
        plain = self.stride == 1 and self.in_filters == self.out_filters
        return self if plain else dataclasses.replace(self, skip=True)

    def singles(self) -> Iterator[BlockSpec]:
        """The blocks this line stands for: repeats after the first take stride 1 and input = output filters."""
        first = dataclasses.replace(self, repeats=1)
        yield first
        for _ in range(self.repeats - 1):
            yield dataclasses.replace(first, stride=1, in_filters=self.out_filters)


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """An architecture: its lines, in order. `source` names where it was read, for error messages.

    `activation` (of stem and head, and of the blocks but those marked `sw`), `stem_filters`, `head_filters`,
    `shuffle`, `padding` and `normalization` are the header's; their defaults are the AutoNL family's, which has no
    header.
    """

    blocks: tuple[BlockSpec, ...]
    source: str = dataclasses.field(default="architecture", compare=False)
    activation: str = "swish"
    stem_filters: int = STEM_FILTERS
    head_filters: int = HEAD_FILTERS
    shuffle: bool = False
    padding: str = "same"
    normalization: Normalization = Normalization()

    @property
    def has_header(self) -> bool:
        """Whether it is of another family than AutoNL's."""
        return self != NetworkSpec(self.blocks)

    def singles(self, depth_multiplier: float = 1.0) -> tuple[BlockSpec, ...]:
        """Every block by itself (repeats 1), its filters scaled by `depth_multiplier`."""
        return tuple(
            dataclasses.replace(
                block,
                in_filters=scale_filters(block.in_filters, depth_multiplier),
                out_filters=scale_filters(block.out_filters, depth_multiplier),
            )
            for line in self.blocks
            for block in line.singles()
        )

    def canonical(self) -> NetworkSpec:
        """The same network with one block a line and without a `noskip` that changes nothing."""
        return dataclasses.replace(self, blocks=tuple(block.canonical() for block in self.singles()))

    def scaled(self, depth_multiplier: float) -> NetworkSpec:
        """The network with the filters of its stem and its blocks, one a line, multiplied; the head keeps its own."""
        stem = scale_filters(self.stem_filters, depth_multiplier)
        return dataclasses.replace(self, blocks=self.singles(depth_multiplier), stem_filters=stem)


def difference(found: NetworkSpec, wanted: NetworkSpec) -> str | None:
    """How the network `found` differs from `wanted`, in words; None where the two are the same."""
    found, wanted = found.canonical(), wanted.canonical()
    if found == wanted:
        return None
    if dataclasses.replace(found, normalization=wanted.normalization) == wanted:
        return f"the same layers with another normalisation ({found.normalization}; not {wanted.normalization})"
    return "another architecture"


def first_difference(found: NetworkSpec, wanted: NetworkSpec) -> str:
    """The first thing in which two architectures differ, such as `block 3: kernels 5, not 3`."""
    found, wanted = found.canonical(), wanted.canonical()
    if len(found.blocks) != len(wanted.blocks):
        return f"{len(found.blocks)} blocks, not {len(wanted.blocks)}"
    pairs = [(f"block {index}: ", *pair) for index, pair in enumerate(zip(found.blocks, wanted.blocks, strict=True))]
    for where, mine, other in [("", found, wanted), *pairs]:
        for name, value, wanted_value in differing(mine, other):
            return f"{where}{name} {value}, not {wanted_value}"
    return "nothing"


def differing(found: BlockSpec | NetworkSpec, wanted: BlockSpec | NetworkSpec) -> Iterator[tuple[str, str, str]]:
    """Name and both values of each field, a network's blocks aside, in which two of a kind differ."""
    for field in dataclasses.fields(found):
        values = getattr(found, field.name), getattr(wanted, field.name)
        if field.compare and field.name != "blocks" and values[0] != values[1]:
            yield field.name.removesuffix("_"), *map(plain, values)


def plain(value: object) -> str:
    """A field as an architecture file has it, near enough."""
    if isinstance(value, LightNLSpec | EmbeddedNLSpec):
        return f"{value.ratio:g}-{value.stride}"
    if isinstance(value, tuple):
        return ".".join(map(str, value))
    return "none" if value is None else str(value)


def scale_filters(filters: int, depth_multiplier: float = 1.0) -> int:
    """`filters * depth_multiplier` rounded to a multiple of 8, never down by more than 10%; unchanged at 1.0."""
    if depth_multiplier == 1.0:
        return filters
    scaled = filters * depth_multiplier
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def squeeze_filters(in_filters: int, ratio: float | None) -> int:
    return max(1, int(in_filters * ratio)) if ratio else 0


def split_channels(total: int, groups: int) -> tuple[int, ...]:
    """`total // groups` channels each, the remainder to the first group."""
    share = total // groups
    return (total - share * (groups - 1), *[share] * (groups - 1))


def output_size(size: int, stride: int) -> int:
    """Side of a feature map after a SAME convolution: ceil(size / stride)."""
    return -(-size // stride)


def feature_map_sizes(blocks: tuple[BlockSpec, ...], image_size: int) -> tuple[int, ...]:
    """Side of the feature map that each single block receives, and, last, that the head receives."""
    sizes = [output_size(image_size, STEM_STRIDE)]
    for block in blocks:
        sizes.append(output_size(sizes[-1], block.stride))
    return tuple(sizes)


def check_fits(spec: NetworkSpec, image_size: int, depth_multiplier: float = 1.0) -> None:
    """Raises UserError where a non-local block, or a group of a convolution, has nothing to work on at this size."""
    blocks = spec.singles(depth_multiplier)
    sizes = feature_map_sizes(blocks, image_size)
    for index, (block, size) in enumerate(zip(blocks, sizes[1:], strict=True)):
        if found := block.too_many_groups():
            raise UserError(f"{spec.source}: block {index}: {found[1]}")
        for name, placed in (("LightNL", block.nonlocal_), ("embedded non-local", block.embedded)):
            if placed is not None:
                where = f"{spec.source}: block {index} at {image_size} px: {name}"
                _check_non_local(placed, block.out_filters, size, where)
        if block.shuffle_groups > 1 and block.expanded_filters % block.shuffle_groups:
            raise UserError(
                f"{spec.source}: block {index}: {block.expanded_filters} channels cannot be shuffled among "
                f"{block.shuffle_groups} groups"
            )


def _check_non_local(placed: LightNLSpec | EmbeddedNLSpec, filters: int, size: int, where: str) -> None:
    if placed.stride > size:
        raise UserError(
            f"{where} stride {placed.stride} is larger than its {size}x{size} feature map; accepted: 1 to {size}"
        )
    if int(filters * placed.ratio) < 1:
        raise UserError(
            f"{where} ratio {placed.ratio:g} of {filters} channels leaves no channel; "
            f"accepted: at least {1 / filters:g}"
        )
