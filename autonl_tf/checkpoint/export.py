"""Exported directories: described by their card, their weights those of the SavedModel, which is never loaded.

A SavedModel may run anything when it is loaded, so its variables are read from its variables file.
"""

from __future__ import annotations

import pathlib
from typing import Any

from autonl_tf.arch import blockstring
from autonl_tf.checkpoint.checkpoint import Checkpoint, Chosen, Loaded, check_one_set
from autonl_tf.checkpoint.object_graph import read_graph
from autonl_tf.data import imagenet
from autonl_tf.data.labels import numbered, read_label_file
from autonl_tf.errors import UserError
from autonl_tf.reading import read_json

CARD = "card.json"
SAVED_MODEL = "saved_model/1"


def open_export(directory: pathlib.Path) -> Checkpoint:
    """The network of a directory of `--mode=export`.

    Raises:
      UserError: an export without a SavedModel; a card that lacks something.
    """
    if not (directory / SAVED_MODEL).is_dir():
        raise UserError(f"{directory}: an export without a SavedModel; export with --formats=savedmodel")
    card = read_json(directory / CARD, dict)
    where = f"{directory}/{CARD}"
    network, taken, count = (_described(where, card, key) for key in ("architecture", "input", "num_classes"))
    lines = read_label_file(str(directory / _described(where, card, "labels"))).lines
    names = tuple(map(imagenet.untitled, lines))
    if len(names) != count:
        raise UserError(f"{directory}: its {card['labels']} has {len(names)} names for {count} classes")
    weights = card.get("weights") or {}
    loaded = Loaded(str(directory), weights.get("step"), bool(weights.get("averages")))

    def choose(model, variables, use_averages: bool) -> Chosen:
        check_one_set(str(directory), use_averages)
        return Chosen(read_graph(str(directory / SAVED_MODEL / "variables" / "variables"), str(directory)), loaded)

    return Checkpoint(
        format="export",
        where=str(directory),
        spec=blockstring.parse("\n".join(_described(where, network, "blocks")), where),
        class_names=names,
        classes_are_numbered=names == numbered(count),
        image_size=_described(where, taken, "image_size"),
        crop_padding=_described(where, taken, "crop_padding"),
        depth_multiplier=_described(where, network, "depth_multiplier"),
        choose=choose,
        trained_on=(card.get("data") or {}).get("trained_on"),
    )


def _described(where: str, description: Any, key: str) -> Any:
    if not isinstance(description, dict) or key not in description:
        raise UserError(f"{where}: lacks {key!r}")
    return description[key]
