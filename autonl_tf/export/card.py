"""The model card: what an export is, takes, gives and scores, as JSON and as Markdown."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

import autonl_tf
from autonl_tf.arch import blockstring
from autonl_tf.arch.cost import Cost, network_cost
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.data.images import CROP_PADDING
from autonl_tf.data.labels import LABELS
from autonl_tf.data.reading import AS_SHOWN, IN_GRAPH, Reading
from autonl_tf.export import quantization, saved_model, tflite
from autonl_tf.export.accuracy_loss import MOST_DROP, Score
from autonl_tf.export.directory import files_in
from autonl_tf.export.graph_facts import GraphFacts
from autonl_tf.export.verify import TOLERANCE, Agreement
from autonl_tf.records import CARD_FORMAT, CARD_JSON
from autonl_tf.strict_json import plain

CARD_MARKDOWN = "card.md"
BATCH_OF_TFLITE = "1. For more run one image after another, or an interpreter a thread"
_NOT_RESIZED = (
    ": resize_tensor_input does not go with it, for the shapes that non-local blocks reshape to hold the batch."
)


@dataclasses.dataclass(frozen=True)
class Description:
    """What the caller knows of a network and the files cannot tell.

    Attributes:
      spec: the architecture, whose normalisation goes into every file.
      class_names: K names in label order.
      classes_are_numbered: nothing named them: their names are their labels.
      accuracy: what was measured, e.g. `top1` and `top5` as shares, `count`, `dataset`; None: not measured.
      weights: where the weights came from, e.g. `prefix`, `step`, `averages`; None: unknown.
      data: what the network was trained on and int8 ranges are of, e.g. `trained_on`; None: unknown.
      crop_padding: of the centre crop that encoded images get, see `data.images.preprocess_for_eval`.
    """

    spec: NetworkSpec
    image_size: int
    class_names: tuple[str, ...]
    classes_are_numbered: bool = False
    accuracy: Mapping[str, object] | None = None
    weights: Mapping[str, object] | None = None
    data: Mapping[str, object] | None = None
    depth_multiplier: float = 1.0
    crop_padding: int = CROP_PADDING
    reading: Reading = AS_SHOWN

    @property
    def preparation(self) -> dict[str, Any]:
        """What is done to an encoded image before the network sees it, its size aside, as arguments."""
        return {
            "crop_padding": self.crop_padding,
            "normalization": self.spec.normalization,
            "reading": self.reading,
        }

    @property
    def cost(self) -> Cost:
        return network_cost(
            self.spec,
            image_size=self.image_size,
            num_classes=len(self.class_names),
            depth_multiplier=self.depth_multiplier,
        ).total


def write_card(
    directory: Path,
    description: Description,
    *,
    saved_model_path: str | None,
    graphs: Mapping[str, GraphFacts],
    agreements: Sequence[Agreement],
    scores: Sequence[Score],
    max_accuracy_drop: float | None,
) -> dict:
    """Writes `card.md` and `card.json` about the files in `directory`; gives the JSON's object.

    The JSON lists every file with its size and SHA-256, itself excepted; the Markdown all but the two cards. A number
    that is not finite (a validation loss, say) is null in the JSON, which has none, and `nan` or `inf` in the Markdown.

    Args:
      saved_model_path: None where there is no SavedModel.
      graphs: TFLite file -> what it runs.
    """
    artifacts = {saved_model_path: _saved_model_signatures(description)} if saved_model_path else {}
    artifacts |= {path: _tflite_artifact(description, graph) for path, graph in graphs.items()}
    facts = {
        "format": CARD_FORMAT,
        "architecture": {
            "blocks": blockstring.write(description.spec).splitlines(),
            "depth_multiplier": description.depth_multiplier,
            **dataclasses.asdict(description.cost),
        },
        "input": _input(description),
        "num_classes": len(description.class_names),
        "labels": LABELS,
        "classes_are_numbered": description.classes_are_numbered,
        "accuracy": description.accuracy,
        "weights": description.weights,
        "data": description.data,
        "artifacts": artifacts,
        "verification": {
            "tolerance": TOLERANCE,
            "agreements": [dataclasses.asdict(agreement) for agreement in agreements],
        },
        "scores": {"max_accuracy_drop": max_accuracy_drop, "files": [dataclasses.asdict(row) for row in scores]},
        "versions": _versions(),
        "files": _checksums(directory),
    }
    (directory / CARD_MARKDOWN).write_text(_markdown(facts), encoding="utf-8")
    facts["files"] = _checksums(directory)
    facts = plain(facts)
    text = json.dumps(facts, indent=2, allow_nan=False) + "\n"
    (directory / CARD_JSON).write_text(text, encoding="utf-8")
    return facts


def _checksums(directory: Path) -> dict[str, dict]:
    found = {}
    for name in files_in(directory):
        data = (directory / name).read_bytes()
        found[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return found


def _input(description: Description) -> dict:
    size, crop_padding, reading = description.image_size, description.crop_padding, description.reading
    normalization = description.spec.normalization
    return {
        "image_size": size,
        "crop_padding": crop_padding,
        "max_pixels": reading.max_pixels,
        "exif_orientation": reading.exif_orientation,
        "channels": "RGB",
        "range": [0, 255],
        "preprocessing": f"centre crop of int({size} / {size + crop_padding} * min(height, width)) pixels, bicubic "
        f"resize to {size} x {size} as in TensorFlow 1 (a = -0.75, corners not aligned, no half-pixel "
        "centres), overshoot kept; "
        "done inside the signature that takes encoded images, expected of the caller by the others",
        "normalization": "(x - mean) / stddev, inside every signature",
        "mean": list(normalization.mean),
        "stddev": list(normalization.stddev),
    }


def _saved_model_signatures(description: Description) -> dict:
    size, classes = description.image_size, len(description.class_names)
    best = min(saved_model.MAX_NAMED_CLASSES, classes)
    outputs = {
        "classes": f"string [B, {best}]: names of the best classes, best first",
        "scores": f"float32 [B, {best}]: their probabilities",
        "probabilities": f"float32 [B, {classes}]",
        "logits": f"float32 [B, {classes}]",
    }
    turned = "turned upright by" if description.reading.exif_orientation else "not turned by"
    by_bytes = {
        saved_model.BYTES_INPUT: f"string [B]: encoded images ({IN_GRAPH}), {turned} their EXIF orientation, "
        f"of at most {description.reading.max_pixels} pixels each"
    }
    by_pixels = {saved_model.FLOAT_INPUT: f"float32 [B, {size}, {size}, 3]: RGB, 0 to 255"}
    return {
        "signatures": {
            saved_model.BYTES_SIGNATURE: {"inputs": by_bytes, "outputs": outputs},
            saved_model.FLOAT_SIGNATURE: {"inputs": by_pixels, "outputs": outputs},
        }
    }


def _tflite_artifact(description: Description, graph: GraphFacts) -> dict:
    size = description.image_size
    rounded = ", rounded to whole numbers" if graph.input_type == "uint8" else ""
    inputs = {tflite.INPUT: f"{graph.input_type} [1, {size}, {size}, 3]: RGB, 0 to 255{rounded}"}
    outputs = {tflite.OUTPUT: f"float32 [1, {len(description.class_names)}]"}
    non_local = any(block.nonlocal_ or block.embedded for block in description.spec.blocks)
    return {
        "signatures": {tflite.SIGNATURE: {"inputs": inputs, "outputs": outputs}},
        "ops": list(graph.ops),
        "xnnpack_partitions": graph.xnnpack_partitions,
        "xnnpack_whole": graph.xnnpack_whole,
        "quantization": graph.quantization,
        "batch": BATCH_OF_TFLITE + (_NOT_RESIZED if non_local else "."),
    }


def _versions() -> dict[str, str]:
    found = {
        "autonl-tf": autonl_tf.__version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "tf-keras": keras.__version__,
    }
    for name in ("ai-edge-litert", "tensorflow-model-optimization", "ai-edge-quantizer"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # ai-edge-quantizer may be missing
            found[name] = metadata.version(name)
    return {**found, "numpy": np.__version__}


def _markdown(facts: dict) -> str:
    architecture, pixels = facts["architecture"], facts["input"]
    costs = {name: f"{value:,.0f}" for name, value in architecture.items() if isinstance(value, int | float)}
    if architecture["macs_exact"] == architecture["macs"]:
        del costs["macs_exact"]
    costs["depth_multiplier"] = f"{architecture['depth_multiplier']:g}"
    files = [(name, file["bytes"], f"`{file['sha256']}`") for name, file in facts["files"].items()]
    lines = [
        "# Model card",
        "",
        f"An image classifier of {facts['num_classes']} classes (`{facts['labels']}`, in label order) "
        f"at {pixels['image_size']} x {pixels['image_size']} pixels.",
        "",
        *_section("Accuracy", _bullets(facts["accuracy"], "Not measured.")),
        *_section("Weights", _bullets(facts["weights"], "Of unknown origin.")),
        *_section("Data", _bullets(facts["data"], "Unknown.")),
        *_section("Architecture", ["```", *architecture["blocks"], "```", "", *_bullets(costs, "")]),
        *_section(
            "Preprocessing",
            [
                f"- {pixels['preprocessing']}",
                f"- {pixels['normalization']}",
                f"- mean {_numbers(pixels['mean'])}; stddev {_numbers(pixels['stddev'])}",
            ],
        ),
        *_section("Signatures", list(_signature_lines(facts["artifacts"]))),
        *_section("Verification", _verification_lines(facts)),
        *_section("TFLite files beside the checkpoint", _score_lines(facts["scores"])),
        *_section("Files", _table(("file", "bytes", "SHA-256"), files)),
        *_section("Versions", _bullets(facts["versions"], "")),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _section(title: str, body: Iterable[str]) -> list[str]:
    return [f"## {title}", "", *body, ""]


def _bullets(values: Mapping[str, object] | None, absent: str) -> list[str]:
    if values is None:
        return [absent]
    return [f"- {name}: {_shown(name, value)}" for name, value in values.items()]


def _shown(name: str, value: object) -> str:
    if ("top1" in name or "top5" in name) and isinstance(value, int | float):
        return f"{value:.2%}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _signature_lines(artifacts: dict) -> Iterable[str]:
    for path, artifact in artifacts.items():
        for name, signature in artifact["signatures"].items():
            yield f"- `{path}`, signature `{name}`"
            for role in ("inputs", "outputs"):
                for argument, text in signature[role].items():
                    yield f"  - {role[:-1]} `{argument}`: {text}"
        if "ops" in artifact:
            yield f"  - batch: {artifact['batch']}"
            whole = "the whole graph" if artifact["xnnpack_whole"] else "not the whole graph"
            yield f"  - built-in ops only: {', '.join(artifact['ops'])}"
            yield f"  - XNNPACK partitions: {artifact['xnnpack_partitions']} ({whole})"
            yield from (f"  - {line}" for line in quantization.summary_lines(artifact["quantization"]))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, *rows)]
    return [lines[0], "|" + "---|" * len(head), *lines[1:]]


def _verification_lines(facts: dict) -> list[str]:
    rows = []
    for row in facts["verification"]["agreements"]:
        logits = row["logits_relative_l2"]
        figures = [f"{row[name]:.2g}" for name in ("max_probability_difference", "probabilities_relative_l2")]
        figures += ["-" if logits is None else f"{logits:.2g}", f"{row['top1_agreement']:.2%}"]
        rows.append((row["artifact"], row["signature"], row["images"], *figures))
    head = ("file", "signature", "images", "max probability difference", "probabilities, relative L2")
    return [
        "Each file that should be the model's equal but for rounding was loaded again and compared with it; every "
        f"difference is at most {facts['verification']['tolerance']:g}.",
        "",
        *_table((*head, "logits, relative L2", "same best class"), rows),
    ]


def _score_lines(scores: dict) -> list[str]:
    if not scores["files"]:
        return ["None exported."]
    rows = []
    for row in scores["files"]:
        known = row["top1"] is not None
        shares = [f"{row[name]:.2%}" if known else "-" for name in ("top1", "reference_top1")]
        drop = [f"{row[name]:.2f}" if known else "-" for name in ("drop_points", "drop_standard_error")]
        errors = [f"{row[name]:.2g}" for name in ("worst_logit_error", "mean_logit_error")]
        rows.append((row["artifact"], row["images"], *shares, *drop, f"{row['top1_agreement']:.2%}", *errors))
    head = ("file", "images", "top-1", "checkpoint", "drop, points", "error", "same best class", "worst logit error")
    quantized, most = quantized_lines(scores["files"]), scores["max_accuracy_drop"]
    most = f"{MOST_DROP:g} point and its standard error" if most is None else f"{most:g} points"
    return [
        "Run with ai-edge-litert on held-out images. Logit errors are those of log-probabilities, 1e-6 at least.",
        "",
        *_table((*head, "mean"), rows),
        *(["", *quantized] if quantized else []),
        "",
        f"Accepted: a drop of at most {most}, where top-1 is known.",
    ]


def quantized_lines(rows: Iterable[Mapping[str, object]]) -> list[str]:
    """What a quantization-aware file of the card's `scores` loses against the network that it was made of."""
    return [
        f"{row['artifact']}: the network of simulated int8 that it was made of has top-1 {row['quantized_top1']:.2%}, "
        f"a drop of {row['quantized_drop_points']:.2f} points with a standard error of "
        f"{row['quantized_drop_standard_error']:.2f}."
        for row in rows
        if row["quantized_top1"] is not None
    ]
