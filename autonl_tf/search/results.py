"""What a search found: the architecture, and how near each decision was to going the other way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import network_cost
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.networks.gate_table import GateTable, decided_gates
from autonl_tf.search.schedule import MOST_NOISE, SearchSchedule
from autonl_tf.space.cost_model import CostModel

GAIN_KEYS = {"gain": "gain", "error": "gain_error", "price": "gain_price"}  # in metrics.jsonl, before a gate's name
GAIN_IMAGES = "gain_images"
MOST_FLIPPED = 0.1  # of the cost, up to which flips may decide it
NEXT_TO_NOTHING = 0.02  # of the most expensive member's cost: a search that removed no more decided nothing


def summary(
    table: GateTable,
    margins: np.ndarray,
    *,
    image_size: int,
    num_classes: int,
    flipped: np.ndarray | None = None,
    closed: np.ndarray | None = None,
    record: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[NetworkSpec, dict[str, Any]]:
    """The found network, and a JSON-ready result of it.

    Args:
      table: the space's gates.
      margins: theirs, [G]; a gate is open at 0 or more.
      image_size, num_classes: what MACs and parameters are counted at.
      flipped: [G], whether a decision was turned to meet a target; margins are those before.
      closed: [G], whether an open gate was closed since it is not seen to gain its price, or nobody
        measured it in a dropped block; likewise.
      record: that of metrics.jsonl in which decisions were taken, with what gates gain (`search.measured`).

    Returns:
      The architecture, and a dict: `arch` (its lines), the image size and classes, `macs`, `macs_exact`, `params`,
      `largest_macs` and `smallest_macs` of the space, `blocks` (MACs each), `decided_blocks` (for each block of the
      space what became of it, None: dropped), and `gates`: each one's name, margin,
      whether it is open, whether it `counts` (the gates before it of its choice are open, its block is kept, and
      its LightNL is there), whether it was `flipped` or `closed`, and what was `measured` of it: its `gain`, the
      standard `error` and the `price` in nats, or None.
    """
    flipped, closed = (np.zeros(len(table), bool) if of is None else np.asarray(of) > 0.5 for of in (flipped, closed))
    gates = np.abs(decided_gates(margins) - (flipped | closed))
    spec = table.decode(gates)
    size = {"image_size": image_size, "num_classes": num_classes}
    costs = network_cost(spec, **size)
    extremes = [network_cost(member, **size).total.macs for member in (table.space.largest(), table.space.smallest())]
    rows = zip(table.gates, margins, gates, counting_gates(table, gates), flipped, closed, strict=True)
    return spec, {
        "arch": blockstring.write(spec).splitlines(),
        "input_image_size": image_size,
        "num_label_classes": num_classes,
        "macs": costs.total.macs,
        "macs_exact": costs.total.macs_exact,
        "params": costs.total.params,
        "largest_macs": extremes[0],
        "smallest_macs": extremes[1],
        "blocks": [{"name": row.name, "block": row.block, "macs": row.cost.macs} for row in costs.rows],
        "decided_blocks": [
            None if (member := block.block(selection)) is None else blockstring.write_block(member)
            for block, selection in zip(table.space.blocks, table.selections(gates), strict=True)
        ],
        "gates": [
            {
                "name": gate.name,
                "margin": round(float(margin), 6),
                "open": bool(is_open),
                "counts": counts,
                "flipped": bool(flip),
                "closed": bool(close),
                "measured": {what: record[f"{key}/{gate.name}"] for what, key in GAIN_KEYS.items()}
                if f"gain/{gate.name}" in record
                else None,
            }
            for gate, margin, is_open, counts, flip, close in rows
        ],
    }


def budget(
    table: GateTable, model: CostModel, result: dict[str, Any], target: float | None, schedule: SearchSchedule
) -> dict[str, Any]:
    """How the found network stands to what it may cost: JSON-ready.

    Args:
      model: the cost that was charged.
      result: of `summary`.
      target: what was asked for, or None.

    Returns:
      `cost` (its name), `found`, `cheapest` and `dearest` of the space, `per_block` (0 where a block is dropped),
      `stem_and_head` (both together), `before_flips` (found, where there were none), and with a target: `target`,
      `error` (found / target - 1), `flips` (names), `flips_share` (of the cost, which they decided),
      `flips_not_close` (those that are no close calls) and `converged`: there are none of these, flips decided at most
      a tenth of the cost, and the search was not too short (`warnings`).
    """
    gates = np.array([gate["open"] for gate in result["gates"]], np.float32)
    before = np.array([gate["open"] != gate["flipped"] for gate in result["gates"]], np.float32)
    selections = table.selections(gates)
    low, high = model.reachable()
    stand = {
        "cost": model.name,
        "found": model.of(selections),
        "cheapest": low,
        "dearest": high,
        "per_block": model.per_block(selections),
        "stem_and_head": model.constant,
        "before_flips": model.of(table.selections(before)),
    }
    if target is None:
        return stand
    flips = [gate for gate in result["gates"] if gate["flipped"]]
    share = abs(stand["found"] - stand["before_flips"]) / stand["found"]
    not_close = [gate["name"] for gate in flips if abs(gate["margin"]) > schedule.close_call]
    return stand | {
        "target": target,
        "error": stand["found"] / target - 1,
        "flips": [gate["name"] for gate in flips],
        "flips_share": share,
        "flips_not_close": not_close,
        "converged": not not_close and share <= MOST_FLIPPED and schedule.noise <= MOST_NOISE,
    }


def decisions(result: dict[str, Any], schedule: SearchSchedule, record: Mapping[str, Any]) -> dict[str, Any]:
    """How much the search decided, of the gates that count and were not closed for what they gain: JSON-ready.

    Returns:
      `steps` of the decision phase, the `noise` of a margin after so many, `counting` gates, those `within_noise`, and
      on how many images gains were measured, `measured_images`.
    """
    counting = [gate for gate in result["gates"] if gate["counts"] and not gate["closed"]]
    return {
        "steps": schedule.decision_steps,
        "noise": schedule.noise,
        "counting": len(counting),
        "within_noise": sum(abs(gate["margin"]) <= schedule.noise for gate in counting),
        "measured_images": int(record.get(GAIN_IMAGES, 0)),
    }


def warnings(result: dict[str, Any], schedule: SearchSchedule) -> list[str]:
    """What is not to be trusted, and what to do: lines that the command prints and the report shows.

    Args:
      result: with its `budget` and its `decisions`.
    """
    stand, found = result["budget"], []
    enough = math.ceil(4 / 3 * (schedule.threshold_travel / MOST_NOISE) ** 2)
    if result["decisions"]["noise"] > MOST_NOISE:
        found.append(
            f"TOO SHORT: in {schedule.decision_steps} steps of the decision phase noise alone moves a margin by "
            f"{schedule.noise:.2f}; give it {enough} or more (--train_steps, or a smaller --search_warmup_share)"
        )
    least = (1 - NEXT_TO_NOTHING) * stand["dearest"]
    if stand["cheapest"] < least < stand["before_flips"] and stand.get("target", 0) < least:
        found.append(
            f"DECIDED NOTHING: the search itself kept {stand['before_flips'] / stand['dearest']:.1%} of the largest "
            "network's cost; a longer search, a larger --threshold_travel, or without a target a larger --cost_lambda "
            "may help"
        )
    if not stand.get("converged", True):
        reasons = []
        if names := stand["flips_not_close"]:
            listed = ", ".join(names)
            reasons.append(f"no close calls, their margins beyond {schedule.close_call:.2f}: {listed}")
        if stand["flips_share"] > MOST_FLIPPED:
            reasons.append(f"flips decided {stand['flips_share']:.0%} of the cost")
        reasons = reasons or ["too short to tell"]
        found.append(f"NOT CONVERGED: {'; '.join(reasons)}; a longer search or another target may help")
    return found


def counting_gates(table: GateTable, gates: np.ndarray) -> list[bool]:
    """Whether each gate counts where these [G] are open: flipping it alone would change the network."""
    selections = table.selections(gates)
    live = [block.counting(selection) for block, selection in zip(table.space.blocks, selections, strict=True)]
    return [
        gate.choice in live[gate.block] and gate.order <= selections[gate.block][gate.choice] for gate in table.gates
    ]


def close_calls(table: GateTable, model: CostModel, result: dict[str, Any], most: int = 12) -> list[dict[str, Any]]:
    """The gates that count, nearest to flipping first, without those closed for what they gain: name, margin, open,
    flipped, and `cost_change`, what flipping the gate alone would add to the cost."""
    counting = [gate for gate in result["gates"] if gate["counts"] and not gate["closed"]]
    calls = sorted(counting, key=lambda gate: abs(gate["margin"]))[:most]
    gates = np.array([gate["open"] for gate in result["gates"]], np.float32)
    now, index_of = model.of(table.selections(gates)), {name: index for index, name in enumerate(table.names)}
    described = []
    for call in calls:
        other = gates.copy()
        other[index_of[call["name"]]] = 1 - other[index_of[call["name"]]]
        change = model.of(table.selections(other)) - now
        described.append({name: call[name] for name in ("name", "margin", "open", "flipped")} | {"cost_change": change})
    return described
