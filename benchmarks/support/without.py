"""main.py without one of the search's deviations from the paper and Single-Path NAS, for `search_evidence.py`.

    python benchmarks/support/without.py DEVIATION --mode=search ...

The program has no flags for these: each is turned off by replacing the function or the constant that makes it.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import tensorflow as tf

from autonl_tf.cli.main import run
from autonl_tf.commands.search import run as search
from autonl_tf.layers import gated, superkernel
from autonl_tf.layers.gates import channel_mask, cumulative_masks, indicator
from autonl_tf.layers.superkernel import squared_sums
from autonl_tf.networks import supernet
from autonl_tf.search import measured, multiplier, objective

DISTANCES = ("nl_ratio", "nl_stride")


def relative_values() -> None:
    """Gates compare Frobenius norms, LightNL's a mean square; every threshold starts at 0."""
    superkernel.SuperkernelDepthwiseConv2D._relative = lambda layer, squares, count: tf.sqrt(squares)
    gated.GatedSqueezeExcite.group_values = lambda layer: [
        tf.norm(group) for group in tf.split(layer.reduce.kernel, layer.groups, axis=3)
    ]
    gated.GatedLightNL.presence_value = lambda layer: tf.reduce_mean(tf.square(layer.depthwise_kernel))
    _uncapped(lambda choice: True)
    supernet.Supernet._started = lambda net, values: tf.zeros_like(values)


def cap_of_weights() -> None:
    """Values of weights may exceed 1."""
    _uncapped(lambda choice: choice not in DISTANCES)


def cap_of_distances() -> None:
    """Distances of LightNL's strides may exceed 1; those of its ratios cannot."""
    _uncapped(lambda choice: choice in DISTANCES)


def _uncapped(which: Callable[[str], bool], tap: Callable = lambda z: tf.cast(z >= 0, tf.float32)) -> None:
    """The values of those choices are not held to 1. `tap`: from a kernel gate's margin to how much its ring counts
    in the values of widths."""

    def live_margins(net):
        limits, references = tf.convert_to_tensor(net.thresholds), tf.convert_to_tensor(net.references)
        caps = tf.constant([float("inf") if which(gate.choice) else 1.0 for gate in net.table.gates])
        by_choice = [net.table.by_choice(values) for values in (limits, references, caps)]
        taps = [
            {
                "kernel": [
                    tap(tf.minimum(value / reference, cap) - limit)
                    for value, limit, reference, cap in zip(
                        block.depthwise.ring_values(), *(own["kernel"] for own in owns), strict=True
                    )
                ]
            }
            if isinstance(block, supernet.SuperBlock)
            else {}
            for block, *owns in zip(net.blocks, *by_choice, strict=True)
        ]
        return tf.minimum(net._values(taps) / references, caps) - limits

    supernet.Supernet.live_margins = live_margins


def gates_behind_batch_norm() -> None:
    """Gates mask the depthwise kernel, that of a dropped block to 0; batch norm and the residual are as they are."""

    def call(block, inputs, gates, training=None):
        widths, keep = block._widths(gates)
        x = inputs
        if block.expands:
            x = block.activation(block.expand_bn(block.expand_conv(x), training=training))
        mask = channel_mask(block.width_groups, widths) * (1.0 if keep is None else keep)
        x = block.depthwise(x, gates["kernel"])
        x = block.activation(block.depthwise_bn(x * tf.cast(mask, x.dtype), training=training))
        x, distances = block._through_inserted("filtered", x, gates, training)
        x = block.project_bn(block.project_conv(x), training=training)
        x, further = block._through_inserted("projected", x, gates, training)
        return x + inputs if block.block.base.has_shortcut else x, distances | further

    supernet.SuperBlock.call = call


def unscaled_dropout() -> None:
    """In the warm-up a gate that is kept counts 1 / (the probability to keep it)."""
    drawn = objective.draw_gates

    def draw_gates(margins, probability, seed):
        return drawn(margins, probability, seed) / (1 - probability)

    objective.draw_gates = draw_gates


