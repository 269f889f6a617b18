"""Squeeze-excite as a kind of gate: none, or the ratio of its filters; or, in the block string, always there."""

from __future__ import annotations

from autonl_tf.arch.spec import squeeze_filters
from autonl_tf.errors import UserError
from autonl_tf.space.gate_kind import InsertedKind, WeightSlice, check_distinct, ratio_list


class SqueezeExcite(InsertedKind):
    """One choice: None, then the ratios; or the block's own alone. Its layer is `GatedSqueezeExcite`."""

    choices, titles = ("se",), ("squeeze-excite",)
    candidates = ("se_ratios",)
    name, position = "se", "filtered"

    def options(self, base, entry, where):
        ratios = ratio_list(entry, "se_ratios", where)
        if base.se_ratio is not None:
            if ratios:
                raise UserError(f"{where}: squeeze-excite is in the block string, and in 'se_ratios'; accepted: in one")
            return {"se": (base.se_ratio,)}
        check_distinct([squeeze_filters(base.in_filters, ratio) for ratio in ratios], "se_ratios", where)
        return {"se": (None, *ratios)}

    def fields(self, chosen):
        return {"se_ratio": chosen["se"]}

    def adds(self, choice, order):
        return order == 0

    def layer(self, base, options, sync_batch_norm):
        from autonl_tf.layers.gated import GatedSqueezeExcite

        ratios = (ratio for ratio in options["se"] if ratio is not None)
        filters = tuple(squeeze_filters(base.in_filters, ratio) for ratio in ratios)
        return GatedSqueezeExcite(filters, activation=base.activation, name=self.name)

    def call(self, layer, inputs, gates, training):
        return layer(inputs, gates["se"] or [1.0]), {}

    def values(self, layer, distances):
        return {"se": layer.group_values()[: len(distances["se"])]}

    def slices(self, layer, member):
        if member.se_ratio is None:
            return {}
        reduce, expand = layer.reduce, layer.expand
        kept, filters, every = slice(member.expanded_filters), slice(member.se_filters), slice(None)
        return {
            "se_reduce": [
                WeightSlice(reduce.kernel, (every, every, kept, filters)),
                WeightSlice(reduce.bias, (filters,)),
            ],
            "se_expand": [WeightSlice(expand.kernel, (every, every, filters, kept)), WeightSlice(expand.bias, (kept,))],
        }
