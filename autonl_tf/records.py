"""What the JSON files of this program hold, by type: a field is checked by being declared here.

`reading.read_json` refuses a value that is missing, of another type or out of its bounds, and leaves out what is not
declared.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Annotated, Any, Literal

from msgspec import Meta
from typing_extensions import NotRequired, TypedDict

from autonl_tf import limits

LATENCY_FORMAT = "autonl latency table 1"
CARD_FORMAT = "autonl_tf export"
CARD_JSON = "card.json"


def _between(bounds: tuple[float, float]) -> Meta:
    return Meta(ge=bounds[0], le=bounds[1])


Step = Annotated[int, _between((0, limits.STEPS[1]))]
Count = Annotated[int, _between((0, 1 << 53))]
ImageSize = Annotated[int, _between(limits.IMAGE_SIZE)]
CropPadding = Annotated[int, _between(limits.CROP_PADDING)]
ClassCount = Annotated[int, _between(limits.CLASSES)]
DepthMultiplier = Annotated[float, _between(limits.DEPTH_MULTIPLIER)]
Number = Annotated[float, _between((-3.5e38, 3.5e38))]  # what a float32 holds
Cost = Annotated[float, _between((0, 1e30))]
Milliseconds = Annotated[float, Meta(gt=0, le=1e9)]
Scalar = bool | int | float | str | None


@dataclasses.dataclass(frozen=True)
class BestRecord:
    """best/best.json: the step whose copy is kept, its validation top-1, and its loss; None: not known."""

    step: Step
    metric: Annotated[float, Meta(ge=0, le=1)]
    loss: float | None = None

    def beaten_by(self, metric: float, loss: float | None) -> bool:
        """Whether that top-1 is higher, or the same at a lower loss."""
        lower = None not in (loss, self.loss) and loss < self.loss
        return metric > self.metric or (metric == self.metric and lower)


@dataclasses.dataclass(frozen=True)
class SavedRecord:
    """saved.json: the newest step that was saved, and the step of the best copy; None: there was none."""

    step: Step
    best: Step | None


@dataclasses.dataclass(frozen=True)
class Origin:
    """A field of model.json: what `--mode=convert` made the checkpoint of."""

    checkpoint: str
    averages: bool
    kind: str


@dataclasses.dataclass(frozen=True)
class ModelRecord:
    """model.json: the network of a run's checkpoints, and the data it was trained on."""

    arch: str
    input_image_size: ImageSize
    crop_padding: CropPadding
    depth_multiplier: DepthMultiplier
    class_names: Annotated[tuple[str, ...], Meta(min_length=limits.CLASSES[0], max_length=limits.CLASSES[1])]
    classes_are_numbered: bool = False
    dataset: str | None = None
    qat: bool = False
    exif_orientation: bool = True
    converted_from: Origin | None = None


Settings = dict[str, Scalar | list[Scalar]]


_PACKAGE = pathlib.Path(__file__).parent
_NETWORKS = {path.name.removesuffix(".arch.txt") for path in _PACKAGE.glob("arch/presets/*.arch.txt")}
# The flags whose value is the path of an input, possibly behind `kind:`, among those that must not change when a run
# resumes; and the names that each takes before a file of that name.
PATHS = {
    "arch": _NETWORKS,
    "calibration_dataset": {"demo"},
    "class_weights": {"balanced"},
    "dataset": {"demo"},
    "init_checkpoint": {"imagenet"},
    "label_file": {"imagenet"},
    "latency_table": set(),
    "search_space": _NETWORKS | {path.stem for path in _PACKAGE.glob("space/spaces/*.json")},
}


def located(settings: Settings, absolute: Callable[[str], str] = os.path.abspath) -> Settings:
    """Settings with the path of what is there made absolute, so that a run goes on wherever it is started from."""

    def placed(value: str, names: set[str]) -> str:
        kind, colon, rest = value.partition(":") if ":" in value else ("", "", value)
        path, comma, words = rest.partition(",") if kind == "around" else (rest, "", "")
        named = kind in ("demo", "tfds") or (kind in ("", "around") and path in names)
        there = not named and os.path.exists(path)
        return f"{kind}{colon}{absolute(path)}{comma}{words}" if there else value

    return {
        name: placed(value, PATHS[name]) if name in PATHS and isinstance(value, str) else value
        for name, value in settings.items()
    }


def same_setting(flag: str, old: Any, new: Any) -> bool:
    """Whether two values of a flag are equal, or ways to write the path of one file or directory."""
    return old == new or located({flag: old}, os.path.realpath) == located({flag: new}, os.path.realpath)


Run = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


class Start(TypedDict):
    """One start of a run: when (UTC), with which settings, versions and commit."""

    time: str
    settings: Settings
    versions: dict[str, str]
    git_commit: str | None


class SearchSettings(TypedDict):
    """What a search's config.json says of the network and the data."""

    input_image_size: ImageSize
    crop_padding: CropPadding
    dataset: str
    exif_orientation: NotRequired[bool]


@dataclasses.dataclass(frozen=True)
class SearchRun:
    """config.json of a search, the part that its weights need."""

    comparable: SearchSettings


