"""The weights of a search: the found network with the supernet's own, exactly the supernet with those decisions.

A search's run directory has `searched_space.json`, `config.json`, `labels.txt` and checkpoints of the supernet, whose
margins are the decisions, flips for a target included.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autonl_tf.checkpoint import matching, ours
from autonl_tf.checkpoint.checkpoint import Checkpoint, Chosen
from autonl_tf.checkpoint.description import run_of, search_settings
from autonl_tf.checkpoint.location import SPACE
from autonl_tf.data.labels import LABELS, numbered, read_label_file
from autonl_tf.engine.checkpoints import check_own
from autonl_tf.engine.names import by_name
from autonl_tf.errors import UserError
from autonl_tf.networks.gate_table import GateTable, decided_gates
from autonl_tf.networks.inherit import inherited_network
from autonl_tf.networks.supernet import Supernet
from autonl_tf.space import space as space_lib

_MARGINS = "margins"


def open_search(prefix: str) -> Checkpoint:
    """The network that a search had decided on at a checkpoint; its last one has the found network.

    Raises:
      UserError: a file of the run directory is missing or damaged, or is not of this checkpoint; or as `open_ours`.
    """
    check_own(Path(prefix))
    directory = run_of(prefix)
    space = space_lib.read(directory / SPACE)
    settings = search_settings(directory)
    names = read_label_file(str(directory / LABELS)).lines
    chosen = ours.choose(prefix, use_averages=False)
    shape = {"image_size": settings["input_image_size"], "num_classes": len(names)}
    space.check(shape["image_size"])
    table = GateTable(space)
    margins = np.asarray(chosen.stored.read(_MARGINS)) if _MARGINS in chosen.stored.shapes else np.zeros(0)
    if margins.shape != (len(table),):
        raise UserError(f"{prefix}: has {margins.size} decisions, its {SPACE} {len(table)}: not of this search")
    gates = decided_gates(margins)

    def choose(model, variables, use_averages: bool) -> Chosen:
        supernet = Supernet(space, **shape, start_margin=1.0, name="supernet")
        matching.assign(by_name(supernet.variables), chosen.stored)
        found = by_name(inherited_network(supernet, gates, **shape).variables)
        stored = matching.of_arrays(prefix, {name: variable.numpy() for name, variable in found.items()})
        return chosen._replace(aside="the supernet's own in the network it decided on", stored=stored)

    return Checkpoint(
        format="search",
        where=prefix,
        spec=table.decode(gates),
        class_names=names,
        classes_are_numbered=names == numbered(len(names)) and not settings["dataset"].startswith("folder:"),
        image_size=settings["input_image_size"],
        crop_padding=settings["crop_padding"],
        choose=choose,
        trained_on=settings["dataset"],
        exif_orientation=settings.get("exif_orientation", True),
    )
