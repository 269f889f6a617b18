"""Exported directories: described by their card, their weights those of the SavedModel, which is never loaded.

A SavedModel may run anything when it is loaded, so its variables are read from its variables file.
"""

from __future__ import annotations

import pathlib

from autonl_tf.checkpoint.checkpoint import Checkpoint, Chosen, Loaded
from autonl_tf.checkpoint.description import of_export, read_card
from autonl_tf.checkpoint.object_graph import read_graph
from autonl_tf.flag_values import SAVED_MODEL
from autonl_tf.records import CardWeights


def open_export(directory: pathlib.Path) -> Checkpoint:
    """The network of a directory of `--mode=export`. Raises as `of_export`."""
    found = of_export(directory)
    weights = read_card(directory).weights or CardWeights()
    loaded = Loaded(str(directory), weights.step, weights.averages)

    variables = str(directory / SAVED_MODEL / "variables" / "variables")
    return Checkpoint(**vars(found), choose=lambda *_: Chosen(read_graph(variables, str(directory)), loaded))
