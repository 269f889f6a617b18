"""`--mode=describe`: an architecture's MACs and parameters, block by block; the zoo; what a TFLite file computes in;
or how large a search space is.

Needs no TensorFlow.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from autonl_tf.arch import blockstring, cost, presets
from autonl_tf.arch.spec import Normalization
from autonl_tf.commands.describe import spaces
from autonl_tf.errors import UserError
from autonl_tf.reading import read_json
from autonl_tf.records import ModelRecord, RunRecord
from autonl_tf.settings.config import Config
from autonl_tf.settings.shared import refuse

TFLITE = ".tflite"


def run(config: Config) -> None:
    """Prints a table, or with `--json` one object, whose keys `description`, `zoo`, `tflite_file` and
    `spaces.description` tell."""
    if config.arch is None:
        why = f"is for architectures; --search_space={config.search_space} is a space"
        refuse(config, why, "nonlocal", "depth_multiplier", "output")
        classes = config.num_label_classes or presets.DEFAULT_CLASSES
        result = spaces.description(config.search_space, image_size=config.input_image_size, num_classes=classes)
        as_text = space_table
    elif pathlib.Path(config.arch).suffix == TFLITE:
        of_networks = ("nonlocal", "input_image_size", "num_label_classes", "depth_multiplier", "output")
        refuse(config, f"is for architectures; --arch={config.arch} is a TFLite file", *of_networks)
        result, as_text = tflite_file(config.arch), tflite_table
    elif config.arch == presets.ZOO:
        if config.output:
            raise UserError("--output draws one network; for several give --mode=compare their names")
        result, as_text = zoo(config.nonlocal_, **settings(config)), zoo_table
    else:
        (result, costs), as_text = counted(config.arch, config.nonlocal_, **settings(config)), table
        if config.output:
            from autonl_tf.pictures.network import draw_network

            draw_network(costs, config.output)
    print(json.dumps(result) if config.json else as_text(result))


def settings(config: Config) -> dict[str, Any]:
    """What the counts depend on; None: each network's own."""
    return {
        "image_size": config.input_image_size,
        "num_classes": config.num_label_classes,
        "depth_multiplier": config.depth_multiplier,
    }


def own_sizes(arch: str) -> dict[str, Any]:
    """What `settings` are of a run directory, of a search, a training or a conversion; nothing of another network.

    Raises:
      UserError: its description is damaged.
    """
    directory = pathlib.Path(arch)
    if arch in presets.names() or not directory.is_dir():
        return {}
    if (directory / "model.json").is_file():
        model = read_json(directory / "model.json", ModelRecord, what="the description of a run's network")
        found = {"image_size": model.input_image_size, "num_classes": len(model.class_names)}
        return {**found, "depth_multiplier": model.depth_multiplier}
    if (directory / "config.json").is_file():
        said = read_json(directory / "config.json", RunRecord, what="what a run is started with").settings
        return {"image_size": said.get("input_image_size"), "num_classes": said.get("num_label_classes")}
    return {}


def sizes_of(arch: str, **given: Any) -> dict[str, Any]:
    """`settings` without None: what is given, else a run's own, else as published, at 1000 classes."""
    found = {"image_size": presets.image_size(arch), "num_classes": presets.DEFAULT_CLASSES, "depth_multiplier": 1.0}
    for of in (own_sizes(arch), given):
        found |= {name: value for name, value in of.items() if value is not None}
    return found