@dataclasses.dataclass(frozen=True)
class Identity:
    """config.json, the part that identifies a run; None: the run is older than identities."""

    run: Run | None = None


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """config.json: what a run was last started with, and before; `comparable` must be the same for it to go on, and
    `run` is of `Identity`."""

    comparable: Settings
    time: str
    settings: Settings
    versions: dict[str, str]
    git_commit: str | None
    earlier_starts: list[Start]
    run: Run | None = None

    def other_setting(self, now: Settings) -> str | None:
        """The first flag that differs, `mode` first, with both values; None if all are equal."""
        before = self.comparable
        for flag in sorted({**now, **before}, key=lambda name: name != "mode"):
            old, new = before.get(flag), now.get(flag)
            if flag not in before or flag not in now or not same_setting(flag, old, new):
                was = old if flag in before else "(absent)"
                is_now = new if flag in now else "(absent)"
                told = f"was made with --{flag}={was}, now it is --{flag}={is_now}"
                return f"{told}; choose another --model_dir or the same settings"
        return None

    @property
    def starts(self) -> list[Start]:
        """Every start, the last one included."""
        last = Start(time=self.time, settings=self.settings, versions=self.versions, git_commit=self.git_commit)
        return [*self.earlier_starts, last]


@dataclasses.dataclass(frozen=True)
class MetricsRecord:
    """A line of metrics.jsonl: what was measured at a step; None for what was not finite."""

    step: Step
    epoch: Annotated[float, _between((0, limits.STEPS[1]))]
    phase: str
    values: dict[str, Number | None]


class Times(TypedDict):
    """An entry of a latency table: one file's milliseconds, and of how many runs."""

    median_ms: Milliseconds
    p5_ms: NotRequired[Milliseconds]
    p95_ms: NotRequired[Milliseconds]
    runs: NotRequired[Step]


class NetworkTimes(Times, total=False):
    """An entry of a latency table: a whole network's, with its block strings."""

    arch: list[str]


class Calibration(TypedDict):
    """The line of a latency table: a network takes offset_ms + scale * the sum of its pieces."""

    offset_ms: Number
    scale: Annotated[float, Meta(gt=0, le=1e9)]
    networks: NotRequired[Step]


class LatencyRecord(TypedDict):
    """A latency table: what `--mode=profile` measured, by piece and by network (see `space.latency`)."""

    format: Literal[LATENCY_FORMAT]
    device: str
    runtime: dict[str, Scalar]
    space: str
    input_image_size: ImageSize
    num_label_classes: ClassCount
    pieces: Annotated[dict[str, Times], Meta(min_length=1)]
    versions: NotRequired[dict[str, str]]
    networks: NotRequired[dict[str, NetworkTimes]]
    calibration: NotRequired[Calibration]


@dataclasses.dataclass(frozen=True)
class CardNetwork:
    blocks: list[str]
    depth_multiplier: DepthMultiplier


@dataclasses.dataclass(frozen=True)
class CardInput:
    image_size: ImageSize
    crop_padding: CropPadding
    exif_orientation: bool = True


@dataclasses.dataclass(frozen=True)
class CardWeights:
    step: Step | None = None
    averages: bool = False


@dataclasses.dataclass(frozen=True)
class CardData:
    trained_on: str | None = None


@dataclasses.dataclass(frozen=True)
class CardRecord:
    """What is read of an export's card.json; `labels` is a file beside it."""

    format: Literal[CARD_FORMAT]
    architecture: CardNetwork
    input: CardInput
    num_classes: ClassCount
    labels: Literal["labels.txt"]
    files: dict[str, Any]
    classes_are_numbered: bool = False
    weights: CardWeights | None = None
    data: CardData | None = None


class BlockMacs(TypedDict):
    name: str
    block: str
    macs: Cost


class MeasuredGain(TypedDict):
    """What an open gate gained when decisions were taken, in nats (see `search.measured`); None: not finite."""

    gain: Number | None
    error: Number | None
    price: Number | None


class Gate(TypedDict):
    name: str
    margin: Number
    open: bool
    counts: bool
    flipped: bool
    closed: bool
    measured: MeasuredGain | None


class CloseCall(TypedDict):
    name: str
    margin: Number
    open: bool
    flipped: bool
    cost_change: Number


class _Aimed(TypedDict, total=False):
    """What a search for a target adds."""

    target: Annotated[float, Meta(gt=0, le=1e30)]
    error: Number
    flips: list[str]
    flips_share: Number
    flips_not_close: list[str]
    converged: bool


AIMED = _Aimed.__annotations__.keys()


class Budget(_Aimed):
    cost: Literal["macs", "latency_ms"]
    found: Cost
    cheapest: Cost
    dearest: Cost
    per_block: list[Cost]
    stem_and_head: Cost
    before_flips: Cost


class Decisions(TypedDict):
    steps: Step
    noise: Number
    counting: Step
    within_noise: Step
    measured_images: Count


class Phases(TypedDict):
    warmup_end: Step
    settle_start: Step
    total_steps: Step


class TrajectoryPoint(TypedDict):
    """A search at a step; `gates` the margins in the order of the result's gates."""

    step: Step
    cost_lambda: Number | None
    cross_entropy: Number | None
    gates: list[Number | None]
    macs: NotRequired[Annotated[float, Meta(gt=0, le=1e30)] | None]
    latency_ms: NotRequired[Annotated[float, Meta(gt=0, le=1e30)] | None]


class SearchRecord(TypedDict):
    """search.json: what a finished search says of itself (see `search.results` and `commands.search`)."""

    arch: list[str]
    input_image_size: ImageSize
    num_label_classes: ClassCount
    macs: Cost
    macs_exact: Cost
    params: Count
    largest_macs: Annotated[float, Meta(gt=0, le=1e30)]
    smallest_macs: Annotated[float, Meta(gt=0, le=1e30)]
    blocks: Annotated[list[BlockMacs], Meta(min_length=2)]
    decided_blocks: list[str | None]
    gates: list[Gate]
    budget: Budget
    decisions: Decisions
    warnings: list[str]
    close_calls: list[CloseCall]
    phases: Phases
    trajectory: list[TrajectoryPoint]
    next: list[str]
    settings: dict[str, Scalar | list[Scalar]]
    versions: dict[str, str]
    git_commit: str | None
