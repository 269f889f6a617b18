"""The networks of a space that a search is compared with, and what can be said of them without training."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np

from autonl_tf.arch.cost import network_cost
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.space.space import Space

MOST_MEMBERS = 1000  # that are ever trained one by one
MOST_DRAWS = 200_000


def without_light_nl(spec: NetworkSpec) -> NetworkSpec:
    return dataclasses.replace(spec, blocks=tuple(dataclasses.replace(block, nonlocal_=None) for block in spec.blocks))


@dataclasses.dataclass(frozen=True)
class Contenders:
    """Networks of one space, for images of one size.

    Attributes:
      space: where they are from.
      image_size: side of the images in pixels.
      num_classes: of the classifier.
      tolerance: how far the MACs of a network may be from those asked for, as a share.
    """

    space: Space
    image_size: int
    num_classes: int
    tolerance: float

    def cost(self, spec: NetworkSpec):
        """MACs and parameters of a network."""
        return network_cost(spec, image_size=self.image_size, num_classes=self.num_classes).total

    def near(self, spec: NetworkSpec, macs: float) -> bool:
        return abs(self.cost(spec).macs / macs - 1) <= self.tolerance

    def random(self, macs: float, count: int, seed: int, *, squeeze_excite: bool = True) -> list[NetworkSpec]:
        """Different members of about so many MACs, every choice drawn uniformly; fewer where there are no more."""
        rng, found = np.random.default_rng(seed), {}
        for _ in range(MOST_DRAWS):
            if len(found) == count:
                break
            drawn = [{c: int(rng.integers(len(of))) for c, of in b.options.items()} for b in self.space.blocks]
            if not squeeze_excite:
                drawn = [selection | {"se": 0} for selection in drawn]
            spec = self.space.member(drawn)
            if self.near(spec, macs):
                found.setdefault(spec.canonical(), spec)
        return list(found.values())

    def uniform(self, macs: float, count: int) -> list[NetworkSpec]:
        """What is written down in a minute: one kernel and one expansion throughout (a block that has no such option
        takes its smallest), no squeeze-excite and no LightNL, as many of the blocks that may be dropped, from the first
        one on, as fit: the nearest to so many MACs."""
        blocks = self.space.blocks
        droppable = [index for index, block in enumerate(blocks) if block.searchable and block.droppable]
        values = {c: sorted({v for b in blocks for v in b.options[c] if v}) for c in ("kernel", "expand")}
        found = {}
        for kernel, expand, kept in itertools.product(*values.values(), range(len(droppable) + 1)):
            selections = []
            for index, block in enumerate(blocks):
                selection = dict(block.smallest)
                for choice, value in (("kernel", kernel), ("expand", expand)):
                    options = block.options[choice]
                    if value in options:
                        selection[choice] = options.index(value)
                    elif options[0] == 0:
                        selection[choice] = 1  # kept, by its smallest
                if index in droppable[kept:]:
                    selection["expand"] = 0
                selections.append(selection)
            spec = self.space.member(selections)
            found.setdefault(spec.canonical(), spec)
        by_distance = sorted(found.values(), key=lambda spec: abs(math.log(self.cost(spec).macs / macs)))
        return [spec for spec in by_distance if self.near(spec, macs)][:count]

    def every(self) -> list[NetworkSpec]:
        """All members, in the order of their MACs.

        Raises:
          ValueError: there are more than anyone trains one by one.
        """
        if (count := self.space.count()) > MOST_MEMBERS:
            raise ValueError(f"{self.space.name} has {count:,} members; accepted: at most {MOST_MEMBERS:,}")
        found = {spec.canonical(): spec for spec in map(self.space.member, self._selections())}
        return sorted(found.values(), key=lambda spec: self.cost(spec).macs)

    def _selections(self) -> Iterator[list[dict[str, int]]]:
        """One selection a block, those that make the same block once."""
        for blocks in itertools.product(
            *({block.block(of): of for of in block.selections()}.values() for block in self.space.blocks)
        ):
            yield list(blocks)

    def synflow(self, spec: NetworkSpec) -> float:
        """The logarithm of sum |w dR/dw| over the weights w of the untrained network, with R the sum of its logits for
        an image of ones, all weights replaced by their magnitudes. Source: Tanaka et al., 2020, as a score of networks
        by Abdelfattah et al., 2021."""
        import tensorflow as tf
        import tf_keras as keras

        from autonl_tf.networks.network import build_network

        keras.utils.set_random_seed(0)
        model = build_network(spec, image_size=self.image_size, num_classes=self.num_classes)
        for variable in model.trainable_variables:
            variable.assign(tf.abs(variable))
        with tf.GradientTape() as tape:
            flow = tf.reduce_sum(model(tf.ones((1, self.image_size, self.image_size, 3)), training=False))
        gradients = tape.gradient(flow, model.trainable_variables)
        score = sum(
            float(tf.reduce_sum(tf.abs(tf.cast(v * g, tf.float64))))
            for v, g in zip(model.trainable_variables, gradients, strict=True)
        )
        keras.backend.clear_session()
        return math.log(score) if score > 0 else -math.inf
