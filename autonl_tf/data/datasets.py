"""Data sets by name."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import tensorflow as tf

from autonl_tf.data import bad_images, folder, tfrecord
from autonl_tf.data.example_order import IndexedSplit, RecordSplit, divided, of_files
from autonl_tf.data.facts import Facts, kind_and_path, of_records
from autonl_tf.data.labels import LabelFile, class_name, labelled, numbered, read_label_file
from autonl_tf.data.manifest import Entry
from autonl_tf.data.reading import AS_SHOWN, MISSING, UNREADABLE, BadExample, Reading
from autonl_tf.errors import UserError

# Record files up to this size are held in memory, which makes every order and every starting position cheap.
_IN_MEMORY_BYTES = 256 << 20

# Checking fewer images than this is not worth a word.
_MANY_IMAGES = 5000

# What reading a record file raises: a checksum that does not hold, fewer or more records than were counted, a file that
# has gone.
_RECORD_ERRORS = (tf.errors.DataLossError, tf.errors.FailedPreconditionError, tf.errors.NotFoundError)

_log = logging.getLogger(__name__)


class ImageDataset(Facts):
    """An image classification set: class names, and the examples of 'train' and 'validation'.

    A split is opened and its images are checked when it is first used (`check` does it at once): those of a
    folder and of record sets held in memory all are decoded once in parallel. The first image that cannot be
    used raises `UserError` with its name; with `skip_corrupt` all such are left out and listed in
    `left_out`. Larger record sets are checked so with `skip_corrupt` only, since that reads all of them.
    A record that is no example or has a label out of range, and a record file that cannot be read, always raise.
    """

    def __init__(
        self,
        name: str,
        class_names: Sequence[str],
        image_size: int | None,
        openers: dict[str, Callable[[], IndexedSplit | RecordSplit]],
        skip_corrupt: bool = False,
        classes_are_numbered: bool = False,
        files: dict[str, list[folder.LabelledFile]] | None = None,
        entries: dict[str, list[Entry]] | None = None,
        reading: Reading = AS_SHOWN,
    ):
        super().__init__(name, class_names, image_size, openers.keys(), classes_are_numbered)
        self.reading = reading
        self.left_out: dict[str, list[BadExample]] = {}
        self._openers = openers
        self._files = files or {}
        self._entries = entries or {}
        self._known: dict[tuple[str, int, int], str] = {}
        self._decode = True
        self._skip_corrupt = skip_corrupt
        self._least_side = 1
        self._splits: dict[str, IndexedSplit | RecordSplit] = {}

    def faults(self) -> dict[str, dict[str, dict[str, int]]]:
        """How many images of each fault have been left out of each split used so far, see `bad_images.count_faults`."""
        return {split: bad_images.count_faults(examples) for split, examples in self.left_out.items()}

    def size(self, split: str) -> int:
        """The number of (good) examples of 'train' or 'validation'; 0 where the data has no such split."""
        return self.split(split).size if self.has(split) else 0

    def files(self, split: str) -> list[str] | None:
        """The image files of a split, unchecked; None where the data is no class folder."""
        return [file.path for file in self._files[split]] if split in self._files else None

    def listed(self, *splits: str) -> list[Entry]:
        """The files of splits as they are, unchecked."""
        return [entry for split in splits for entry in self._entries.get(split, ())]

    def entries(self, *splits: str) -> list[Entry]:
        """The files of splits that have been used, with what was found wrong with them."""
        found = []
        for split in splits:
            passing = (UNREADABLE, MISSING)  # which may be otherwise the next time
            faults = {e.position: None if e.reason in passing else e.reason for e in self.left_out.get(split, ())}
            for position, entry in enumerate(self._entries.get(split, ())):
                known = self._known.get(_key(entry)) if not self._decode else ""
                found.append(entry._replace(fault=faults.get(position, known)))
        return found

    def check(
        self,
        *splits: str,
        least_side: int = 1,
        known: dict[tuple[str, int, int], str] | None = None,
        decode: bool = True,
    ) -> None:
        """Opens splits and checks their images now; one with a side below `least_side` pixels is a bad one.

        Files of a class folder whose faults are `known` (see `Manifest.faults`) are not decoded; without `decode` none
        are, nor looked at.

        Raises `UserError` when one is absent or empty, or has a bad image (unless those are skipped).
        """
        opened = [split for split in splits if split in self._splits]
        if least_side != self._least_side and opened:
            raise ValueError(f"{opened} were checked before, for a least side of {self._least_side}")
        self._least_side, self._known, self._decode = least_side, known or {}, decode
        for split in splits:
            self.split(split)

    def examples(self, split: str, *, shuffle_seed: int | None = None, epoch: int = 0) -> tf.data.Dataset:
        """One epoch of {image: string, label: int32, name: string}, in natural or in the epoch's order."""
        stream = self.split(split).once(shuffle_seed, epoch)
        return stream.elements.map(lambda *element: stream.load(*element)[1])

    def split(self, split: str) -> IndexedSplit | RecordSplit:
        """The checked examples of a split, for `batches`."""
        if split not in self._splits:
            self.require(split)
            self._splits[split] = self._checked(split, self._openers[split]())
        return self._splits[split]

    def tested(self, share: float | None, seed: int) -> tuple[ImageDataset, ImageDataset | None]:
        """This set, and a copy whose validation images are to be scored once: a random `share` of its own, which this
        set is then without, or those of 'test'; None where there are neither. Raises as `divided`."""
        if share or not self.has("test"):
            return self.divided(share, seed, "validation") if share else (self, None)
        copied = copy.copy(self)
        copied._splits = {**self._splits, "validation": self.split("test")}
        return self, copied

    def divided(self, share: float, seed: int, of: str = "train") -> tuple[ImageDataset, ImageDataset]:
        """This set twice: images of a split without, and with, a random `share` of them alone. Raises `UserError` for a
        part without images, and for record files too large to be held in memory."""
        examples = self.split(of)
        if not isinstance(examples, IndexedSplit):
            raise UserError(
                f"{self.name}: its record files are too large to hold out a part of their images; accepted: class "
                f"folders, and record files up to {_IN_MEMORY_BYTES >> 20} MiB"
            )
        parts = divided(examples, share, seed)
        if not all(part.size for part in parts):
            raise UserError(f"{self.name}: {share:g} of {examples.size} {of} images leaves a part without any")
        copies = (copy.copy(self), copy.copy(self))
        for mine, part in zip(copies, parts, strict=True):
            mine._splits = {**self._splits, of: part}
        return copies

    def find_bad(self, split: str) -> str | None:
        """Decodes a whole split and names its first bad image with the reason, if there is one.

        For the error message of a run that has met one in a record set too large to be checked beforehand.
        """
        examples = self.split(split)
        found = self._decode_all(examples, first_only=True)
        return found[0].told(self.reading) if found else None

    def _checked(self, split: str, examples: IndexedSplit | RecordSplit) -> IndexedSplit | RecordSplit:
        if not examples.size:
            raise UserError(f"{self.name}: it has no {split} images")
        if not (isinstance(examples, IndexedSplit) or self._skip_corrupt) or not self._decode:
            return examples
        found = self._find_bad(split, examples)
        if not found:
            return examples
        if not self._skip_corrupt:
            raise UserError(f"{found[0].told(self.reading)} (--skip_corrupt leaves it out)")
        bad_images.tell(found, self.reading)
        self.left_out[split] = found
        if len(found) == examples.size:
            first = found[0].told(self.reading)
            raise UserError(f"{self.name}: none of {len(found)} {split} images can be used; the first: {first}")
        if split == "train":
            self._check_classes_left({example.position for example in found})
        return _without(examples, found)

    def _check_classes_left(self, bad: set[int]) -> None:
        """Raises UserError for a class folder whose training images are all bad."""
        labels = [file.label for file in self._files.get("train", ())]
        counts, left = Counter(labels), {label for position, label in enumerate(labels) if position not in bad}
        if lost := counts.keys() - left:
            named, count = self.class_names[min(lost)], counts[min(lost)]
            raise UserError(f"{self.name}: class {named!r} has no image left to train on: none of {count} can be used")

    def _find_bad(self, split: str, examples: IndexedSplit | RecordSplit) -> list[BadExample]:
        """What cannot be used of a split, as is known, or found by decoding what is not; if none may be skipped, the
        first at least."""
        files, numbers, found = self._files.get(split), None, []
        if files is not None and self._known:
            faults = [self._known.get(_key(entry)) for entry in self._entries[split]]
            found = [BadExample(i, files[i].path, fault) for i, fault in enumerate(faults) if fault]
            numbers = [i for i, fault in enumerate(faults) if fault is None]
            if not numbers:
                return found
            examples = examples.taking(numbers)
        if examples.size >= _MANY_IMAGES:
            _log.info("%s: decoding %d %s images once, to find bad ones", self.name, examples.size, split)
        for example in self._decode_all(examples, first_only=not self._skip_corrupt):
            found.append(example if numbers is None else example._replace(position=numbers[example.position]))
        return sorted(found)

    def _decode_all(self, examples: IndexedSplit | RecordSplit, first_only: bool) -> list[BadExample]:
        with _telling(self.name, examples):
            return bad_images.find_bad(examples.once(), examples.size, first_only, self._least_side, self.reading)


