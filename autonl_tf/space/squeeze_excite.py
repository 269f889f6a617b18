"""Squeeze-excite as a kind of gate: none, or the ratio of its filters."""

from __future__ import annotations

from autonl_tf.arch.spec import squeeze_filters
from autonl_tf.space.kind import InsertedKind, candidate_list, check_distinct


class SqueezeExcite(InsertedKind):
    """One ladder: None, then the ratios. Its layer is `GatedSqueezeExcite`."""

    ladders, titles = ("se",), ("squeeze-excite",)
    candidates = ("se_ratios",)
    name, place = "se", "filtered"

    def options(self, base, entry, where):
        ratios = candidate_list(entry, "se_ratios", where, (int, float), lambda v: 0 < v <= 1, empty=True)
        check_distinct([squeeze_filters(base.in_filters, ratio) for ratio in ratios], "se_ratios", where)
        return {"se": (None, *map(float, ratios))}

    def fields(self, chosen):
        return {"se_ratio": chosen["se"]}

    def adds(self, ladder, rung):
        return rung == 0

    def layer(self, block, sync_batch_norm):
        from autonl_tf.layers.gated import GatedSqueezeExcite

        filters = (squeeze_filters(block.base.in_filters, ratio) for ratio in block.options["se"][1:])
        return GatedSqueezeExcite(tuple(filters), name=self.name)

    def call(self, layer, inputs, gates, training):
        return layer(inputs, gates["se"]), {}

    def values(self, layer, distances):
        return {"se": layer.part_values()}

    def weights(self, layer, member):
        if member.se_ratio is None:
            return {}
        reduce, expand = layer.reduce, layer.expand
        kept, filters = slice(member.expanded_filters), slice(member.se_filters)
        return {
            "se_reduce": [reduce.kernel.numpy()[:, :, kept, filters], reduce.bias.numpy()[filters]],
            "se_expand": [expand.kernel.numpy()[:, :, filters, kept], expand.bias.numpy()[kept]],
        }
