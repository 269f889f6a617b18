"""Which images of a set are used, which were left out and why: lines for people, and the files `data.txt` and
`skipped.json` of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from autonl_tf.data import manifest
from autonl_tf.data.datasets import ImageDataset

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
        split: {**faults, "images": {example.name: example.reason for example in dataset.left_out[split]}}
        for split, faults in dataset.faults().items()
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {fault}" for fault, count in counts.items())
