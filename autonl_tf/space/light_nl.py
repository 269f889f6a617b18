"""LightNL as a kind of gate: whether it is there, and how compact. Source: the paper, section 3.2."""

from __future__ import annotations

from autonl_tf.arch.spec import LightNLSpec
from autonl_tf.errors import UserError
from autonl_tf.space.gate_kind import (
    InsertedKind,
    WeightSlice,
    batch_norm_slices,
    candidate_list,
    check_distinct,
    ratio_list,
    whole_numbers,
)


class LightNL(InsertedKind):
    """Three choices: whether, the channel ratio, and the stride, coarsest first. Its layer is `GatedLightNL`.

    Ratio and stride are decided by distances between what the candidates compute, which the layer measures in training.
    """

    choices = ("nl", "nl_ratio", "nl_stride")
    titles = ("LightNL", "LightNL ratio", "LightNL stride")
    candidates = ("nonlocal_ratios", "nonlocal_strides")
    name, position = "nl", "projected"

    def options(self, base, entry, where):
        ratios = ratio_list(entry, "nonlocal_ratios", where)
        words = ("nonlocal_strides", where, "whole numbers from 1 to 1024", whole_numbers(1, 1024))
        strides = candidate_list(entry, *words, empty=True, descending=True)
        if strides and strides[-1] != 1:
            raise UserError(f"{where}: 'nonlocal_strides' must end in 1, which the others are compared with")
        if bool(ratios) != bool(strides):
            raise UserError(f"{where}: nonlocal_ratios and nonlocal_strides are both empty or neither is")
        check_distinct([int(base.out_filters * ratio) for ratio in ratios], "nonlocal_ratios", where)
        return {
            "nl": (False, True) if ratios else (False,),
            "nl_ratio": ratios or (None,),
            "nl_stride": strides or (None,),
        }

    def fields(self, chosen):
        return {"nonlocal_": LightNLSpec(chosen["nl_ratio"], chosen["nl_stride"]) if chosen["nl"] else None}

    def counting(self, chosen):
        return self.choices if chosen["nl"] else ("nl",)

    def adds(self, choice, order):
        return choice == "nl"

    def layer(self, base, options, sync_batch_norm):
        from autonl_tf.layers.gated import GatedLightNL

        filters = tuple(int(base.out_filters * ratio) for ratio in options["nl_ratio"])
        return GatedLightNL(filters, options["nl_stride"], sync_batch_norm, name=self.name)

    def call(self, layer, inputs, gates, training):
        outputs, distances = layer(inputs, gates["nl"][0], gates["nl_ratio"], gates["nl_stride"], training=training)
        return outputs, dict(zip(("nl_ratio", "nl_stride"), distances, strict=True)) if distances else {}

    def values(self, layer, distances):
        return {"nl": [layer.presence_value()], **{choice: distances[choice] for choice in ("nl_ratio", "nl_stride")}}

    def slices(self, layer, member):
        if member.nonlocal_ is None:
            return {}
        return {"nl_depthwise": [WeightSlice(layer.depthwise_kernel)], "nl_bn": batch_norm_slices(layer.bn)}