def open_dataset(
    name: str,
    *,
    data_dir: str | None = None,
    label_file: str | None = None,
    validation_fraction: float = 0.1,
    skip_corrupt: bool = False,
    images_only: bool = False,
    reading: Reading = AS_SHOWN,
    listing: folder.Listing | None = None,
) -> ImageDataset:
    """Opens a data set by name.

    `demo`, `demo:texture`, `demo:shapes` (built in; made in `data_dir` when first used), `folder:PATH`,
    `tfds:NAME` (prepared in `data_dir`), `imagenet_tfrecord:PATH`. Class names are the data's own, or those of
    `label_file` in its order (then each of the data's must be among them). `validation_fraction` applies
    where the data has a single split. With `images_only` labels are not read, and need not be there, where the data is
    records: all are 0. `listing` is what `folder.list_folder` has found, where that was done before.

    Raises `UserError` for a name, directory, label file or set that cannot be used.
    """
    if not 0 <= validation_fraction <= 1:
        raise UserError(f"validation_fraction {validation_fraction}: expected a number from 0 to 1")
    labels = read_label_file(label_file) if label_file else None
    make = functools.partial(ImageDataset, skip_corrupt=skip_corrupt, reading=reading)
    kind, rest = kind_and_path(name)
    if kind == "folder":
        return _open_folder(make, name, rest, listing or folder.list_folder(rest, labels, validation_fraction))
    if kind == "imagenet_tfrecord":
        return _open_imagenet(make, name, rest, labels, images_only)
    from autonl_tf.data import tfds_source  # TensorFlow Datasets, which the others do without

    if kind == "demo":
        from autonl_tf.data.demo import AutonlDemo

        builder = AutonlDemo(config=rest, data_dir=data_dir)
        tfds_source.prepare(builder, name)
    else:
        builder = tfds_source.load_builder(rest, data_dir)
    return _open_builder(make, name, builder, labels, validation_fraction, images_only)