def start_near_thresholds() -> None:
    """LightNL and squeeze-excite start as far from their thresholds as everything else, by 1."""
    supernet.Supernet.__init__.__kwdefaults__["start_margin"] = 1.0


def margins_held_in_range() -> None:
    """A threshold may be any number in the decision phase."""
    _tracked(lambda net, values, follow: tf.where(follow, net._started(values), net.thresholds))


def _tracked(thresholds: Callable) -> None:
    """Replaces what the thresholds are set to after an update by thresholds(net, values, follow)."""

    def track(net, hold, follow):
        net._average_distances()
        values = net.live_margins() + net.thresholds
        net.thresholds.assign(thresholds(net, values, follow))
        net.margins.assign(tf.where(hold, net.margins, values - net.thresholds))

    supernet.Supernet.track = track


def own_optimizer() -> None:
    """Thresholds learn as weights do, by the same optimizer and rate."""

    def optimizer_groups(net, weights_optimizer, schedule, new_optimizer=None):
        return [(weights_optimizer, net.trainable_variables)]

    search.optimizer_groups = optimizer_groups


def settling() -> None:
    """Decisions are held for the last step alone."""
    phases = search.phases
    search.phases = lambda config, steps: (phases(config, steps)[0], 1)


def average_of_distances() -> None:
    """Distances are those of the last batch."""
    supernet.DISTANCE_MOMENTUM = 0.0


def gradient_stopped_at_kernel_gates() -> None:
    """What a width's value loses with a ring is charged to the gate of the kernel."""

    def group_values(layer, groups, gates):
        active = tf.stack([tf.ones([]), *cumulative_masks(gates)])
        sums = tf.linalg.matvec(squared_sums(layer.depthwise_kernel, layer.kernel_sizes), active, transpose_a=True)
        taps = tf.reduce_sum(active * layer._taps())
        return [
            layer._relative(tf.reduce_sum(group), taps * size)
            for group, size in zip(tf.split(sums, groups), groups, strict=True)
        ]

    superkernel.SuperkernelDepthwiseConv2D.group_values = group_values
    _uncapped(lambda choice: False, indicator)


def closing_by_measured_gain() -> None:
    """Thresholds alone decide; what a gate gains is not measured."""

    def measured_gains(strategy, net, model, gates, *rest, **how):
        return [measured.Gain(gate, gain=1.0, error=0.0, price=0.0) for gate in gates]

    measured.measured_gains = measured_gains


def budget_that_comes_down() -> None:
    """The controller's budget is the target from the first step on."""
    multiplier.REACHED = 1e-6


def everything() -> None:
    """The literal method: raw norms against thresholds that start at 0 and learn as weights do from the first step on,
    gates on the kernel, scaled dropout, no settling, nothing measured."""
    for turn_off in (
        relative_values,
        gates_behind_batch_norm,
        unscaled_dropout,
        own_optimizer,
        settling,
        closing_by_measured_gain,
    ):
        turn_off()
    _tracked(lambda net, values, follow: tf.convert_to_tensor(net.thresholds))


DEVIATIONS = {
    function.__name__: function
    for function in (
        relative_values,
        cap_of_weights,
        cap_of_distances,
        gates_behind_batch_norm,
        unscaled_dropout,
        start_near_thresholds,
        margins_held_in_range,
        own_optimizer,
        settling,
        average_of_distances,
        gradient_stopped_at_kernel_gates,
        budget_that_comes_down,
        closing_by_measured_gain,
        everything,
    )
}

if __name__ == "__main__":
    if sys.argv[1:2] == [] or sys.argv[1] not in DEVIATIONS:
        print(f"error: no deviation {' '.join(sys.argv[1:2])}; accepted: {', '.join(DEVIATIONS)}", file=sys.stderr)
        sys.exit(2)
    DEVIATIONS[sys.argv.pop(1)]()
    run()
