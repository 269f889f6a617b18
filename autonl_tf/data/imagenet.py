"""ImageNet's 1000 classes, ILSVRC 2012's, in label order: their synsets (WordNet's numbers) and their names.

A class is known by its synset, as in ImageNet's folders: two names, crane and maillot, stand for two classes each.
"""

from __future__ import annotations

import functools
import pathlib

NAME = "imagenet"  # by which --label_file and decode_predictions know these classes


@functools.cache
def classes() -> dict[str, str]:
    """Synset to name, in label order."""
    lines = (pathlib.Path(__file__).parent / "imagenet.tsv").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines)


def synsets() -> tuple[str, ...]:
    return tuple(classes())


def names() -> tuple[str, ...]:
    return tuple(classes().values())


def titled(class_name: str) -> str:
    """What to show for a class: `n02123045 tabby` for the synset n02123045, any other class name as it is."""
    name = classes().get(class_name)
    return f"{class_name} {name}" if name else class_name


def untitled(title: str) -> str:
    """The class that `titled` gives this title."""
    synset = title.partition(" ")[0]
    return synset if titled(synset) == title else title
