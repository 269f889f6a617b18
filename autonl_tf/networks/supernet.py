"""The supernet: a search space as one network on shared weights, about as expensive as its largest member.

Every block computes its largest member once, and gates decide which parts of it count (`layers/gated.py`). Source: the
paper, section 3.2, and Single-Path NAS. Deviations:

1. A gate compares a relative value with its threshold: the root mean square of weights over the initialiser's standard
   deviation, or over its value at the start where a search starts from trained weights. Raw norms are 10 to 40, where
   the sigmoid's gradient is 1e-5 to 1e-17. A value above 1 counts as 1: weights before a batch norm grow without
   changing anything (LightNL's depthwise kernel to eight times its mean square in 700 steps), and should not open or
   shut a gate by that.
2. Gates act after batch norm and on the residual branch, so that "off" is exactly off.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch.cost import check_parameters
from autonl_tf.arch.spec import BlockSpec
from autonl_tf.layers.activations import FUNCTIONS
from autonl_tf.layers.dropout import Dropout
from autonl_tf.layers.gated import GatedBatchNormalization, increments
from autonl_tf.layers.gates import channel_mask
from autonl_tf.layers.light_nl import batch_norm
from autonl_tf.layers.superkernel import SuperkernelDepthwiseConv2D
from autonl_tf.networks.gate_table import GateTable
from autonl_tf.networks.network import classifier, convolution, fixed_block, padded
from autonl_tf.space.block import SpaceBlock
from autonl_tf.space.gate_kind import InsertedKind, WeightSlice
from autonl_tf.space.space import Space

# The margin at which the gates of optional parts (LightNL, squeeze-excite) enter the decision phase.
START_MARGIN = 0.02
DISTANCE_MOMENTUM = 0.95
MARGIN_RANGE = (-2.0, 1.0)


class SuperBlock(keras.layers.Layer):
    """One searchable block at its largest, [B, H, W, C] to [B, H', W', C'].

    Its layers have the names that they have in the decoded network, without the block's prefix. `inserted` are the
    layers of inserted kinds, by name.
    """

    def __init__(self, block: SpaceBlock, sync_batch_norm: bool, **kwargs):
        super().__init__(**kwargs)
        base, options = block.base, block.options
        self.block = block
        widths = [base.in_filters * ratio for ratio in options["expand"] if ratio]
        self.width_groups = increments(widths)
        self.activation = FUNCTIONS[base.activation]
        self.expands = base.expansion != 1
        if self.expands:
            self.expand_conv = convolution(widths[-1], 1, name="expand_conv")
            self.expand_bn = batch_norm("expand_bn", sync_batch_norm)
        self.depthwise = SuperkernelDepthwiseConv2D(
            options["kernel"], base.stride, padding=base.padding, name="depthwise"
        )
        self.depthwise_bn = GatedBatchNormalization(synchronized=sync_batch_norm, name="depthwise_bn")
        self.project_conv = convolution(base.out_filters, 1, name="project_conv")
        self.project_bn = batch_norm("project_bn", sync_batch_norm)
        self.inserted = {kind.name: kind.layer(base, options, sync_batch_norm) for kind in self.inserted_kinds()}

    def call(self, inputs, gates, training=None):
        """gates: lists of scalars by choice. Returns the outputs and distances by choice (empty in inference)."""
        widths, keep = self._widths(gates)
        x = inputs  # [B, H, W, C]
        if self.expands:
            x = self.activation(self.expand_bn(self.expand_conv(x), training=training))  # [B, H, W, E], E the widest
        x = self.depthwise(x, gates["kernel"])  # [B, H', W', E]
        x = self.activation(self.depthwise_bn(x, channel_mask(self.width_groups, widths), training=training))
        x, distances = self._through_inserted("filtered", x, gates, training)
        x = self.project_bn(self.project_conv(x), training=training)  # [B, H', W', C']
        x, further = self._through_inserted("projected", x, gates, training)
        if keep is not None:
            x = x * tf.cast(keep, x.dtype)
        if self.block.base.has_shortcut:
            x = x + inputs
        return x, distances | further

    def values(self, gates, distances) -> dict[str, list[tf.Tensor]]:
        """What each gate compares with its threshold, by choice; `gates` decides which kernel taps count."""
        widths = self.depthwise.group_values(self.width_groups, gates["kernel"])
        values = {"kernel": self.depthwise.ring_values(), "expand": widths if self.block.droppable else widths[1:]}
        for kind in self.inserted_kinds():
            values |= kind.values(self.inserted[kind.name], distances)
        return values

    def inserted_slices(self, member: BlockSpec) -> dict[str, list[WeightSlice]]:
        """The weights of inserted layers in a member's block, by layer name without the block's prefix."""
        slices: dict[str, list[WeightSlice]] = {}
        for kind in self.inserted_kinds():
            slices |= kind.slices(self.inserted[kind.name], member)
        return slices

    def inserted_kinds(self) -> list[InsertedKind]:
        """The inserted kinds that have a layer in this block."""
        return [
            kind
            for kind in self.block.kinds
            if isinstance(kind, InsertedKind) and any(any(self.block.options[choice]) for choice in kind.choices)
        ]

    def _through_inserted(self, position, x, gates, training):
        distances: dict[str, tf.Tensor] = {}
        for kind in self.inserted_kinds():
            if kind.position == position:
                x, found = kind.call(self.inserted[kind.name], x, gates, training)
                distances |= found
        return x, distances

    def _widths(self, gates):
        """The gates of the channel groups after the first, and the gate that keeps the block (None: always kept)."""
        own = gates["expand"]
        return (own[1:], own[0]) if self.block.droppable else (own, None)


class Supernet(keras.Model):
    """A space's supernet: normalised images, float32 [B, S, S, 3], to logits, float32 [B, num_classes].

    Attributes:
      table: the gates' order.
      thresholds: [G], trained. They start at 0, or for gates that add something (`Gate.adds`) at start_margin below
        their values. A gate is open where its value is at least its threshold.
      starts: [G], the largest margins at the start: start_margin for gates that add something, 1 for the others, and
        -start_margin for gates that `start_at` closes.
      references: [G], the divisors of the values: 1, or the values at `start_at`.
      margins: [G], value - threshold, written by `track` until decisions are held; they decide in inference.
      distances: [G], moving average (0.95) of LightNL's distances over training batches, taken over all replicas by
        `track`; it starts at 1, so that no candidate counts as close enough before it was measured. Only the gates of
        LightNL's ratio and stride read it.
      measured: [G], the distances in a replica's last training batch.

    Args:
      space: what may be chosen.
      image_size: S.
      num_classes: number of logits.
      dropout_rate: share of the pooled features dropped in training.
      sync_batch_norm: every batch norm takes its statistics over the batches of all replicas.
      start_margin: how far below their values the thresholds of gates that add something start, such as LightNL's.

    Raises:
      UserError: a LightNL candidate that does not fit its feature map.
    """

    def __init__(
        self,
        space: Space,
        *,
        image_size: int,
        num_classes: int,
        dropout_rate: float = 0.0,
        sync_batch_norm: bool = False,
        start_margin: float = START_MARGIN,
        **kwargs,
    ):
        super().__init__(**kwargs)
        space.check(image_size)
        check_parameters(space.largest(), image_size=image_size, num_classes=num_classes)
        self.table = GateTable(space)
        self.start_margin = start_margin
        self.starts = self._starts(np.ones(len(self.table)))
        family = space.family
        self.activation = FUNCTIONS[family.activation]
        self.stem_conv = convolution(family.stem_filters, 3, 2, name="stem_conv", padding=family.padding)
        self.stem_padded = padded(self.stem_conv, family.padding)
        self.stem_bn = batch_norm("stem_bn", sync_batch_norm)
        sizes = space.map_sizes(image_size)
        self.blocks = [
            SuperBlock(block, sync_batch_norm, name=f"block{i}")
            if block.searchable
            else fixed_block(block.base, sizes[i], f"block{i}", sync_batch_norm)
            for i, block in enumerate(space.blocks)
        ]
        self.head_conv = convolution(family.head_filters, 1, name="head_conv")
        self.head_bn = batch_norm("head_bn", sync_batch_norm)
        self.head_dropout = Dropout(dropout_rate, name="head_dropout")
        self.logits = classifier(num_classes)
        wide = {"shape": [len(self.table)], "dtype": tf.float32, "experimental_autocast": False}
        state = {**wide, "trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self.thresholds = self.add_weight(name="thresholds", initializer="zeros", **wide)
        self.margins = self.add_weight(name="margins", initializer=keras.initializers.Constant(self.starts), **state)
        self.references = self.add_weight(name="references", initializer="ones", **state)
        self.distances = self.add_weight(name="distances", initializer="ones", **state)
        own = {"synchronization": tf.VariableSynchronization.ON_READ, "aggregation": tf.VariableAggregation.MEAN}
        self.measured = self.add_weight(name="measured", initializer="ones", **(state | own))
        self(keras.Input([image_size, image_size, 3], name="image", dtype="float32"))
        self.thresholds.assign(self._started(self.live_margins()))

    def call(self, inputs, training=None, gates=None):
        """`gates`: [G] of this step; None: those that the margins decide."""
        if gates is None:
            gates = tf.cast(self.margins >= 0, tf.float32)
        x = self.activation(self.stem_bn(self.stem_padded(inputs), training=training))  # [B, S/2, S/2, stem filters]
        measured = []
        for block, own in zip(self.blocks, self.table.by_choice(gates), strict=True):
            if isinstance(block, SuperBlock):
                x, distances = block(x, own, training=training)  # [B, H', W', C'], {choice: [gates]}
                measured.append(distances)
            else:
                x = block(x, training=training)
                measured.append({})
        if training:
            self._keep(measured)
        x = self.activation(self.head_bn(self.head_conv(x), training=training))  # [B, S', S', head filters]
        x = tf.reduce_mean(x, [1, 2])  # [B, head filters]
        return self.logits(self.head_dropout(x, training=training))

    def live_margins(self) -> tf.Tensor:
        """[G]: each gate's value, at most 1, minus its threshold; with gradients to the weights and the thresholds."""
        limits = tf.convert_to_tensor(self.thresholds)
        references = tf.convert_to_tensor(self.references)
        taps = [
            {
                "kernel": [
                    tf.cast(tf.minimum(value / reference, 1.0) >= limit, tf.float32)
                    for value, reference, limit in zip(
                        block.depthwise.ring_values(), reference["kernel"], threshold["kernel"], strict=True
                    )
                ]
            }
            if isinstance(block, SuperBlock)
            else {}
            for block, reference, threshold in zip(
                self.blocks, self.table.by_choice(references), self.table.by_choice(limits), strict=True
            )
        ]
        return tf.minimum(self._values(taps) / references, 1.0) - limits

    def _values(self, gates: list[dict[str, list[tf.Tensor]]]) -> tf.Tensor:
        """The gates' values, [G]; `gates` has one dict a block, of which only the kernel's gates are used."""
        averages = self.table.by_choice(tf.convert_to_tensor(self.distances))
        values: list[tf.Tensor] = []
        for block, taps, average in zip(self.blocks, gates, averages, strict=True):
            if not isinstance(block, SuperBlock):
                continue
            by_choice = block.values(taps, average)
            for choice, own in average.items():
                found = by_choice.get(choice, [])
                if len(found) != len(own):
                    raise ValueError(f"{block.name}: {len(found)} values for the {len(own)} gates of {choice!r}")
                values += found
        return tf.stack(values)

    def start_at(self, gates: np.ndarray) -> None:
        """Starts the search at a network whose weights are in the shared ones: every value counts as 1 there.

        Otherwise a value would be that of trained weights over the initialiser's deviation, which has any size and no
        meaning before a batch norm. Gates that the network has closed start at a margin of -start_margin: they open
        only if that is worth its cost.

        Args:
          gates: 0 or 1, [G]: the network's.
        """
        self.starts = self._starts(gates)
        values = self._values(self.table.by_choice(tf.constant(gates, tf.float32)))
        self.references.assign(tf.where(values > 0, values, 1.0))
        self.thresholds.assign(self._started(tf.minimum(values / self.references, 1.0)))
        self.margins.assign(self.starts)

    def new_layers(self) -> list[keras.layers.Layer]:
        """The layers, such as LightNL's, that the network which the search starts at lacks; none before `start_at`."""
        gates = zip(self.table.gates, self.starts, strict=True)
        closed = {(gate.block, gate.choice) for gate, start in gates if gate.adds and start < 0}
        return [
            block.inserted[kind.name]
            for index, block in enumerate(self.blocks)
            if isinstance(block, SuperBlock)
            for kind in block.inserted_kinds()
            if any((index, choice) in closed for choice in kind.choices)
        ]

    def track(self, hold: tf.Tensor, follow: tf.Tensor) -> None:
        """After an update: averages distances, takes margins, and keeps thresholds within reach of their values.

        Margins stay within [-2, 1], where the surrogate gradient is at least sigmoid'(2) = 0.105. By the default travel
        none reaches -2, so that closed gates keep the order in which they closed; with a floor of -0.5 they were all
        equal, and nothing said which one to open again.

        Args:
          hold: scalar bool; if true the margins, and so the decisions, do not change.
          follow: scalar bool; if true thresholds are set to their start, below the current values.
        """
        self._average_distances()
        values = self.live_margins() + self.thresholds
        held = tf.clip_by_value(self.thresholds, 0.0, values - MARGIN_RANGE[0])
        thresholds = tf.where(follow, self._started(values), held)
        self.thresholds.assign(thresholds)
        self.margins.assign(tf.where(hold, self.margins, values - thresholds))

    def _starts(self, gates: np.ndarray) -> np.ndarray:
        opened = np.array([self.start_margin if gate.adds else 1.0 for gate in self.table.gates])
        return np.where(gates > 0.5, opened, -self.start_margin).astype(np.float32)

    def _started(self, values: tf.Tensor) -> tf.Tensor:
        """The thresholds [G] at the start: the values less `starts`, but at least 0."""
        return tf.maximum(values - self.starts, 0.0)

    def _keep(self, measured) -> None:
        """Stores this batch's distances; a gate without one has 1."""
        indices, values = [], []
        for by_choice, slices in zip(measured, self.table.slices, strict=True):
            for choice, distances in by_choice.items():
                indices += [[index] for index in range(slices[choice].start, slices[choice].stop)]
                values.append(distances)
        if indices:
            self.measured.assign(tf.tensor_scatter_nd_update(tf.ones([len(self.table)]), indices, tf.concat(values, 0)))

    def _average_distances(self) -> None:
        current = tf.convert_to_tensor(self.measured.read_value())
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            current = context.all_reduce(tf.distribute.ReduceOp.MEAN, current)
        before = tf.convert_to_tensor(self.distances)
        self.distances.assign(before + (1 - DISTANCE_MOMENTUM) * (current - before))