def counted(arch: str, nonlocal_: str | None = None, **given: Any) -> tuple[dict[str, Any], cost.NetworkCost]:
    """What describe says of a network, at the `settings` that are given, else at its own (see `sizes_of`); its costs.

    Returns:
      `macs` (the paper's accounting), `macs_exact` (LightNL with the positions and channels it really has), `params`
      (trainable), the settings (`nonlocal` where given), `network` (the header, empty for AutoNL's family), `mean` and
      `stddev` of the pixels by channel, the published top-1 and top-5 of a shipped network, and `blocks`: one row each
      for the stem, every block with repeats unrolled, and the head.

    Raises:
      UserError: the architecture cannot be read or does not fit the image size.
    """
    spec, sizes = presets.load(arch, nonlocal_), sizes_of(arch, **given)
    image_size, num_classes = sizes["image_size"], sizes["num_classes"]
    costs = cost.network_cost(spec, **sizes)
    published = presets.published().get(arch) if nonlocal_ is None else None
    if published and sizes != sizes_of(arch):
        published = None
    told = {
        "arch": arch,
        **({"nonlocal": nonlocal_} if nonlocal_ else {}),
        "input_image_size": image_size,
        "num_label_classes": num_classes,
        "depth_multiplier": sizes["depth_multiplier"],
        "network": blockstring.write_header(spec),
        "mean": list(spec.normalization.mean),
        "stddev": list(spec.normalization.stddev),
        **counts(costs.total),
        "published_top1_top5": published and (published["top1"], published["top5"]),
        "blocks": [
            {
                "name": row.name,
                "block": row.block,
                "input": [row.in_size, row.in_size, row.in_filters],
                "output": [row.out_size, row.out_size, row.out_filters],
                **counts(row.cost),
            }
            for row in costs.rows
        ],
    }
    return told, costs


def normalization(result: dict[str, Any]) -> Normalization:
    """The one that a description tells of."""
    return Normalization(tuple(result["mean"]), tuple(result["stddev"]))


def counts(total: cost.Cost) -> dict[str, Any]:
    """macs, macs_exact and params; MACs whole where they are."""
    macs = int(total.macs) if total.macs == int(total.macs) else total.macs
    return {"macs": macs, "macs_exact": total.macs_exact, "params": total.params}


def zoo(nonlocal_: str | None = None, **settings: Any) -> dict[str, Any]:
    """Every shipped network: the counts here, what was published, and the latency measured (at its own size, as
    shipped)."""
    given = {name: value for name, value in settings.items() if value is not None}
    settings = {"image_size": None, "num_classes": presets.DEFAULT_CLASSES, "depth_multiplier": 1.0} | given
    timed = presets.latencies()
    networks = []
    for name, entry in presets.published().items():
        found, _ = counted(name, nonlocal_, **settings)
        as_measured = found["published_top1_top5"] is not None
        networks.append(
            {
                "arch": name,
                **{key: found[key] for key in ("input_image_size", "macs", "macs_exact", "params")},
                "published": {key: entry[key] for key in ("image_size", "macs", "params", "top1", "top5", "source")},
                "latency_ms": timed["milliseconds"].get(name) if as_measured else None,
            }
        )
    return {**({"nonlocal": nonlocal_} if nonlocal_ else {}), **settings, "latency": timed["how"], "networks": networks}


def space_table(result: dict[str, Any]) -> str:
    return "\n".join([*aligned(spaces.rows(result), left=4), "", spaces.summary(result)])


def zoo_table(result: dict[str, Any]) -> str:
    header = ("network", "px", "MACs (M)", "params")
    header += ("published: MACs (M)", "params (M)", "top-1 %", "top-5 %", "latency ms")
    rows = []
    for network in result["networks"]:
        published, milliseconds = network["published"], network["latency_ms"]
        rows.append(
            (
                network["arch"],
                str(network["input_image_size"]),
                f"{network['macs'] / 1e6:.1f}",
                f"{network['params']:,}",
                f"{published['macs']:g}",
                f"{published['params']:.1f}",
                f"{published['top1']:.1f}",
                "-" if published["top5"] is None else f"{published['top5']:.1f}",
                "-" if milliseconds is None else f"{milliseconds:.1f}",
            )
        )
    notes = [
        "",
        f"Counted at {result['num_classes']} classes; published figures are of the authors' own training on ImageNet.",
        f"Latency: {result['latency']}.",
    ]
    if result.get("nonlocal"):
        notes[1] = f"With --nonlocal={result['nonlocal']}. {notes[1]}"
    return "\n".join([*aligned([header, *rows], left=1), *notes])


