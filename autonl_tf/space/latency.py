"""A latency table: milliseconds of every piece of a space's networks, measured on one device, as JSON.

Pieces are the stem, the head, and every configuration of every block at the size of the map it receives. A piece's key
is its file's name too:

    stem@64                                   the image's side
    head_i64_c8@8                             input filters, classes, side of the map
    r1_k5_s22_e6_i16_o24_nonlocal0.25-2@32    block string, side of the map

with, before it, what a header changes of the piece (`relu6_stem@64`), so that a table holds for every space whose
pieces it has. Whole networks, measured beside the pieces, calibrate their
sum: a network takes about `offset + scale * (sum of its pieces)` milliseconds.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import BlockSpec, NetworkSpec, feature_map_sizes
from autonl_tf.errors import UserError
from autonl_tf.reading import read_json
from autonl_tf.records import LatencyRecord
from autonl_tf.space.cost_model import CostModel, tabulate
from autonl_tf.space.space import Space

_AUTONL = NetworkSpec(())  # the family without a header


@dataclasses.dataclass(frozen=True)
class Piece:
    """What is measured by itself: `block` None is the stem (`filters` 0) or the head (`filters` coming in) of networks
    of a `family` (see `Space`)."""

    size: int
    block: BlockSpec | None = None
    filters: int = 0
    family: NetworkSpec = _AUTONL


def block_key(block: BlockSpec, size: int) -> str:
    padding = block.padding if block.stride > 1 else "same"
    shuffle = "shuffle_" if block.shuffle_groups > 1 else ""
    return f"{_different(activation=block.activation, padding=padding)}{shuffle}{blockstring.write_block(block)}@{size}"


def stem_key(family: NetworkSpec, image_size: int) -> str:
    before = _different(activation=family.activation, padding=family.padding, stem_filters=family.stem_filters)
    return f"{before}stem@{image_size}"


def head_key(family: NetworkSpec, filters: int, num_classes: int, size: int) -> str:
    before = _different(activation=family.activation, head_filters=family.head_filters)
    return f"{before}head_i{filters}_c{num_classes}@{size}"


def _different(**header: Any) -> str:
    """The header values that differ from AutoNL's, each followed by an underscore."""
    return "".join(f"{value}_" for field, value in header.items() if value != getattr(_AUTONL, field))


def pieces(space: Space, *, image_size: int, num_classes: int) -> dict[str, Piece]:
    """Everything a table of this space must hold, by key: the stem first, the head last."""
    found = {stem_key(space.family, image_size): Piece(image_size, family=space.family)}
    sizes = space.map_sizes(image_size)
    for block, size in zip(space.blocks, sizes, strict=False):
        for selection in block.selections():
            member = block.block(selection)
            if member is not None:
                found[block_key(member, size)] = Piece(size, member)
    filters = space.blocks[-1].base.out_filters
    head = head_key(space.family, filters, num_classes, sizes[-1])
    return {**found, head: Piece(sizes[-1], filters=filters, family=space.family)}


def network_keys(spec: NetworkSpec, *, image_size: int, num_classes: int) -> list[str]:
    """The pieces that a network is made of."""
    blocks = spec.singles()
    sizes = feature_map_sizes(blocks, image_size)
    keys = [block_key(block, size) for block, size in zip(blocks, sizes, strict=False)]
    head = head_key(spec, blocks[-1].out_filters, num_classes, sizes[-1])
    return [stem_key(spec, image_size), *keys, head]


def fit(sums: list[float], measured: list[float]) -> tuple[float, float]:
    """(offset, scale) of the line through networks' sums and milliseconds; least squares of relative errors.

    Offset 0 and the median ratio where a line cannot be trusted: of fewer than three networks, of sums that are all
    about the same, with a scale below a tenth, or with 0 ms or less for the smallest sum. No networks give (0, 1).
    """
    if not sums:
        return 0.0, 1.0
    x, y = np.array(sums), np.array(measured)
    if len(sums) < 3 or np.ptp(x) < 0.02 * x.mean():
        return 0.0, float(np.median(y / x))
    offset, scale = np.linalg.lstsq(np.stack([1 / y, x / y], 1), np.ones(len(y)), rcond=None)[0]
    if scale < 0.1 or offset + scale * x.min() <= 0:
        return 0.0, float(np.median(y / x))
    return float(offset), float(scale)


@dataclasses.dataclass(frozen=True)
class LatencyTable:
    """A table as read: `source` is its path, `content` what it holds; `offset` and `scale` calibrate sums of pieces.

    A profile that was stopped early leaves a table that is not `calibrated`: offset 0, scale 1.
    """

    source: str
    content: LatencyRecord

    @property
    def image_size(self) -> int:
        return self.content["input_image_size"]

    @property
    def num_classes(self) -> int:
        return self.content["num_label_classes"]

    @functools.cached_property
    def pieces(self) -> dict[str, float]:
        """Medians in milliseconds by key."""
        return {key: times["median_ms"] for key, times in self.content["pieces"].items()}

    @property
    def calibrated(self) -> bool:
        return "calibration" in self.content

    @property
    def offset(self) -> float:
        return self.content["calibration"]["offset_ms"] if self.calibrated else 0.0

    @property
    def scale(self) -> float:
        return self.content["calibration"]["scale"] if self.calibrated else 1.0

    def predicted(self, spec: NetworkSpec, *, calibrated: bool = True) -> float:
        """Milliseconds of a network at the table's size and classes, whose pieces it has."""
        keys = network_keys(spec, image_size=self.image_size, num_classes=self.num_classes)
        total = sum(self.pieces[key] for key in keys)
        return self.offset + self.scale * total if calibrated else total

    def cost_model(self, space: Space, *, image_size: int, num_classes: int) -> CostModel:
        """The calibrated milliseconds of every selection of `space`.

        Raises:
          UserError: the table is of another size or number of classes, lacks pieces or the calibration, or is
            calibrated to 0 ms or less for a network.
        """
        for flag, mine, asked in (
            ("input_image_size", self.image_size, image_size),
            ("num_label_classes", self.num_classes, num_classes),
        ):
            if mine != asked:
                raise UserError(f"{self.source}: measured with --{flag}={mine}, the search has {asked}")
        wanted = pieces(space, image_size=image_size, num_classes=num_classes)
        missing = [key for key in wanted if key not in self.pieces]
        if missing:
            raise UserError(
                f"{self.source}: a table of the space {self.content['space']!r} lacks {len(missing)} of the "
                f"{len(wanted)} configurations of {space.name!r}, the first {missing[0]}; accepted: a complete table "
                "of this space, which --mode=profile makes (the same command again goes on)"
            )
        if not self.calibrated:
            raise UserError(
                f"{self.source}: not calibrated by whole networks yet; run the same --mode=profile command again to "
                "finish that"
            )
        stem, *_, head = wanted
        ends = self.pieces[stem] + self.pieces[head]
        tables = tabulate(space, image_size, lambda block, size: self.scale * self.pieces[block_key(block, size)])
        model = CostModel("latency_ms", space.choices, tables, self.offset + self.scale * ends)
        cheapest, _ = model.reachable()
        if cheapest <= 0:
            raise UserError(
                f"{self.source}: calibration: offset_ms {self.offset:g} makes the cheapest network of {space.name!r} "
                f"take {cheapest:.3f} ms; accepted: above 0"
            )
        return model


def read_table(path: str | pathlib.Path) -> LatencyTable:
    """Reads a table.

    Raises:
      UserError: unreadable, not a table, or a value that is no time.
    """
    return LatencyTable(str(path), read_json(path, LatencyRecord, what="a latency table"))
