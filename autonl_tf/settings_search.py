"""The flags of the search and of the profiler."""

from __future__ import annotations

import dataclasses

from absl import flags

from autonl_tf.setting import define_amount, define_path, flag

_SEARCH, _PROFILE = ("search",), ("profile",)


# Defaults that depend on what a search starts from: (random weights, those of --init_checkpoint).
SEARCH_DEFAULTS = {"search_warmup_share": (0.625, 0.25), "gate_keep_probability": (0.6, 0.9)}


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """What the search may choose, and how its gates move."""

    search_space: str = flag(
        define_path,
        "paper",
        "Search space: paper, demo, cifar10, the path of a space file, or around:ARCH[,kernels][,expansions][,depth] "
        "with ARCH as for --arch, in which every block of that network may get LightNL, and what is named may shrink. "
        "describe shows how large a space is.",
        modes=(*_SEARCH, "profile", "describe"),
        behind_kind=True,
    )
    cost: str = flag(
        flags.DEFINE_enum,
        "macs",
        "Cost that the search counts: MACs, or milliseconds by --latency_table.",
        modes=_SEARCH,
        enum_values=("macs", "latency"),
    )
    latency_table: str = flag(
        define_path,
        None,
        "Latency table for --cost=latency, which --mode=profile made on the target device.",
        modes=_SEARCH,
    )
    cost_lambda: float = flag(
        flags.DEFINE_float,
        0.3,
        "Weight of log(cost) in the search's loss, unless a target sets it.",
        modes=_SEARCH,
        lower_bound=0.0,
        upper_bound=1e6,
    )
    target_macs: float = flag(
        define_amount, None, "MACs the found network is to have, as 350e6 or 350M: lambda adapts.", modes=_SEARCH
    )
    target_latency_ms: float = flag(
        flags.DEFINE_float,
        None,
        "Milliseconds that the found network is to take by --latency_table; lambda adapts.",
        modes=_SEARCH,
        lower_bound=1e-6,
        upper_bound=1e9,
    )
    search_split: float = flag(
        flags.DEFINE_float,
        0.0,
        "Share of the training images that only train the gates' thresholds, as in DARTS; the others train the "
        "weights, and make up an epoch. 0, as in the paper: all images train both.",
        modes=_SEARCH,
        lower_bound=0.0,
        upper_bound=0.9,
    )
    search_warmup_share: float = flag(
        flags.DEFINE_float,
        None,
        "Share of the search in which gates are dropped at random and the cost does not count. Default: 0.625; 0.25 "
        "from --init_checkpoint, whose weights are trained.",
        modes=_SEARCH,
        lower_bound=0.0,
        upper_bound=0.99,
    )
    search_settle_share: float = flag(
        flags.DEFINE_float,
        0.1,
        "Share of the search, at its end, in which decisions are fixed.",
        modes=_SEARCH,
        lower_bound=0.0,
        upper_bound=0.99,
    )
    gate_keep_probability: float = flag(
        flags.DEFINE_float,
        None,
        "Probability of keeping each open gate in the warm-up. A gate that the network of --init_checkpoint has "
        "closed is opened half of the time. Default: 0.6; 0.9 from --init_checkpoint, so that the trained network is "
        "not lost.",
        modes=_SEARCH,
        lower_bound=0.01,
        upper_bound=1.0,
    )
    gate_explore_probability: float = flag(
        flags.DEFINE_float,
        0.1,
        "Probability of flipping each gate in the decision phase, to learn what the flip costs; 0: never.",
        modes=_SEARCH,
        lower_bound=0.0,
        upper_bound=0.5,
    )
    gate_start_margin: float = flag(
        flags.DEFINE_float,
        0.02,
        "Margin with which the gates of what a block can do without (LightNL, squeeze-excite) enter the decision "
        "phase; the others have about 1.",
        modes=_SEARCH,
        lower_bound=0.001,
        upper_bound=1.0,
    )
    threshold_travel: float = flag(
        flags.DEFINE_float,
        3.0,
        "Farthest that a threshold moves, if every step agrees. A gate's value is about 1.",
        modes=_SEARCH,
        lower_bound=0.0,
        upper_bound=100.0,
    )


@dataclasses.dataclass(frozen=True)
class ProfileConfig:
    """How latency is measured."""

    profile_threads: int = flag(
        flags.DEFINE_integer, 1, "Threads of the runtime.", modes=_PROFILE, lower_bound=1, upper_bound=256
    )
    profile_warmup: int = flag(
        flags.DEFINE_integer,
        5,
        "Runs of each file before the measured ones.",
        modes=_PROFILE,
        lower_bound=0,
        upper_bound=100_000,
    )
    profile_runs: int = flag(
        flags.DEFINE_integer,
        50,
        "Measured runs of each file; the median counts.",
        modes=_PROFILE,
        lower_bound=3,
        upper_bound=100_000,
    )
    profile_networks: int = flag(
        flags.DEFINE_integer,
        12,
        "Whole networks to measure, which calibrate the sum of their pieces: the largest, the smallest and random "
        "ones.",
        modes=_PROFILE,
        lower_bound=0,
        upper_bound=1000,
    )
    benchmark_output: str = flag(
        define_path,
        None,
        "Directory that phone.sh brought back: the table is made from it, and nothing is measured here.",
        modes=_PROFILE,
    )
