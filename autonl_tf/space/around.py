"""`around:ARCH`: the space around an architecture, whose blocks may take LightNL and whose blocks may shrink.

    around:efficientnet_lite0                                 LightNL behind every block; all else stays
    around:efficientnet_lite0,kernels,expansions,depth        smaller kernels, half the widths, fewer blocks, too
    around:runs/mine/arch.txt,nonlocal0.25-1,nonlocal0.5-2    LightNL of these ratios and strides
    around:efficientnet_lite0,depth,no_nonlocal               no LightNL but what the architecture has

What comes of it is the content of an ordinary space file (`space.py`): the header, strides, widths between blocks and
squeeze-excite are the architecture's. LightNL that it has may go, and is a candidate in its blocks as it is.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections import Counter
from typing import Any

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.spec import BlockSpec, LightNLSpec, NetworkSpec
from autonl_tf.errors import UserError
from autonl_tf.reading import read_json
from autonl_tf.records import ModelRecord
from autonl_tf.space.fitting import told

PREFIX = "around:"
SMALLEST_KERNEL = 3
CANDIDATES = (LightNLSpec(0.125, 2), LightNLSpec(0.25, 1))  # ratios and strides, each with each
_SHRINK = ("kernels", "expansions", "depth")
_NONE = "no_nonlocal"
_ACCEPTED = f"{PREFIX}ARCH, then with commas between {', '.join(_SHRINK)}, nonlocalC-S (several) or {_NONE}"


def architecture(name: str) -> NetworkSpec | None:
    """The architecture that a space's name is around, a run's with its multiplied filters; None for another name.
    Raises UserError if there is none."""
    if not name.startswith(PREFIX):
        return None
    arch = name.removeprefix(PREFIX).split(",")[0]
    if not arch:
        raise UserError(f"--search_space={name}: accepted: {_ACCEPTED}")
    spec, run = presets.load(arch, flag=f"--search_space={PREFIX}"), pathlib.Path(arch, "model.json")
    if arch in presets.names() or not run.is_file():
        return spec
    return spec.scaled(read_json(run, ModelRecord, what="the description of a run's network").depth_multiplier)


def image_size(name: str) -> int:
    """The side in pixels that members of a space of this name take where nothing else says it: that of the network that
    it is around, else 224."""
    return presets.image_size(name.removeprefix(PREFIX).split(",")[0] if name.startswith(PREFIX) else None)


def content(name: str) -> dict[str, Any]:
    """The content of the space file that a name beginning with `around:` stands for.

    Raises:
      UserError: an unknown word, no such architecture, or one with blocks that a space cannot hold, which it lists.
    """
    spec, words = architecture(name), name.split(",")[1:]
    shrink, placed = _read(name, words)
    if misfits := [line for index, block in enumerate(spec.singles()) for line in _misfits(block, f"block {index}")]:
        raise UserError(
            f"--search_space={name}: a space cannot hold {told(misfits)}; accepted: blocks of one kernel size a "
            "convolution, 1 for pointwise ones, without conventional non-local blocks"
        )
    entries = []
    for number, line in enumerate(spec.blocks):
        plain = dataclasses.replace(line, nonlocal_=None)
        ratios, strides = _light_nl(line, placed)
        kernel, expansion = line.kernels[0], line.expansion
        smaller = range(max(SMALLEST_KERNEL, line.stride | 1), kernel, 2) if "kernels" in shrink else ()
        narrower = [expansion // 2] if "expansions" in shrink and expansion >= 4 else []
        entries.append(
            {
                "block": blockstring.write_block(plain),
                "kernels": [*smaller, kernel],
                "expansions": [*narrower, expansion],
                "nonlocal_ratios": ratios,
                "nonlocal_strides": strides,
                # The first line stays, so that not every block can be dropped.
                **({} if "depth" in shrink and number else {"droppable": False}),
            }
        )
    header = blockstring.write_header(spec).removeprefix("network ")
    common = {
        key: list(Counter(tuple(entry[key]) for entry in entries).most_common(1)[0][0])
        for key in entries[0]
        if key.endswith("s")
    }
    blocks = [{key: value for key, value in entry.items() if common.get(key) != value} for entry in entries]
    return {**({"network": header} if header else {}), "candidates": common, "blocks": blocks}


def _read(name: str, words: list[str]) -> tuple[set[str], list[LightNLSpec]]:
    """What may shrink, and the LightNL candidates. Raises UserError."""
    placed = []
    for word in words:
        if words.count(word) > 1:
            raise UserError(f"--search_space={name}: {word!r} is given twice")
        if word in _SHRINK or word == _NONE:
            continue
        if not word.startswith("nonlocal"):
            raise UserError(f"--search_space={name}: unknown {word!r}; accepted: {_ACCEPTED}")
        placed.append(blockstring.parse_block(f"r1_k3_s11_e1_i8_o8_{word}", f"--search_space={name}").nonlocal_)
    if placed and _NONE in words:
        raise UserError(f"--search_space={name}: {_NONE} and LightNL candidates; accepted: one of the two")
    if placed and min(candidate.stride for candidate in placed) > 1:
        raise UserError(f"--search_space={name}: lacks LightNL of stride 1, which the others are compared with")
    return {*_SHRINK} & {*words}, [] if _NONE in words else placed or list(CANDIDATES)


def _misfits(block: BlockSpec, where: str) -> list[str]:
    """What of a block no space can hold."""
    found = []
    for kernels, what in (
        (block.kernels[1:], "depthwise kernels in groups"),
        (block.expand_kernels != (1,), "an expansion in groups or wider than 1"),
        (block.project_kernels != (1,), "a projection in groups or wider than 1"),
        (block.embedded, "a conventional non-local block"),
    ):
        if kernels:
            found.append(what)
    return [f"{where} ({blockstring.write_block(block)}): {', '.join(found)}"] if found else []


def _light_nl(line: BlockSpec, placed: list[LightNLSpec]) -> tuple[list[float], list[int]]:
    """The ratios, ascending, and strides, descending, of a line: its own, and those that leave other channels."""
    own = line.nonlocal_
    candidates = [*([own] if own else []), *placed]
    ratios: dict[int, float] = {}
    for ratio in (candidate.ratio for candidate in candidates):
        ratios.setdefault(int(line.out_filters * ratio), ratio)
    ratios.pop(0, None)
    strides = {candidate.stride for candidate in candidates} | ({1} if own else set())
    return sorted(ratios.values()), sorted(strides, reverse=True) if ratios else []
