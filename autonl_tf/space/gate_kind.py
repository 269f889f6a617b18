"""A kind of gate: the candidates it reads, the options it makes of them, and what an option does to a block.

A kind is a class of this folder, listed in `kinds.KINDS`, and all that the search knows of what the kind chooses:
gates, costs, latency pieces, logs, flips, reports and decoding ask it. Its methods import TensorFlow themselves, so
that a space can be read without it.
"""

from __future__ import annotations

import json
from collections import ChainMap, Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from autonl_tf.arch.spec import BlockSpec
from autonl_tf.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    import tf_keras as keras


POSITIONS = ("filtered", "projected")


class Kind:
    """A kind of gate that sizes what every block has.

    It owns one choice or several, each among options in ascending cost; gate j of a choice takes option j to j + 1.

    Attributes:
      choices: their names, in gates' names and in `SpaceBlock.options`.
      titles: what pictures call them.
      candidates: the keys it reads of a space file.
      required: whether a space file must have these keys; otherwise an absent one is an empty list.
    """

    choices: ClassVar[tuple[str, ...]]
    titles: ClassVar[tuple[str, ...]]
    candidates: ClassVar[tuple[str, ...]]
    required: ClassVar[bool] = True

    def options(self, base: BlockSpec, entry: ChainMap[str, Any], where: str) -> dict[str, tuple[Any, ...]]:
        """The options of each choice in a searchable block, JSON scalars; one where it has no choice.

        Args:
          base: the block at its largest.
          entry: its entry in the space file over the "candidates" that all blocks share: every kind's keys.
          where: the entry, for messages.

        Raises:
          UserError: impossible candidates.
        """
        raise NotImplementedError

    def fields(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of `BlockSpec` that one option of every choice sets."""
        raise NotImplementedError

    def counting(self, chosen: Mapping[str, Any]) -> tuple[str, ...]:
        """The choices that mean something beside the options chosen."""
        del chosen
        return self.choices

    def gate_name(self, choice: str, options: tuple[Any, ...], order: int) -> str:
        """The gate that opens `options[order + 1]`, less the block: `kernel5`, `nl` (True), `mode_hard` (a word)."""
        option = options[order + 1]
        if option is True:
            return choice
        return f"{choice}_{option}" if isinstance(option, str) else f"{choice}{plain_number(option)}"

    def adds(self, choice: str, order: int) -> bool:
        """Whether the gate opens what a block can do without, rather than a larger size of it."""
        del choice, order
        return False


class InsertedKind(Kind):
    """A kind whose gates work in a layer of their own, put into the supernet's blocks (`layers/gated.py` has ours).

    A block has the layer if a choice of the kind has an option there other than None and False, which stand for
    nothing of it. Kinds at one position act in the order of `kinds.KINDS`, which therefore is that of the decoded block
    (`networks/network.py`).

    Attributes:
      name: of the layer in the supernet.
      position: the activations it takes and gives, [B, H, W, C]: `filtered`, after the depthwise convolution's
        activation, where channels that are off are 0 and have to stay 0 (the decoded block takes the first
        `BlockSpec.expanded_filters` of weights over channels); or `projected`, after the projection's batch norm.
    """

    name: ClassVar[str]
    position: ClassVar[str]
    required: ClassVar[bool] = False

    def layer(
        self, base: BlockSpec, options: Mapping[str, tuple[Any, ...]], sync_batch_norm: bool
    ) -> keras.layers.Layer:
        """A new layer for a block, `base` at its largest, with these options by choice.

        Its variables' names must differ from block to block, as those that a layer makes in its `build` do; a
        functional model within the layer would restart its names.
        """
        raise NotImplementedError

    def call(
        self, layer: keras.layers.Layer, inputs: tf.Tensor, gates: dict[str, list[tf.Tensor]], training: bool | None
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The layer at these gates: off must be exactly off.

        Args:
          inputs: in the compute type.
          gates: float32 scalars by choice.

        Returns:
          Outputs, and in training the distances to average, [gates] each, for those choices that compare distances.
        """
        raise NotImplementedError

    def values(self, layer: keras.layers.Layer, distances: dict[str, list[tf.Tensor]]) -> dict[str, list[tf.Tensor]]:
        """What each gate compares with its threshold, by choice: about 1 at initialisation.

        Args:
          distances: the averages of what `call` gave, by choice; 1 where nothing was.
        """
        raise NotImplementedError

    def slices(self, layer: keras.layers.Layer, member: BlockSpec) -> dict[str, list[WeightSlice]]:
        """Where the decoded block's weights are, in Keras' order, by layer name without the block's prefix; empty if it
        has no such layer."""
        raise NotImplementedError


def check_kinds(kinds: Sequence[Kind]) -> None:
    """Raises ValueError where two kinds share a name, or one has a position that no block has: a mistake in code."""
    inserted = [kind for kind in kinds if isinstance(kind, InsertedKind)]
    for what, names in (
        ("choice", [choice for kind in kinds for choice in kind.choices]),
        ("candidates", [key for kind in kinds for key in kind.candidates]),
        ("name", [kind.name for kind in inserted]),
    ):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"two kinds of gates have the {what} {twice[0]!r}")
    for kind in inserted:
        if kind.position not in POSITIONS:
            raise ValueError(f"{type(kind).__name__}: position {kind.position!r}; accepted: {', '.join(POSITIONS)}")