def _open_folder(make: Callable[..., ImageDataset], name: str, root: str, listing: folder.Listing) -> ImageDataset:
    class_names, splits = listing.class_names, listing.splits
    for level, text in listing.notes:
        _log.log(level, "%s", text)

    def opener(split: str) -> IndexedSplit:
        return of_files([file.path for file in splits[split]], [file.label for file in splits[split]])

    openers = {split: functools.partial(opener, split) for split in listing.held()}
    return make(name, class_names, listing.image_size, openers, files=splits, entries=listing.entries(root))


def _key(entry: Entry) -> tuple[str, int, int]:
    return entry.name, entry.size, entry.time


def _open_builder(
    make: Callable[..., ImageDataset],
    name: str,
    builder,
    label_file: LabelFile | None,
    validation_fraction: float,
    images_only: bool,
) -> ImageDataset:
    from autonl_tf.data import tfds_source

    keys = tfds_source.image_and_label(builder, name, images_only)
    if images_only:
        class_names, labels = numbered(1), [0]
    else:
        own_names = [class_name(text, name) for text in builder.info.features[keys[1]].names]
        if twice := [text for text, count in Counter(own_names).items() if count > 1]:
            raise UserError(f"{name}: several classes have the name {twice[0]!r}")
        if len(own_names) < 2:
            raise UserError(f"{name}: only one class, {own_names[0]!r}; at least two are needed")
        class_names, labels = labelled(own_names, name, label_file)

    def opener(instruction: str) -> IndexedSplit | RecordSplit:
        return _held(name, tfds_source.tfds_split(builder, name, instruction, keys, labels))

    instructions = tfds_source.split_instructions(builder, name, validation_fraction, keys, labels)
    openers = {
        split: functools.partial(opener, instruction)
        for split, instruction in instructions.items()
        if builder.info.splits[instruction].num_examples
    }
    version = builder.info.full_name
    entries = {
        split: [Entry(split, f"{version}: {instruction}", builder.info.splits[instruction].num_examples, 0, "")]
        for split, instruction in instructions.items()
    }
    side = tfds_source.square_side(builder, keys[0])
    return make(name, class_names, side, openers, entries=entries)


