"""What weights say of the network they are of, as far as no file of weights need be read: without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from autonl_tf.arch import blockstring, presets
from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.checkpoint import published
from autonl_tf.checkpoint.blocks import check_part
from autonl_tf.checkpoint.location import MODEL_JSON, SPACE, Location
from autonl_tf.data import imagenet
from autonl_tf.data.labels import read_label_file
from autonl_tf.data.reading import CROP_PADDING
from autonl_tf.errors import UserError
from autonl_tf.flag_values import SAVED_MODEL
from autonl_tf.reading import read_json
from autonl_tf.records import CARD_JSON, CardRecord, ModelRecord, SearchRun, SearchSettings

CLASSIFIER = "logits"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """The network of some weights.

    Attributes:
      format: `ours`, `tf1`, `pytorch`, `keras`, `export`, `imagenet` or `search`.
      spec: the architecture whose weights these are.
      class_names: K names in label order.
      classes_are_numbered: whether those are only numbers, so that data may name the classes.
      image_size, crop_padding: what the network was trained at.
      image_shape: (height, width) of its images where they are not squares.
      depth_multiplier: of the architecture's filters.
      qat: whether it was trained with simulated int8 and holds ranges besides.
      trained_on: the data's name; None: not known.
      exif_orientation: whether its images were turned as their EXIF data say.
      spec_is_assumed: the file does not say its architecture: `spec` is what was asked for, and non-local blocks of
        which the file has nothing are taken not to be its own.
    """

    format: str
    where: str
    spec: NetworkSpec
    class_names: tuple[str, ...]
    classes_are_numbered: bool = True
    image_size: int
    crop_padding: int = CROP_PADDING
    image_shape: tuple[int, int] | None = None
    depth_multiplier: float = 1.0
    qat: bool = False
    trained_on: str | None = None
    exif_orientation: bool = True
    spec_is_assumed: bool = False

    def check(self, spec: NetworkSpec) -> None:
        """Raises UserError unless `spec` is this checkpoint's architecture, or that with non-local blocks added."""
        check_part(self.spec, spec, self.where)

    def check_set(self, use_averages: bool) -> None:
        """Raises UserError where plain variables are asked for of a file that holds one set of weights."""
        if not use_averages and self.format in ("export", "imagenet", "keras"):
            raise UserError(f"{self.where}: holds one set of weights; --use_averages=false does not go with it")

    def agreed(self, names: Sequence[str], where: str) -> tuple[str, ...]:
        """The class names of checkpoint and `where`, as many, together: numbers give way to names.

        ImageNet's classes may be given by their synsets or by their names.

        Raises:
          UserError: other names, or another order of them.
        """
        if self.classes_are_numbered:
            return tuple(names)
        for label, (trained, other) in enumerate(zip(self.class_names, names, strict=True)):
            if other not in (trained, imagenet.classes().get(trained)):
                raise UserError(f"{self.where}: class {label} is {trained!r} there and {other!r} in {where}")
        return self.class_names


def described(location: Location, arch: NetworkSpec | None) -> Description | None:
    """What is known of the weights at a location before they are opened; None where only these can tell.

    Raises:
      UserError: a description is damaged; no weights of the network `arch` are published, or they are not installed.
    """
    if location.kind == "imagenet":
        return of_published(arch)
    if location.kind == "export":
        return of_export(location.path)
    if location.kind != "prefixes" or is_search(location.prefixes[0]):
        return None
    prefix = location.prefixes[0]
    is_described = any((folder / MODEL_JSON).is_file() for folder in (prefix.parent, run_of(prefix)))
    return of_run(str(prefix)) if is_described else None


def turns_images(location: Location) -> bool:
    """Whether images were turned as their EXIF data say, for weights that `described` knows nothing of; a search's
    config.json says it of these. Raises UserError where that is damaged."""
    searched = location.kind == "prefixes" and is_search(location.prefixes[0])
    return search_settings(run_of(location.prefixes[0])).get("exif_orientation", True) if searched else True


def is_search(prefix: str | Path) -> bool:
    """Whether a checkpoint lies in the run directory of a search."""
    return (run_of(prefix) / SPACE).is_file()


def search_settings(directory: Path) -> SearchSettings:
    """What the run directory of a search says of the network and the data. Raises UserError."""
    return read_json(directory / "config.json", SearchRun, what="the settings of a search").comparable


def run_of(prefix: str | Path) -> Path:
    """The run directory of a checkpoint within one."""
    return Path(prefix).parent.parent


def of_run(prefix: str) -> Description:
    """A checkpoint of this program, as the `model.json` beside it describes it. Raises UserError."""
    found = read_model_json(prefix)
    return Description(
        format="ours",
        where=prefix,
        spec=blockstring.parse(found.arch, f"{prefix}: {MODEL_JSON}"),
        class_names=found.class_names,
        classes_are_numbered=found.classes_are_numbered,
        image_size=found.input_image_size,
        crop_padding=found.crop_padding,
        depth_multiplier=found.depth_multiplier,
        qat=found.qat,
        trained_on=found.dataset,
        exif_orientation=found.exif_orientation,
    )


def read_model_json(path: str | Path) -> ModelRecord:
    """The description beside a checkpoint: `path` is a run directory, or a checkpoint prefix within one.

    Raises:
      UserError: there is none, or it is damaged.
    """
    path = Path(path)
    places = [path] if path.is_dir() else [path.parent, path.parent.parent]
    for location in places:
        if (location / MODEL_JSON).exists():
            return read_json(location / MODEL_JSON, ModelRecord, what="the description of a run's network")
    raise UserError(f"{path}: no {MODEL_JSON} beside this checkpoint (looked in {', '.join(map(str, places))})")


def read_card(directory: Path) -> CardRecord:
    """The card of an exported directory. Raises UserError where it is damaged."""
    return read_json(directory / CARD_JSON, CardRecord, what="the card of an export")


def of_export(directory: Path) -> Description:
    """The network of a directory of `--mode=export`.

    Raises:
      UserError: an export without a SavedModel; a damaged card.
    """
    if not (directory / SAVED_MODEL).is_dir():
        raise UserError(f"{directory}: an export without a SavedModel; export with --formats=savedmodel")
    card = read_card(directory)
    names = tuple(map(imagenet.untitled, read_label_file(str(directory / card.labels)).lines))
    if len(names) != card.num_classes:
        raise UserError(f"{directory}: its {card.labels} has {len(names)} names for {card.num_classes} classes")
    return Description(
        format="export",
        where=str(directory),
        spec=blockstring.parse("\n".join(card.architecture.blocks), f"{directory}/{CARD_JSON}"),
        class_names=names,
        classes_are_numbered=card.classes_are_numbered,
        image_size=card.input.image_size,
        crop_padding=card.input.crop_padding,
        depth_multiplier=card.architecture.depth_multiplier,
        trained_on=card.data.trained_on if card.data else None,
        exif_orientation=card.input.exif_orientation,
    )


def of_published(arch: NetworkSpec | None) -> Description:
    """The published weights of the network `arch`, which may have non-local blocks besides.

    Raises:
      UserError: there are none; their package is not installed, or another version of it; its file is damaged.
    """
    name = published.name_of(arch)
    published.file_of(name)
    package = published.PUBLISHED[name]
    return Description(
        format="imagenet",
        where=f"{imagenet.NAME} ({package.package} {package.version})",
        spec=presets.load(name),
        class_names=imagenet.synsets(),
        classes_are_numbered=False,
        image_size=presets.image_size(name),
        trained_on="ImageNet (ILSVRC 2012)",
    )
