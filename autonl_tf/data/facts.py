"""What is known of a data set before it is opened, without TensorFlow: its classes, its splits, its images' side."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Sequence

from autonl_tf.data import folder
from autonl_tf.data.demo_scene import IMAGE_SIZE, SCENES
from autonl_tf.data.labels import LabelFile, class_name, labelled, numbered, read_label_file
from autonl_tf.data.tree import EXTENSIONS, check_directory, folders, images_below
from autonl_tf.errors import UserError

DEMOS = {"demo" if kind == "far" else f"demo:{kind}": kind for kind in SCENES}
ACCEPTED = ", ".join([*DEMOS, "folder:PATH", "tfds:NAME", "imagenet_tfrecord:PATH"])
IMAGENET_CLASSES = 1000
_SHARD = re.compile(r"(train|validation)-(\d{5})-of-(\d{5})/?")


@dataclasses.dataclass(eq=False)
class Facts:
    """A set's name, its K class names in label order, and more.

    Attributes:
      image_size: the side in pixels of square images that are all alike, as far as was looked; None of others.
      splits: the names of those that it has; one may turn out to hold no images that can be used.
      classes_are_numbered: nothing named them: their names are their labels.
    """

    name: str
    class_names: Sequence[str]
    image_size: int | None
    splits: Collection[str]
    classes_are_numbered: bool = False

    def __post_init__(self):
        self.class_names = tuple(class_name(text, self.name) for text in self.class_names)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def has(self, split: str) -> bool:
        """Whether the data has such a split; it is not opened, and may turn out to hold nothing."""
        return split in self.splits

    def require(self, *splits: str) -> None:
        """Raises UserError for the first split that the data has not."""
        for split in splits:
            if not self.has(split):
                raise UserError(f"{self.name}: it has no {split} images")


def kind_and_path(name: str) -> tuple[str, str]:
    """`folder:PATH` to ("folder", "PATH"), `demo:texture` to ("demo", "texture"), `demo` to ("demo", "far"), ... Raises
    UserError for a name that no data set has."""
    kind, _, path = name.partition(":")
    if name in DEMOS:
        return "demo", DEMOS[name]
    if kind in ("folder", "tfds", "imagenet_tfrecord") and path:
        return kind, path
    meant = f" (did you mean folder:{name}?)" if os.path.isdir(name) else ""
    raise UserError(f"unknown data set {name!r}{meant}; expected one of {ACCEPTED}")


def known(
    name: str, label_file: str | None = None, validation_fraction: float = 0.1
) -> tuple[Facts | None, folder.Listing | None]:
    """What can be told of the set of this name by the names of its files, and, where it is a class folder, these files;
    None where only its own library can tell.

    Raises:
      UserError: there is no such set, it is not there, or what `open_dataset` refuses by names of files and classes.
    """
    kind, path = kind_and_path(name)
    labels = read_label_file(label_file) if label_file else None
    if kind == "demo":
        class_names, _ = labelled(SCENES[path].class_names, name, labels)
        return Facts(name, class_names, IMAGE_SIZE, ("train", "validation")), None
    if kind == "folder":
        listing = folder.list_folder(path, labels, validation_fraction)
        return Facts(name, listing.class_names, listing.image_size, listing.held()), listing
    if kind == "imagenet_tfrecord" and "://" not in path:
        check_directory(path, name)
        splits = shards_by_split(path, os.listdir(path))
        return Facts(name, of_records(labels), None, splits, labels is None), None
    return None, None


def shards_by_split(directory: str, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The record files of ImageNet in the layout of the TPU codebases, train-00000-of-01024 ... and
    validation-00000-of-00128 ... (of any number), by split, among the `names` in a directory.

    Raises:
      UserError: there are no such files, or shards are missing.
    """
    source = f"imagenet_tfrecord:{directory}"
    totals: dict[str, set[int]] = {}
    found = set()
    for match in filter(None, map(_SHARD.fullmatch, names)):
        totals.setdefault(match[1], set()).add(int(match[3]))
        found.add(match[0])
    if not totals:
        raise UserError(f"{source}: no files named like train-00000-of-01024 or validation-00000-of-00128")
    shards = {}
    for split, counts in totals.items():
        if len(counts) > 1:
            raise UserError(f"{source}: {split} files of several sets, of {sorted(counts)} shards")
        total = counts.pop()
        expected = [f"{split}-{i:05d}-of-{total:05d}" for i in range(total)]
        missing = [name for name in expected if name not in found]
        if missing:
            raise UserError(f"{source}: {len(missing)} of {total} {split} shards missing, first {missing[0]}")
        shards[split] = tuple(os.path.join(directory, name) for name in expected)
    return shards


def of_records(label_file: LabelFile | None) -> tuple[str, ...]:
    """The classes of ImageNet's records, which hold numbers only: without a file a class is called by its label."""
    return label_file.names() if label_file else numbered(IMAGENET_CLASSES)


def calibration_files(name: str) -> list[str] | None:
    """The images of `--calibration_dataset=folder:PATH`, which may be any directory: every one below it, sorted; of a
    training split alone, where there is one. None of another data set.

    Raises:
      UserError: it is not there, or holds no images.
    """
    kind, root = kind_and_path(name)
    if kind != "folder":
        return None
    check_directory(root, f"--calibration_dataset={name}")
    names = folders(root)
    trains = [name for name in names if folder.split_kind(name) == "train"]
    if len(trains) == 1:
        # A class may well be called 'train': a split holds folders, or has but splits beside it.
        top = os.path.join(root, trains[0])
        if folders(top) or all(folder.split_kind(name) for name in names):
            root = top
    paths = [file.path for file in images_below(root)[0]]
    if not paths:
        raise UserError(f"--calibration_dataset={name}: no images there ({', '.join(EXTENSIONS)})")
    return paths
