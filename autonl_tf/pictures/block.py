"""How every picture and page tells a block: its kernels, a mark, a chip for each thing beside its convolutions."""

from __future__ import annotations

from typing import NamedTuple

from autonl_tf.arch.spec import BlockSpec
from autonl_tf.pictures.palette import (
    EMBEDDED,
    INK,
    KERNELS,
    LIGHT_NL,
    OTHER_KERNEL,
    SEVERAL_KERNELS,
    SQUEEZE_EXCITE,
)


class Chip(NamedTuple):
    """`text` is the ratio, of non-local blocks with the stride behind a slash; `ink` goes on `fill`."""

    name: str
    text: str
    fill: str
    ink: str


def kernels(block: BlockSpec) -> str:
    return "+".join(f"{kernel}x{kernel}" for kernel in block.kernels)


def kernel_color(block: BlockSpec) -> str:
    return KERNELS.get(block.kernels[0], OTHER_KERNEL) if len(block.kernels) == 1 else SEVERAL_KERNELS


def mark(block: BlockSpec) -> str:
    """`/2` for a stride, `+` for a shortcut, which goes with no stride."""
    return f"/{block.stride}" if block.stride > 1 else "+" * block.has_shortcut


def chips(block: BlockSpec) -> list[Chip]:
    """Squeeze-excite, LightNL and the conventional non-local block, as far as there."""
    found = [] if block.se_ratio is None else [Chip("SE", f"{block.se_ratio:g}", SQUEEZE_EXCITE, INK)]
    for name, part, fill in (("NL", block.nonlocal_, LIGHT_NL), ("full NL", block.embedded, EMBEDDED)):
        if part is not None:
            found.append(Chip(name, f"{part.ratio:g}/{part.stride}", fill, "white"))
    return found
