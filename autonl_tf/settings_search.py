"""The flags of the search alone."""

from __future__ import annotations

import dataclasses

from absl import flags

from autonl_tf.setting import flag


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """What the search may choose, and how its gates move."""

    search_space: str = flag(
        flags.DEFINE_string, "paper", "paper, demo, cifar10, or the path of a space file.", modes=("search",)
    )
    cost_lambda: float = flag(
        flags.DEFINE_float, 0.3, "Weight of log(MACs) in the search's loss.", modes=("search",), lower_bound=0.0
    )
    search_warmup_share: float = flag(
        flags.DEFINE_float,
        0.625,
        "Share of the search in which gates are dropped out and the cost does not count.",
        modes=("search",),
        lower_bound=0.0,
        upper_bound=0.99,
    )
    search_settle_share: float = flag(
        flags.DEFINE_float,
        0.1,
        "Share of the search, at its end, in which decisions are held.",
        modes=("search",),
        lower_bound=0.0,
        upper_bound=0.99,
    )
    gate_keep_probability: float = flag(
        flags.DEFINE_float, 0.6, "Of each gate in the warm-up.", modes=("search",), lower_bound=0.01, upper_bound=1.0
    )
    gate_explore_probability: float = flag(
        flags.DEFINE_float,
        0.1,
        "Of flipping each gate in the decision phase, to learn what the flip costs; 0: never.",
        modes=("search",),
        lower_bound=0.0,
        upper_bound=0.5,
    )
    threshold_travel: float = flag(
        flags.DEFINE_float,
        3.0,
        "How far a threshold moves if every step agrees; a gate's value is about 1.",
        modes=("search",),
        lower_bound=0.0,
        upper_bound=100.0,
    )
