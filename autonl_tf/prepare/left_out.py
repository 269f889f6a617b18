"""Tells which images of a dataset are used or left out, and why; writes a run's `data.txt`, `skipped.json` and
`manifest.jsonl`, by which a resumed run keeps its images."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import PIL

from autonl_tf.data import images, manifest
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.data.reading import Reading
from autonl_tf.engine.rundir import versions
from autonl_tf.errors import first_line
from autonl_tf.files import write_text
from autonl_tf.plain_text import shown
from autonl_tf.settings.config import Config
from autonl_tf.settings.shared import FIT
from autonl_tf.streams import say

# As `data.bad_images.count_faults` counts them.
Faults = dict[str, dict[str, int]]
NONE: Faults = {"corrupt": {}, "not_read": {}}


def data_text(dataset: ImageDataset, name: str, splits: Sequence[str]) -> str:
    """data.txt: the data's name; how many images each split has, and how many of which fault were left out."""
    faults = dataset.faults()
    lines = [f"{split} {dataset.size(split)} images{_words(faults.get(split, NONE))}" for split in splits]
    lines.append(f"digest of names, sizes and classes {manifest.digest(dataset.listed(*splits))}")
    return "".join(f"{line}\n" for line in (name, *lines))


def lines(where: str, faults: dict[str, Faults]) -> Iterator[str]:
    """How many images were left out, by part (a split, say) and fault: first the corrupt ones, then those not read."""
    for group, what in (("corrupt", "corrupt images"), ("not_read", "images that are not read,")):
        found = {part: groups[group] for part, groups in faults.items() if groups[group]}
        if found:
            count = sum(sum(counts.values()) for counts in found.values())
            parts = "; ".join(f"{part}: {_counted(counts)}" for part, counts in found.items())
            yield f"left out {count} {what} of {where} ({parts})"


def _words(faults: Faults) -> str:
    corrupt, not_read = _counted(faults["corrupt"]), _counted(faults["not_read"])
    return f", left out {corrupt}" * bool(corrupt) + f", not read {not_read}" * bool(not_read)


def skipped_text(dataset: ImageDataset) -> str:
    """skipped.json: of each split, how many images of each fault were left out, `corrupt` and `not_read`, and which."""
    report = {
        split: {**faults, "images": {shown(example.name): example.reason for example in dataset.left_out[split]}}
        for split, faults in dataset.faults().items()
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {fault}" for fault, count in counts.items())


def known_faults(
    config: Config, dataset: ImageDataset, splits: Sequence[str], least_side: int
) -> dict[tuple[str, int, int], str]:
    """What the manifest of `--model_dir` knows of images, for `ImageDataset.check`; nothing with --check_images=full.

    Raises:
      UserError: a run that goes on there began with other files.
    """
    record = _read(config.model_dir)
    if record is None:
        return {}
    if config.mode in FIT:
        before, now = [entry for entry in record.entries if entry.split in splits], dataset.listed(*splits)
        manifest.check_same(config.model_dir, before, now)
        times = {entry.name: entry.time for entry in before}
        if touched := [entry.name for entry in now if entry.time != times[entry.name]]:
            say(f"images written since the run began, their sizes as before: {len(touched)}, {touched[0]} first")
    return record.faults(_checked_by(least_side, dataset.reading)) if config.check_images == "new" else {}


def seen_by_run(directory: pathlib.Path | None, dataset: ImageDataset, split: str) -> Counter[str]:
    """How many of the images of `split` each split of the run in `directory` has: files by name (in the data's or a
    split's directory), size and class, those of TensorFlow Datasets by their places in the set's own split."""
    record, now = _read(directory and str(directory)), dataset.listed(split)
    entries = record.entries if record else ()
    before = {(name, e.size, e.label): e.split for e in entries for name in (e.name.partition("/")[2], e.name)}
    keys = [(entry.name, entry.size, entry.label) for entry in now if entry.label]
    seen = Counter(before[key] for key in keys if key in before)
    for entry, other in itertools.product(*(filter(_of_tfds, of_one) for of_one in (now, entries))):
        (source, places), (other_source, others) = _places(entry), _places(other)
        both = range(max(places.start, others.start), min(places.stop, others.stop))
        seen[other.split] += len(both) if source == other_source else 0
    return seen


def tell_share(config: Config, seen: Counter[str], directory: pathlib.Path | None, dataset: ImageDataset) -> None:
    """Says that a part of a class folder without splits is scored, where the run in `directory` has used none of its
    images: none of those scored, by `seen`, and none of the rest."""
    listing = config.listing
    if listing is None or len(listing.directories) > 1 or "validation_fraction" in config.given:
        return
    if any(seen.values()) or any(seen_by_run(directory, dataset, "train").values()):
        return
    if train := len(listing.splits["train"]):
        scored = len(listing.splits["validation"])
        say(f"note: {scored} of the {scored + train} images are scored; --validation_fraction=1 scores all")


def _of_tfds(entry: manifest.Entry) -> bool:
    return not entry.label and ": " in entry.name


def _places(entry: manifest.Entry) -> tuple[str, range]:
    """`cifar10/3.0.2: train[45000:]` of 5,000 images to `cifar10/3.0.2: train` and 45,000 to 50,000."""
    source, _, part = entry.name.partition("[")
    start = int(part.partition(":")[0] or 0)
    return source, range(start, start + entry.size)


def trained_on(seen: Counter[str], dataset: ImageDataset, split: str) -> str | None:
    """Warns of, and returns, how many of the images of `split` `seen_by_run` found trained on; None: none."""
    if not seen["train"]:
        return None
    said = f"{seen['train']} of these {dataset.size(split)} images are among those that the run was trained on"
    say(f"warning: {shown(dataset.name)}: {said}; the score is too high (use the run's --validation_fraction)")
    return said


def write_manifest(config: Config, dataset: ImageDataset, splits: Sequence[str], directory: pathlib.Path) -> None:
    """Writes the manifest of a run of a resolved config into its directory."""
    least_side = images.least_side(config.input_image_size, config.crop_padding)
    record = manifest.Manifest(tuple(dataset.entries(*splits)), _checked_by(least_side, dataset.reading))
    write_text(directory / manifest.NAME, record.text())


def _checked_by(least_side: int, reading: Reading) -> dict[str, Any]:
    """What the faults that are found depend on."""
    made_by = versions()
    programs = {name: made_by[name] for name in ("autonl_tf", "tensorflow")} | {"pillow": PIL.__version__}
    return {**programs, "least_side": least_side, **dataclasses.asdict(reading)}


def _read(directory: str | None) -> manifest.Manifest | None:
    """A run directory's record of its images; a damaged one is told, and is none."""
    try:
        return manifest.read(directory)
    except ValueError as error:
        say(f"{directory}/{manifest.NAME}: damaged ({first_line(error)}): all images are checked anew")
        return None
