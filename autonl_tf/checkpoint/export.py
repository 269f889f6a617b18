"""Exported directories: described by their card, their weights those of the SavedModel, which is never loaded.

A SavedModel may run anything when it is loaded, so its variables are read from its variables file.
"""

from __future__ import annotations

import pathlib

from autonl_tf.arch import blockstring
from autonl_tf.checkpoint.checkpoint import Checkpoint, Chosen, Loaded, check_one_set
from autonl_tf.checkpoint.object_graph import read_graph
from autonl_tf.data import imagenet
from autonl_tf.data.labels import numbered, read_label_file
from autonl_tf.errors import UserError
from autonl_tf.flag_values import SAVED_MODEL
from autonl_tf.reading import read_json
from autonl_tf.records import CardRecord, CardWeights

CARD = "card.json"


def open_export(directory: pathlib.Path) -> Checkpoint:
    """The network of a directory of `--mode=export`.

    Raises:
      UserError: an export without a SavedModel; a damaged card.
    """
    if not (directory / SAVED_MODEL).is_dir():
        raise UserError(f"{directory}: an export without a SavedModel; export with --formats=savedmodel")
    card = read_json(directory / CARD, CardRecord, what="the card of an export")
    names = tuple(map(imagenet.untitled, read_label_file(str(directory / card.labels)).lines))
    if len(names) != card.num_classes:
        raise UserError(f"{directory}: its {card.labels} has {len(names)} names for {card.num_classes} classes")
    weights = card.weights or CardWeights()
    loaded = Loaded(str(directory), weights.step, weights.averages)

    def choose(model, variables, use_averages: bool) -> Chosen:
        check_one_set(str(directory), use_averages)
        return Chosen(read_graph(str(directory / SAVED_MODEL / "variables" / "variables"), str(directory)), loaded)

    return Checkpoint(
        format="export",
        where=str(directory),
        spec=blockstring.parse("\n".join(card.architecture.blocks), f"{directory}/{CARD}"),
        class_names=names,
        classes_are_numbered=names == numbered(card.num_classes),
        image_size=card.input.image_size,
        crop_padding=card.input.crop_padding,
        depth_multiplier=card.architecture.depth_multiplier,
        choose=choose,
        trained_on=card.data.trained_on if card.data else None,
    )
