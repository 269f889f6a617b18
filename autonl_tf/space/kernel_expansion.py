"""The kinds that every block has: its depthwise kernel, and its expansion or whether it is kept at all.

The supernet's block holds what they size (`networks/supernet.py`): smaller kernels are the core of the largest, smaller
expansions its first channels. Source: Single-Path NAS.
"""

from __future__ import annotations

from autonl_tf.arch import blockstring
from autonl_tf.errors import UserError
from autonl_tf.space.gate_kind import Kind, candidate_list, whole_numbers


class Kernel(Kind):
    """The side of the depthwise kernel."""

    choices = titles = ("kernel",)
    candidates = ("kernels",)

    def options(self, base, entry, where):
        most = blockstring.MAX_KERNEL
        accepted = f"odd whole numbers from 1 to {most}"
        kernels = candidate_list(entry, "kernels", where, accepted, whole_numbers(1, most, 2))
        if base.kernels != kernels[-1:]:
            raise UserError(f"{where}: the block string must have the largest candidate, k{kernels[-1]}")
        # TensorFlow pads a kernel below the stride so that its centre lies elsewhere than that of larger ones.
        if len(kernels) > 1 and base.padding == "same" and kernels[0] < base.stride:
            raise UserError(
                f"{where}: 'kernels': {kernels[0]} is no core of a larger one at stride {base.stride}; accepted: "
                f"kernels from {base.stride} on, or one alone"
            )
        return {"kernel": kernels}

    def fields(self, chosen):
        return {"kernels": (chosen["kernel"],)}


class Expansion(Kind):
    """The expansion ratio; where a block may be dropped, 0 comes first and stands for that."""

    choices, titles = ("expand",), ("expansion",)
    candidates = ("expansions",)

    def options(self, base, entry, where):
        # Without expansion there is no part of the channels to leave out: 1 stands alone.
        least = 1 if entry["expansions"] == [1] else 2
        accepted = "whole numbers from 2 to 64, or 1 alone"
        expansions = candidate_list(entry, "expansions", where, accepted, whole_numbers(least, 64))
        if base.expansion != expansions[-1]:
            raise UserError(f"{where}: the block string must have the largest candidate, e{expansions[-1]}")
        return {"expand": (0, *expansions) if entry["droppable"] and base.has_shortcut else expansions}

    def fields(self, chosen):
        return {"expansion": chosen["expand"]}

    def gate_name(self, choice, options, order):
        return "keep" if options[order] == 0 else super().gate_name(choice, options, order)