def tflite_file(path: str) -> dict[str, Any]:
    """What describe says of a TFLite file.

    Returns:
      `file`; `bytes`; the summary of `export.quantization`; `inputs` and `outputs`; and `operators`: of each its
      `kind`, the type that it is `computed_in`, the fused `activation`, the `kernel` (`shape`, `type`, how many
      `scales`, `channels`, `per_channel`; null without) and the `output` (`name`, `shape`, `type`, `scale`,
      `zero_point`; the last two null where it is not quantized).

    Raises:
      UserError: it cannot be read, or is not a whole TFLite file.
    """
    from autonl_tf.export import quantization

    contents = quantization.read(path)
    return {
        "file": path,
        "bytes": pathlib.Path(path).stat().st_size,
        **quantization.summary(contents.operators),
        "inputs": [_tensor(values) for values in contents.inputs],
        "outputs": [_tensor(values) for values in contents.outputs],
        "operators": [
            {
                "kind": operator.kind,
                "computed_in": operator.type,
                "activation": operator.activation,
                "kernel": operator.kernel
                and {
                    "shape": list(operator.kernel.shape),
                    "type": operator.kernel.type,
                    "scales": len(operator.kernel.scales),
                    "channels": operator.channels,
                    "per_channel": operator.per_channel,
                },
                "output": _tensor(operator.outputs[0]) if operator.outputs else None,
            }
            for operator in contents.operators
        ],
    }


def _tensor(values) -> dict[str, Any]:
    """A tensor with one scale or none."""
    return {
        "name": values.name,
        "shape": list(values.shape),
        "type": values.type,
        "scale": values.scales[0] if values.scales else None,
        "zero_point": values.zero_points[0] if values.scales else None,
    }


def tflite_table(result: dict[str, Any]) -> str:
    from autonl_tf.export import quantization

    header = ("operator", "computed in", "kernel", "scales of channels", "output", "scale", "zero point", "name")
    rows = []
    for operator in result["operators"]:
        kernel, output = operator["kernel"], operator["output"] or {"shape": [], "scale": None, "name": ""}
        rows.append(
            (
                "+".join(filter(None, (operator["kind"], operator["activation"]))),
                operator["computed_in"],
                f"{_by(kernel['shape'])} {kernel['type']}" if kernel else "",
                f"{kernel['scales']} of {kernel['channels']}" if kernel and kernel["scales"] else "",
                _by(output["shape"]),
                "" if output["scale"] is None else f"{output['scale']:.4g}",
                "" if output["scale"] is None else str(output["zero_point"]),
                output["name"].split(";")[0],
            )
        )
    ends = [f"{end}: {_by(t['shape'])} {t['type']}" for end in ("inputs", "outputs") for t in result[end]]
    return "\n".join(
        [
            *aligned([header, *rows], left=8),
            "",
            f"{result['file']}: {result['bytes'] / 1e6:.2f} MB; {'; '.join(ends)}",
            *quantization.summary_lines(result),
        ]
    )


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Lines of cells in columns: the first `left` flush left, the others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column >= left else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def table(result: dict[str, Any]) -> str:
    header = ("", "block", "input", "output", "MACs (M)", "params")
    rows = [
        (
            row["name"],
            row["block"],
            _by(row["input"]),
            _by(row["output"]),
            f"{row['macs'] / 1e6:.3f}",
            f"{row['params']:,}",
        )
        for row in result["blocks"]
    ]
    exact = "" if result["macs_exact"] == result["macs"] else f" ({result['macs_exact'] / 1e6:.6f}M exact)"
    placed = f" with --nonlocal={result['nonlocal']}" if result.get("nonlocal") else ""
    lines = [
        *aligned([header, *rows], left=4),
        "",
        *([result["network"]] if result["network"] else []),
        f"pixels of 0 to 255 are normalised by {normalization(result)}",
        f"{result['arch']}{placed} at {result['input_image_size']} px, {result['num_label_classes']} classes: "
        f"{result['macs'] / 1e6:.6f}M MACs{exact}, "
        f"{result['params']:,} trainable parameters",
    ]
    if published := result["published_top1_top5"]:
        top5 = f", top-5 {published[1]}%" if published[1] is not None else ""
        lines.append(f"ImageNet top-1 {published[0]}%{top5} (as published)")
    return "\n".join(lines)