class WeightSlice(NamedTuple):
    """What a decoded layer has of a shared variable: all of it, or a slice by basic indexing."""

    variable: tf.Variable
    index: tuple[slice, ...] = ()

    def read(self) -> np.ndarray:
        return self.variable.numpy()[self.index]

    def write(self, values: np.ndarray) -> None:
        """Leaves the rest of the variable as it is."""
        whole = self.variable.numpy().copy()
        whole[self.index] = values
        self.variable.assign(whole)


def batch_norm_slices(layer: keras.layers.Layer, kept: slice = slice(None)) -> list[WeightSlice]:
    """The weights of a batch norm for those channels, in Keras' order."""
    return [WeightSlice(v, (kept,)) for v in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)]


def plain_number(option: float) -> str:
    """An option that is a number, in full: 5, 0.25, 1."""
    return str(option).removesuffix(".0")


def candidate_list(
    entry: ChainMap[str, Any],
    key: str,
    where: str,
    accepted: str,
    accept: Callable[[Any], bool],
    *,
    empty: bool = False,
    descending: bool = False,
) -> tuple:
    """The candidates under a key of `Kind.options`: numbers that `accept` allows, ordered and distinct.

    Raises:
      UserError: they are not `accepted`, which says in words what they must be.
    """
    values = entry[key]
    ok = isinstance(values, list) and all(type(value) in (int, float) and accept(value) for value in values)
    if not ok or sorted(set(values), reverse=descending) != values or not (values or empty):
        common = "" if key in entry.maps[0] else ' of "candidates"'
        order = f"{'descending' if descending else 'ascending'}{', or none' if empty else ''}"
        raise UserError(f"{where}: {key!r}{common}: accepted: {accepted}, {order}; got {json.dumps(values)}")
    return tuple(values)


def whole_numbers(least: int, most: int, step: int = 1) -> Callable[[Any], bool]:
    """What `candidate_list` accepts of whole numbers: every `step`-th one within bounds."""
    return lambda value: isinstance(value, int) and value in range(least, most + 1, step)


def ratio_list(entry: ChainMap[str, Any], key: str, where: str) -> tuple[float, ...]:
    """The candidates under a key that are ratios of channels; there may be none. Raises UserError."""
    found = candidate_list(entry, key, where, "numbers above 0, at most 1", lambda v: 0 < v <= 1, empty=True)
    return tuple(map(float, found))


def check_distinct(channels: list[int], key: str, where: str) -> None:
    """Raises UserError where ratios come to no channel, or to as many as another."""
    if channels and (channels[0] < 1 or len(set(channels)) != len(channels)):
        raise UserError(f"{where}: {key!r} give {channels} channels in this block; they must be at least 1 and differ")
