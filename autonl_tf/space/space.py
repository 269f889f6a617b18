"""A search space as data: the macro-architecture at its largest, and what may be chosen in each block.

A space file is JSON:

    {"candidates": {"kernels": [3, 5], "expansions": [3, 6], "se_ratios": [0.25, 0.5],
                    "nonlocal_ratios": [0.125, 0.25], "nonlocal_strides": [2, 1]},
     "blocks": [{"block": "r1_k3_s11_e1_i32_o16_noskip", "searchable": false},
                {"block": "r4_k5_s22_e6_i16_o24"},
                {"block": "r1_k3_s11_e6_i24_o40", "kernels": [3], "nonlocal_ratios": [], "nonlocal_strides": []}]}

Networks of another family than AutoNL's also have `"network": "activation=relu6 mean=127 stddev=128"`, the header
that all members' files get (`arch/blockstring.py`). Each block string is written at its largest kernel and expansion
and unrolled by its repeats; an entry may replace any candidate list for its own blocks. Kernels and expansions ascend,
and an expansion of 1 stands alone; squeeze-excite and LightNL may always be left out, and empty or absent lists leave
them out of it; a block string may have squeeze-excite that stays. A block that has a shortcut may be dropped unless
`"droppable": false`.

Each choice in a block is among options in ascending cost, made by gates: gate j takes option j to j + 1. The kinds of
gates (`kinds.py`) say what choices there are. A selection is one option for each choice of a block.
Source: the paper, section 3.2, on the macro-architecture of Single-Path NAS.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections import ChainMap
from typing import Any

import numpy as np

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import BlockSpec, NetworkSpec, check_fits, feature_map_sizes
from autonl_tf.errors import UserError
from autonl_tf.reading import MOST_SHORT, Unreadable, read_json
from autonl_tf.space import around
from autonl_tf.space.block import SpaceBlock
from autonl_tf.space.fitting import fitted, told
from autonl_tf.space.gate_kind import Kind, check_kinds
from autonl_tf.space.kinds import KINDS

MOST_SELECTIONS = 100_000  # of the blocks of a space together; the paper's has 2,737

_FOLDER = pathlib.Path(__file__).parent / "spaces"
# What a searchable block string gives, and the header.
_SHAPE = ("kernels", "stride", "expansion", "in_filters", "out_filters", "skip", "se_ratio")
_HEADER = ("activation", "shuffle", "padding")


@dataclasses.dataclass(frozen=True)
class Space:
    """A search space.

    Attributes:
      blocks: with repeats unrolled.
      family: the header that the members' files share, as an architecture without blocks.
      content: of its file, as read.
    """

    name: str
    blocks: tuple[SpaceBlock, ...]
    family: NetworkSpec
    content: dict[str, Any] = dataclasses.field(compare=False, repr=False)

    @property
    def choices(self) -> tuple[str, ...]:
        """What may be chosen in a block, in the order of its gates."""
        return tuple(self.blocks[0].options)

    def member(self, selections: list[dict[str, int]]) -> NetworkSpec:
        """The network that one selection a block stands for."""
        blocks = (block.block(selection) for block, selection in zip(self.blocks, selections, strict=True))
        kept = tuple(block for block in blocks if block is not None)
        return dataclasses.replace(self.family, blocks=kept, source=self.name)

    def largest(self) -> NetworkSpec:
        return self.member([block.largest for block in self.blocks])

    def smallest(self) -> NetworkSpec:
        return self.member([block.smallest for block in self.blocks])

    def random_member(self, rng: np.random.Generator) -> NetworkSpec:
        """A network with every choice drawn uniformly."""
        return self.member(
            [{choice: int(rng.integers(len(of))) for choice, of in block.options.items()} for block in self.blocks]
        )

    def contains(self, spec: NetworkSpec) -> bool:
        """Whether an architecture is a member, a redundant `noskip` aside; one of another family (header) never is."""
        return not fitted(self.blocks, self.family, spec)[1]

    def selections_of(self, spec: NetworkSpec, where: str) -> list[dict[str, int]]:
        """The selections, one a block, that make an architecture.

        Where several do, these are those that drop later blocks. What means nothing beside the others is at its
        largest; in a dropped block what adds something is left out.

        Raises:
          UserError: it is no member: says of `where` what differs, block by block.
        """
        selections, misfits = fitted(self.blocks, self.family, spec)
        if misfits:
            raise UserError(f"{where}: does not fit the search space {self.name}: {told(misfits)}")
        return selections

    def count(self) -> int:
        """How many combinations of the blocks' options there are. Two may be one network: of two like blocks either may
        be dropped."""
        return math.prod(len({block.block(selection) for selection in block.selections()}) for block in self.blocks)

    def text(self) -> str:
        return json.dumps(self.content, indent=2) + "\n"

    def map_sizes(self, image_size: int) -> tuple[int, ...]:
        """Side of the feature map each block receives, and, last, the head."""
        return feature_map_sizes(tuple(block.base for block in self.blocks), image_size)

    def check(self, image_size: int) -> None:
        """Raises UserError where a candidate does not fit its feature map."""
        for choice in self.choices:
            if choice == "expand":
                continue  # it fits, and a dropped block would shift the others' numbers
            for index in range(max(len(block.options[choice]) for block in self.blocks)):
                varied = [b.largest | {choice: min(index, len(b.options[choice]) - 1)} for b in self.blocks]
                check_fits(dataclasses.replace(self.member(varied), source=f"search space {self.name}"), image_size)


def names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


def load(name_or_path: str) -> Space:
    """A shipped space by name, one around an architecture (`around.py`), or a space file by path.

    Raises:
      UserError: none of these, or the file is wrong: the message says where.
    """
    if name_or_path.startswith(around.PREFIX):
        return parse(around.content(name_or_path), name_or_path)
    path = _FOLDER / f"{name_or_path}.json" if name_or_path in names() else pathlib.Path(name_or_path)
    try:
        return read(path, name_or_path)
    except Unreadable as error:
        raise UserError(
            f"--search_space={name_or_path}: {error.reason}; accepted: {', '.join(names())}, {around.PREFIX}ARCH, or a "
            "space file's path"
        ) from None


def read(path: str | pathlib.Path, name: str | None = None) -> Space:
    """A space file. Raises UserError; Unreadable where it is not JSON or cannot be read."""
    return parse(read_json(path, object, MOST_SHORT), name or str(path))


def parse(data: Any, name: str, kinds: tuple[Kind, ...] = KINDS) -> Space:
    """A space of these kinds of gates from the content of its file. Raises UserError."""
    check_kinds(kinds)
    keys = {key: kind.required for kind in kinds for key in kind.candidates}
    required = {key for key, needed in keys.items() if needed}
    _keys(data, name, required={"candidates", "blocks"}, optional={"network"})
    _keys(data["candidates"], f"{name}, candidates", required=required, optional=keys.keys() - required)
    common = {"searchable": True, "droppable": True} | {key: [] for key in keys} | data["candidates"]
    if not isinstance(data["blocks"], list) or not data["blocks"]:
        raise UserError(f'{name}: "blocks" must be a list of at least one block')
    family = _family(data.get("network", ""), name)
    lines, entries = [], []
    for number, entry in enumerate(data["blocks"]):
        where = f"{name}, block entry {number}"
        fixed = isinstance(entry, dict) and entry.get("searchable") is False
        optional = {"searchable"} if fixed else {"searchable", "droppable", *keys}
        _keys(entry, where, required={"block"}, optional=optional)
        if not isinstance(entry["block"], str):
            raise UserError(f'{where}: "block" must be a block string')
        line = entry["block"].strip()
        blockstring.parse_block(line, where)  # one line, and no header
        lines.append(line)
        entries.append((where, ChainMap(entry, common)))
    spec = blockstring.parse("\n".join([*filter(None, [blockstring.write_header(family)]), *lines]), name)
    for line, entry, (where, _) in zip(spec.blocks, data["blocks"], entries, strict=True):
        if entry.get("droppable") is True and not any(block.has_shortcut for block in line.singles()):
            raise UserError(f"{where}: 'droppable' is true, but no block of it has a shortcut to drop to")
    blocks = [
        _space_block(single, entry, where, kinds)
        for line, (where, entry) in zip(spec.blocks, entries, strict=True)
        for single in line.singles()
    ]
    if not any(block.searchable for block in blocks):
        raise UserError(f"{name}: no block is searchable")
    if not any(len(options) > 1 for block in blocks for options in block.options.values()):
        raise UserError(f"{name}: nothing can be chosen: no block may be dropped, and each has one candidate of a kind")
    selections = sum(math.prod(map(len, block.options.values())) for block in blocks)
    if selections > MOST_SELECTIONS:
        raise UserError(
            f"{name}: {selections} configurations of blocks; accepted: at most {MOST_SELECTIONS}, fewer candidates"
        )
    if all(block.droppable for block in blocks):
        raise UserError(f'{name}: every block may be dropped; one must have "droppable": false')
    return Space(name, tuple(blocks), family, data)


def _family(header: Any, name: str) -> NetworkSpec:
    if not isinstance(header, str):
        raise UserError(f'{name}: "network" must be what follows that word in an architecture file')
    return NetworkSpec((), name, **blockstring.parse_header(f"network {header}", f'{name}: "network"'))


def _keys(data: Any, where: str, *, required: set[str], optional: set[str] = frozenset()) -> None:
    if not isinstance(data, dict):
        raise UserError(f"{where}: must be an object with {', '.join(sorted(required))}")
    for key in sorted(required - data.keys()):
        raise UserError(f"{where}: lacks {key!r}")
    for key in sorted(data.keys() - required - optional):
        raise UserError(f"{where}: unknown key {key!r}; accepted: {', '.join(sorted(required | optional))}")


def _space_block(base: BlockSpec, entry: ChainMap[str, Any], where: str, kinds: tuple[Kind, ...]) -> SpaceBlock:
    for flag in ("searchable", "droppable"):
        if not isinstance(entry[flag], bool):
            raise UserError(f"{where}: {flag!r} must be true or false")
    if not entry["searchable"]:
        nothing = {choice: (None,) for kind in kinds for choice in kind.choices}
        return SpaceBlock(base, nothing, kinds, searchable=False)
    if base != BlockSpec(**{name: getattr(base, name) for name in (*_SHAPE, *_HEADER)}):
        raise UserError(f"{where}: a searchable block string has only the tokens r k s e i o, se, noskip and sw")
    options: dict[str, tuple[Any, ...]] = {}
    for kind in kinds:
        options |= kind.options(base, entry, where)
    return SpaceBlock(base, options, kinds)
