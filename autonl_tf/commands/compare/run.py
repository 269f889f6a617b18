"""`--mode=compare A B ...`: networks side by side, block by block, as a table and a picture. Needs no TensorFlow."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

from autonl_tf.arch import blockstring
from autonl_tf.arch.spec import STEM_STRIDE, output_size
from autonl_tf.commands.describe import run as describe
from autonl_tf.settings.config import Config


def run(config: Config) -> None:
    """Prints the comparison; with `--output` draws it; with `--json` one object, `describe`'s for each."""
    names = config.arch.split(",")
    counted = [describe.counted(name, config.nonlocal_, **_given(config, name, names)) for name in names]
    results = [result for result, _ in counted]
    if config.output:
        from autonl_tf.pictures.comparison import draw_comparison

        draw_comparison(names, [costs for _, costs in counted], config.output)
    print(json.dumps({"networks": results}) if config.json else table(results))


def _given(config: Config, name: str, names: list[str]) -> dict[str, Any]:
    """The sizes that the flags give a network; one that is of no run is counted at those of the first run beside it."""
    given = {key: value for key, value in describe.settings(config).items() if value is not None}
    runs = [own for other in names if (own := describe.own_sizes(other))]
    if runs and not describe.own_sizes(name):
        given = {key: runs[0][key] for key in ("image_size", "num_classes")} | given
    return given


def table(results: list[dict[str, Any]]) -> str:
    """One column a network; blocks whose maps are as many times smaller than the image stand side by side."""
    stages = [_stages(result) for result in results]
    rows = [("map", *(result["arch"] for result in results))]
    for stride in sorted({stride for staged in stages for stride in staged}):
        columns = [staged.get(stride, []) for staged in stages]
        sides = dict.fromkeys(output_size(result["input_image_size"], stride) for result in results)
        label = ", ".join(f"{side}x{side}" for side in sides)
        for number, cells in enumerate(itertools.zip_longest(*columns, fillvalue="")):
            rows.append((label if number == 0 else "", *cells))
    totals = [
        ("blocks", *(str(len(result["blocks"]) - 2) for result in results)),
        ("MACs", *(f"{result['macs'] / 1e6:.1f}M" for result in results)),
        ("params", *(f"{result['params']:,}" for result in results)),
        ("of the first's MACs", *(f"{result['macs'] / results[0]['macs']:.2f}" for result in results)),
        ("px", *(str(result["input_image_size"]) for result in results)),
        ("classes", *(str(result["num_label_classes"]) for result in results)),
        ("header", *(result["network"].removeprefix("network ") or "-" for result in results)),
        ("normalised by", *(str(describe.normalization(result)) for result in results)),
    ]
    notes = "each cell: the block, its MACs"
    if placed := results[0].get("nonlocal"):
        notes += f"; all with --nonlocal={placed}"
    return "\n".join([*describe.aligned([*rows, *totals], left=len(results) + 1), "", notes])


def _stages(result: dict[str, Any]) -> dict[int, list[str]]:
    """Stride of the map that comes out (of the head: goes in), to the cells of its blocks."""
    stages: dict[int, list[str]] = {}
    stride = STEM_STRIDE
    for row in result["blocks"]:
        if row["name"] not in ("stem", "head"):
            stride *= blockstring.parse_block(row["block"]).stride
        stages.setdefault(stride, []).append(_cell(row))
    return stages


def _cell(row: dict[str, Any]) -> str:
    macs = f"{row['macs'] / 1e6:.1f}M"
    if row["name"] in ("stem", "head"):
        return f"{row['name']} {row['input'][2]}-{row['output'][2]} {macs}"
    block = blockstring.parse_block(row["block"])
    parts = [f"k{'.'.join(map(str, block.kernels))}", f"e{block.expansion}", f"{block.in_filters}-{block.out_filters}"]
    if block.stride > 1:
        parts.append(f"/{block.stride}")
    parts += [token for token in row["block"].split("_") if not re.fullmatch(r"[rkseio][\d.]+", token)]
    return " ".join([*parts, macs])
