"""What a file of weights is, whatever its format: the network it holds, and how its weights get into a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import tensorflow as tf
import tf_keras as keras

from autonl_tf.checkpoint import matching
from autonl_tf.checkpoint.blocks import Block, block_of, blocks_in, told
from autonl_tf.checkpoint.description import CLASSIFIER, Description
from autonl_tf.engine.names import by_name
from autonl_tf.errors import UserError
from autonl_tf.networks.quantized import check_beginning, is_range

Tell = Callable[[str], object]


def silent(text: str) -> None:
    """For a caller who has nobody to tell."""
    del text


class Loaded(NamedTuple):
    """Which checkpoint the weights came from, its step (None: not stored), whether they are the moving averages."""

    prefix: str
    step: int | None = None
    averages: bool = False


class Chosen(NamedTuple):
    """The set of weights asked for: its arrays, what to say of it, and what of the file is left aside."""

    stored: matching.Stored
    loaded: Loaded
    aside: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint(Description):
    """Weights of one network.

    Attributes:
      choose: (model, its variables to load by name, use_averages) -> the set of weights; raises UserError where there
        is none.
    """

    choose: Callable[[keras.Model, Mapping[str, tf.Variable], bool], Chosen]

    def load_into(
        self,
        model: keras.Model,
        use_averages: bool = True,
        *,
        classifier: bool = True,
        used: keras.Model | None = None,
        tell: Tell = silent,
    ) -> Loaded:
        """Loads every variable of `model` or none, except non-local blocks that this architecture lacks.

        Those keep their initial weights, with which they are the identity.

        Args:
          model: just built, of an architecture that passes `check`, and of `depth_multiplier`; with `qat` it may be the
            simulated network or not.
          classifier: whether the classifier is loaded too, which then has `len(class_names)` classes.
          used: the part of the model that is needed: these weights may lack the rest. None: all of it.

        Raises:
          UserError: there is no such set of weights, or it does not fit the model; see `matching.assign`.
        """
        self.check_set(use_averages)
        variables = by_name(model.variables)
        simulated = any(is_range(name) for name in variables)

        def wanted(name: str) -> bool:
            return (classifier or not name.startswith(f"{CLASSIFIER}/")) and (
                simulated or not (self.qat and is_range(name))
            )

        variables = {name: variable for name, variable in variables.items() if wanted(name)}
        chosen = self.choose(model, variables, use_averages)
        shapes = {name: shape for name, shape in chosen.stored.shapes.items() if wanted(name)}
        if simulated:
            check_beginning(shapes, self.where)
        added = self._added(variables, shapes)
        if added and simulated:
            raise UserError(
                f"{self.where}: was trained with --qat and has no ranges for {told(added)}; start from float weights"
            )
        variables = {name: variable for name, variable in variables.items() if block_of(name) not in added}
        if used is not None:
            needed = by_name(used.variables).keys() | shapes.keys()
            variables = {name: variable for name, variable in variables.items() if name in needed}
        matching.assign(variables, dataclasses.replace(chosen.stored, shapes=shapes))
        tell(f"weights: {self._described(chosen)}")
        if added:
            tell(f"missing from these weights, starting as the identity: {told(added)}")
        return chosen.loaded

    def added_blocks(self, model: keras.Model, use_averages: bool = True) -> set[Block]:
        """The non-local blocks of a model that these weights lack. Raises UserError as `load_into`."""
        variables = by_name(model.variables)
        shapes = self.choose(model, variables, use_averages).stored.shapes if self.spec_is_assumed else ()
        return self._added(variables, shapes)

    def _added(self, variables: Iterable[str], shapes: Iterable[str]) -> set[Block]:
        added = {block_of(name) for name in variables} - {None}
        return added - (set(map(block_of, shapes)) if self.spec_is_assumed else blocks_in(self.spec))

    def _described(self, chosen: Chosen) -> str:
        if self.format not in ("ours", "tf1"):  # files of one set
            return chosen.loaded.prefix + (f", {chosen.aside}" if chosen.aside else "")
        which = "moving averages" if chosen.loaded.averages else "plain variables"
        step = "no step" if chosen.loaded.step is None else f"step {chosen.loaded.step}"
        return f"{which} of {chosen.loaded.prefix} ({step}){f'; left aside: {chosen.aside}' if chosen.aside else ''}"
