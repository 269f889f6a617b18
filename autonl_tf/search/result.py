"""What a search found: the architecture, and how near each decision was to going the other way."""

from __future__ import annotations

from typing import Any

import numpy as np

from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import network_cost
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.networks.gate_table import GateTable


def decided_gates(margins: np.ndarray) -> np.ndarray:
    """Gates [G], 0 or 1, of averaged margins [G]."""
    return (margins >= 0).astype(np.float32)


def summary(
    table: GateTable, margins: np.ndarray, *, image_size: int, num_classes: int
) -> tuple[NetworkSpec, dict[str, Any]]:
    """The found network, and a JSON-ready account of it.

    Args:
      table: the space's gates.
      margins: their averaged margins, [G]; a gate is open at 0 or more.
      image_size, num_classes: what MACs and parameters are counted at.

    Returns:
      The architecture, and a dict: `arch` (its lines), the image size and classes, `macs`, `macs_exact`, `params`,
      `largest_macs` and `smallest_macs` of the space, `blocks` (MACs each), and `gates`: each one's name, margin,
      whether it is open, and whether it `counts` (the gates below it on its ladder are open, its block is kept, and
      its LightNL is there).
    """
    gates = decided_gates(margins)
    spec = table.decode(gates)
    size = {"image_size": image_size, "num_classes": num_classes}
    costs = network_cost(spec, **size)
    extremes = [network_cost(member, **size).total.macs for member in (table.space.largest(), table.space.smallest())]
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
        "gates": [
            {"name": gate.name, "margin": round(float(margin), 6), "open": bool(margin >= 0), "counts": counts}
            for gate, margin, counts in zip(table.gates, margins, _counting(table, gates), strict=True)
        ],
    }


def _counting(table: GateTable, gates: np.ndarray) -> list[bool]:
    choices = table.choices(gates)
    counting = []
    for gate in table.gates:
        choice, options = choices[gate.block], table.space.blocks[gate.block].options
        dropped = options["expand"][choice["expand"]] == 0
        without = gate.kind in ("nl_ratio", "nl_stride") and not options["nl"][choice["nl"]]
        is_keep = gate.kind == "expand" and gate.rung == 0
        counting.append(gate.rung <= choice[gate.kind] and not without and (is_keep or not dropped))
    return counting


def close_calls(account: dict[str, Any], most: int = 5) -> list[dict[str, Any]]:
    """The gates that count, nearest to flipping first."""
    return sorted((gate for gate in account["gates"] if gate["counts"]), key=lambda gate: abs(gate["margin"]))[:most]
