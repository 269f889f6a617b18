"""A latency table: milliseconds of every piece of a space's networks, measured on one device, as JSON.

Pieces are the stem, the head, and every configuration of every block at the size of the map it receives. A piece's key
is its file's name too:

    stem@64                                   the image's side
    head_i64_c8@8                             input filters, classes, side of the map
    r1_k5_s22_e6_i16_o24_nonlocal0.25-2@32    block string, side of the map

so that a table holds for every space whose pieces it has. Whole networks, measured beside the pieces, calibrate their
sum: a network takes about `offset + scale * (sum of its pieces)` milliseconds.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from typing import Any

import numpy as np

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import BlockSpec, NetworkSpec, feature_map_sizes
from autonl_tf.errors import UserError
from autonl_tf.space.cost_model import CostModel, tabulate
from autonl_tf.space.space import Space

FORMAT = "autonl latency table 1"
_TOP = {"format", "device", "runtime", "space", "input_image_size", "num_label_classes", "pieces"}


@dataclasses.dataclass(frozen=True)
class Piece:
    """What is measured by itself: `block` None is the stem (`filters` 0) or the head (`filters` coming in)."""

    key: str
    size: int
    block: BlockSpec | None = None
    filters: int = 0


def block_key(block: BlockSpec, size: int) -> str:
    return f"{blockstring.write_block(block)}@{size}"


def stem_key(image_size: int) -> str:
    return f"stem@{image_size}"


def head_key(filters: int, num_classes: int, size: int) -> str:
    return f"head_i{filters}_c{num_classes}@{size}"


def pieces(space: Space, *, image_size: int, num_classes: int) -> dict[str, Piece]:
    """Everything a table of this space must hold, by key."""
    found = {stem_key(image_size): Piece(stem_key(image_size), image_size)}
    sizes = space.map_sizes(image_size)
    for block, size in zip(space.blocks, sizes, strict=False):
        for choice in block.choices():
            member = block.block(choice)
            if member is not None:
                key = block_key(member, size)
                found[key] = Piece(key, size, member)
    filters = space.blocks[-1].base.out_filters
    key = head_key(filters, num_classes, sizes[-1])
    return {**found, key: Piece(key, sizes[-1], filters=filters)}


def network_keys(spec: NetworkSpec, *, image_size: int, num_classes: int) -> list[str]:
    """The pieces that a network is made of."""
    blocks = spec.singles()
    sizes = feature_map_sizes(blocks, image_size)
    keys = [block_key(block, size) for block, size in zip(blocks, sizes, strict=False)]
    return [stem_key(image_size), *keys, head_key(blocks[-1].out_filters, num_classes, sizes[-1])]


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
    """A table as read: `source` is its path; `pieces` medians in milliseconds by key; `offset`, `scale` calibrate.

    A profile that was stopped early leaves a table that is not `calibrated`: offset 0, scale 1.
    """

    source: str
    device: str
    space: str
    image_size: int
    num_classes: int
    pieces: dict[str, float]
    offset: float
    scale: float
    calibrated: bool

    def predicted(self, spec: NetworkSpec, *, calibrated: bool = True) -> float:
        """Milliseconds of a network at the table's size and classes, whose pieces it has."""
        keys = network_keys(spec, image_size=self.image_size, num_classes=self.num_classes)
        total = sum(self.pieces[key] for key in keys)
        return self.offset + self.scale * total if calibrated else total

    def cost_model(self, space: Space, *, image_size: int, num_classes: int) -> CostModel:
        """The calibrated milliseconds of every choice of `space`.

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
                f"{self.source}: a table of the space {self.space!r} lacks {len(missing)} of the {len(wanted)} "
                f"configurations of {space.name!r}, the first {missing[0]}; accepted: a complete table of this space, "
                "which --mode=profile makes (the same command again goes on)"
            )
        if not self.calibrated:
            raise UserError(
                f"{self.source}: not calibrated by whole networks yet; the same --mode=profile again goes on and ends "
                "with that"
            )
        sizes, filters = space.map_sizes(image_size), space.blocks[-1].base.out_filters
        ends = self.pieces[stem_key(image_size)] + self.pieces[head_key(filters, num_classes, sizes[-1])]
        tables = tabulate(space, image_size, lambda block, size: self.scale * self.pieces[block_key(block, size)])
        model = CostModel("latency_ms", space.ladders, tables, self.offset + self.scale * ends)
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
    try:
        data = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--latency_table={path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UserError(f"{path}: not a latency table: its 'format' must be {FORMAT!r}")
    if lacking := sorted(_TOP - data.keys()):
        raise UserError(f"{path}: a latency table without {', '.join(lacking)}")
    if not isinstance(data["pieces"], dict) or not data["pieces"]:
        raise UserError(f"{path}: 'pieces' must be an object of measured pieces; it has none")
    times = {key: _time(value, f"{path}: {key}") for key, value in data["pieces"].items()}
    if not isinstance(data.get("networks", {}), dict):
        raise UserError(f"{path}: 'networks' must be an object of measured networks")
    for key, value in data.get("networks", {}).items():
        _time(value, f"{path}: {key}")
    calibration = data.get("calibration", {"offset_ms": 0.0, "scale": 1.0})
    if not isinstance(calibration, dict):
        raise UserError(f"{path}: 'calibration' must be an object with offset_ms and scale")
    offset, scale = calibration.get("offset_ms"), calibration.get("scale")
    if not (_number(offset) and _number(scale) and scale > 0):
        raise UserError(f"{path}: calibration: offset_ms and scale must be numbers, scale above 0")
    for name in ("input_image_size", "num_label_classes"):
        if not isinstance(data[name], int) or isinstance(data[name], bool):
            raise UserError(f"{path}: {name!r} must be an integer")
    size, classes = data["input_image_size"], data["num_label_classes"]
    device, space, calibrated = str(data["device"]), str(data["space"]), "calibration" in data
    return LatencyTable(str(path), device, space, size, classes, times, float(offset), float(scale), calibrated)


def _number(value: Any) -> bool:
    # Compared, not asked whether it is finite: an integer may have more digits than a float can hold.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _time(value: Any, where: str) -> float:
    median = value.get("median_ms") if isinstance(value, dict) else None
    if not _number(median) or median <= 0:
        raise UserError(f"{where}: 'median_ms' must be a number above 0")
    return float(median)
