"""`--mode=describe`: an architecture's MACs and parameters, block by block. Needs no TensorFlow."""

from __future__ import annotations

import json
from typing import Any

from autonl_tf.arch import cost, presets
from autonl_tf.config import Config

DEFAULT_IMAGE_SIZE = 224
DEFAULT_CLASSES = 1000


def run(config: Config) -> None:
    """Prints a table, or with `--output=json` one object; see `description` for its keys."""
    network = config.network
    result = description(
        network.arch,
        image_size=network.input_image_size or DEFAULT_IMAGE_SIZE,
        num_classes=network.num_label_classes or DEFAULT_CLASSES,
        depth_multiplier=network.depth_multiplier or 1.0,
    )
    print(json.dumps(result) if config.run.output == "json" else table(result))


def description(arch: str, *, image_size: int, num_classes: int, depth_multiplier: float) -> dict[str, Any]:
    """What describe says of a network.

    Returns:
      `macs` (the paper's accounting), `macs_exact` (LightNL with the positions and channels it really has), `params`
      (trainable), the settings, the published top-1 and top-5 of a shipped network, and `blocks`: one row each for
      the stem, every block with repeats unrolled, and the head.

    Raises:
      UserError: the architecture cannot be read or does not fit the image size.
    """
    spec = presets.load(arch)
    costs = cost.network_cost(spec, image_size=image_size, num_classes=num_classes, depth_multiplier=depth_multiplier)
    as_published = (image_size, num_classes, depth_multiplier) == (DEFAULT_IMAGE_SIZE, DEFAULT_CLASSES, 1.0)
    return {
        "arch": arch,
        "input_image_size": image_size,
        "num_label_classes": num_classes,
        "depth_multiplier": depth_multiplier,
        **_counts(costs.total),
        "published_top1_top5": presets.PUBLISHED_ACCURACY.get(arch) if as_published else None,
        "blocks": [
            {
                "name": row.name,
                "block": row.block,
                "input": [row.in_size, row.in_size, row.in_filters],
                "output": [row.out_size, row.out_size, row.out_filters],
                **_counts(row.cost),
            }
            for row in costs.rows
        ],
    }


def _counts(total: cost.Cost) -> dict[str, Any]:
    macs = int(total.macs) if total.macs == int(total.macs) else total.macs
    return {"macs": macs, "macs_exact": total.macs_exact, "params": total.params}


def table(result: dict[str, Any]) -> str:
    """The description as text."""
    header = ("", "block", "input", "output", "MACs (M)", "params")
    rows = [
        (
            row["name"],
            row["block"],
            "x".join(map(str, row["input"])),
            "x".join(map(str, row["output"])),
            f"{row['macs'] / 1e6:.3f}",
            f"{row['params']:,}",
        )
        for row in result["blocks"]
    ]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if column > 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]
    published = result["published_top1_top5"]
    lines += [
        "",
        f"{result['arch']} at {result['input_image_size']} px, {result['num_label_classes']} classes: "
        f"{result['macs'] / 1e6:.6f}M MACs ({result['macs_exact'] / 1e6:.6f}M exact), "
        f"{result['params']:,} trainable parameters",
    ]
    if published:
        lines.append(f"ImageNet top-1 {published[0]}%, top-5 {published[1]}% (the paper's figures)")
    return "\n".join(lines)
