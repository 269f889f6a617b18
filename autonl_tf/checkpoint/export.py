"""Exported directories: described by their card, their weights those of the SavedModel, which is never loaded.

A SavedModel may run anything when it is loaded, so its variables are read from its variables file.
"""

from __future__ import annotations

import pathlib

from autonl_tf.checkpoint.checkpoint import Checkpoint, Chosen, Loaded
from autonl_tf.checkpoint.description import check_one_set, of_export, read_card
from autonl_tf.checkpoint.object_graph import read_graph
from autonl_tf.flag_values import SAVED_MODEL
from autonl_tf.records import CardWeights


def open_export(directory: pathlib.Path) -> Checkpoint:
    """The network of a directory of `--mode=export`. Raises as `of_export`."""
    found = of_export(directory)
    weights = read_card(directory).weights or CardWeights()
    loaded = Loaded(str(directory), weights.step, weights.averages)

    def choose(model, variables, use_averages: bool) -> Chosen:
        check_one_set(str(directory), use_averages)
        return Chosen(read_graph(str(directory / SAVED_MODEL / "variables" / "variables"), str(directory)), loaded)

    return Checkpoint(**vars(found), choose=choose)