def _open_imagenet(
    make: Callable[..., ImageDataset], name: str, directory: str, label_file: LabelFile | None, images_only: bool
) -> ImageDataset:
    shards = tfrecord.list_imagenet_shards(directory)
    class_names = of_records(label_file)

    def opener(split: str) -> IndexedSplit | RecordSplit:
        return _held(name, tfrecord.imagenet_split(shards[split], split, None if images_only else len(class_names)))

    openers = {split: functools.partial(opener, split) for split in shards}
    entries = {
        split: [Entry(split, os.path.basename(file), tf.io.gfile.stat(file).length, 0, "") for file in files]
        for split, files in shards.items()
    }
    return make(name, class_names, None, openers, classes_are_numbered=label_file is None, entries=entries)


def _held(name: str, records: RecordSplit) -> IndexedSplit | RecordSplit:
    """The records, in memory where their files are small."""
    if sum(tf.io.gfile.stat(file.path).length for file in records.files) > _IN_MEMORY_BYTES:
        return records
    with _telling(name, records, small=True):
        return records.in_memory()


def _without(examples: IndexedSplit | RecordSplit, found: list[BadExample]) -> IndexedSplit | RecordSplit:
    """The examples but those that have been found to be bad."""
    if isinstance(examples, RecordSplit):
        return replace(examples, bad=tuple(example.name for example in found))
    bad = {example.position for example in found}
    return examples.taking([index for index in range(examples.size) if index not in bad])


@contextlib.contextmanager
def _telling(name: str, examples: IndexedSplit | RecordSplit, small: bool = False) -> Iterator[None]:
    """Turns what reading records raises into a line about a file, or about a record without the features or with a
    label out of range. All of the `small` ones are read again to name a record."""
    try:
        yield
    except _RECORD_ERRORS as error:
        files = examples.files if isinstance(examples, RecordSplit) else ()
        raise UserError(tfrecord.first_unreadable(files) or tfrecord.told(name, error)) from error
    except tf.errors.InvalidArgumentError as error:
        told = " ".join(error.message.split())
        # What a failed assertion says: "... assertion failed: [words] [record] [label] [[node]]".
        if found := re.search(r"assertion failed: ((?:\[[^\[\]]*\] ?)+)", told):
            told = " ".join(re.findall(r"\[(?!Op:)([^\[\]]*)\]", found[1]))
        elif small and (found := tfrecord.first_unparsed(examples)):
            told = found
        raise UserError(f"{name}: bad record: {told}") from error
