"""Image folders: one folder a class, directly or under train/ and val/ (or validation/, or test/)."""

from __future__ import annotations

import hashlib
import logging
import os
import unicodedata
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from autonl_tf.data.labels import LabelFile, new_labels
from autonl_tf.data.splits import Example, IndexedSplit
from autonl_tf.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
VALIDATION_NAMES = ("val", "validation", "test")  # the first that exists is taken

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledFiles:
    """Files in sorted order and the label of each."""

    paths: tuple[str, ...]
    labels: tuple[int, ...]

    def without(self, positions: set[int]) -> LabelledFiles:
        """The same list without the files at some positions."""
        kept = [i for i in range(len(self.paths)) if i not in positions]
        return LabelledFiles(tuple(self.paths[i] for i in kept), tuple(self.labels[i] for i in kept))

    def split(self) -> IndexedSplit:
        """Random access to the encoded files."""
        paths = tf.constant([os.fsencode(path) for path in self.paths], tf.string)
        labels = tf.constant(np.array(self.labels, np.int32))

        def fetch(index: tf.Tensor) -> Example:
            path = tf.gather(paths, index)
            return {"image": tf.io.read_file(path), "label": tf.gather(labels, index), "name": path}

        return IndexedSplit(len(self.paths), fetch, lambda index: tf.gather(paths, index))


def list_folder(
    root: str,
    label_file: LabelFile | None = None,
    validation_fraction: float = 0.1,
) -> tuple[tuple[str, ...], dict[str, LabelledFiles]]:
    """Lists an image folder: class names and the files of 'train' and 'validation'.

    With train/ and one of val/, validation/, test/ these are the splits; with only the latter, 'train' is
    empty. Otherwise a file belongs to the validation split when the hash of its name (relative to the class
    folders) is below `validation_fraction`: adding files never moves others. Labels follow the sorted class
    folder names, or the label file.

    Raises `UserError` for a missing directory, one without images, with a single class, with a class folder
    the label file does not name, a class to validate on that has no training folder, or images that are in no
    class folder.
    """
    if "://" in root:
        raise UserError(f"folder:{root}: expected a local directory")
    if not os.path.isdir(root):
        raise UserError(f"folder:{root}: no such directory")
    split_folders = _split_folders(root)
    found = {split: _class_files(path) for split, path in split_folders.items()}
    own_names = sorted({name for classes in found.values() for name in classes})
    _check_classes(root, own_names, found)
    for name in own_names:
        if not _is_text(name):
            raise UserError(f"folder:{root}: the name of the class folder {name!r} is not UTF-8")
    if label_file is None and "train" in found:
        for name in sorted(set(found.get("validation", ())) - set(found["train"])):
            raise UserError(f"{split_folders['validation']}: no training folder for class {name!r}")
    class_names = label_file.names(own_names) if label_file else tuple(own_names)
    labels = new_labels(own_names, class_names, f"folder:{root}", label_file)
    label_of = dict(zip(own_names, labels, strict=True))

    def listed(split: str) -> list[tuple[str, str, int]]:
        base = split_folders[split]
        classes = sorted(found[split].items())
        return [(os.path.join(base, f), f, label_of[name]) for name, files in classes for f in files]

    if "validation" in found:
        files = {"validation": listed("validation"), "train": listed("train") if "train" in found else []}
    else:
        files = _split_by_hash(listed("train"), validation_fraction)
    return class_names, {split: _labelled(rows) for split, rows in files.items()}


def _labelled(rows: list[tuple[str, str, int]]) -> LabelledFiles:
    return LabelledFiles(tuple(path for path, _, _ in rows), tuple(label for _, _, label in rows))


def _split_folders(root: str) -> dict[str, str]:
    """The directory of each split; without split folders all is 'train', to be divided later.

    A folder counts as a split when it holds folders: a class may well be called 'train'.
    """
    holds_folders = {name for name in _folders(root) if _folders(os.path.join(root, name))}
    splits = {}
    if "train" in holds_folders:
        splits["train"] = os.path.join(root, "train")
    for name in VALIDATION_NAMES:
        if name in holds_folders:
            splits["validation"] = os.path.join(root, name)
            break
    if not splits:
        return {"train": root}
    others = sorted(set(_folders(root)) - {os.path.basename(path) for path in splits.values()})
    if others:
        used = ", ".join(f"{os.path.basename(path)}/" for path in splits.values())
        _log.warning("folder:%s: using %s; not used: %s", root, used, ", ".join(others))
    return splits


def _class_files(base: str) -> dict[str, list[str]]:
    """The image files of each class folder, relative to `base`, sorted."""
    with os.scandir(base) as entries:
        loose = [entry.name for entry in entries if entry.is_file() and _is_image(entry.name)]
    if loose and _folders(base):
        raise UserError(f"folder:{base}: {min(loose)} is in no class folder")
    return {name: _images_below(base, name) for name in _folders(base)}


def _images_below(base: str, class_name: str) -> list[str]:
    files, others = [], 0
    directories = [os.path.join(base, class_name)]
    seen = {os.path.realpath(directories[0])}
    while directories:
        with os.scandir(directories.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name)):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    # A link may lead back to a directory that holds it.
                    if (real := os.path.realpath(entry.path)) not in seen:
                        seen.add(real)
                        directories.append(entry.path)
                elif _is_image(entry.name):
                    _refuse_special(entry)
                    files.append(os.path.relpath(entry.path, base))
                else:
                    others += 1
    if others:
        _log.warning("%s: %d files left out, not named as images", os.path.join(base, class_name), others)
    return sorted(files)


def _refuse_special(entry: os.DirEntry) -> None:
    """Raises `UserError` for a pipe, socket or device, which could be waited on for ever.

    A link to nothing passes: it is found among the files that cannot be read.
    """
    if not entry.is_file() and os.path.exists(entry.path):
        raise UserError(f"{entry.path}: named as an image but not a regular file")


def _check_classes(root: str, names: list[str], found: dict[str, dict[str, list[str]]]) -> None:
    accepted = f"expected class folders with images ({', '.join(EXTENSIONS)})"
    filled = {name for classes in found.values() for name, files in classes.items() if files}
    if not filled:
        raise UserError(f"folder:{root}: no images in class folders; {accepted}")
    empty = sorted(set(names) - filled)
    if empty:
        raise UserError(f"folder:{root}: class folder {empty[0]!r} has no images; {accepted}")
    if len(filled) == 1:
        raise UserError(f"folder:{root}: only one class, {names[0]!r}; at least two are needed")


def _split_by_hash(
    rows: list[tuple[str, str, int]], validation_fraction: float
) -> dict[str, list[tuple[str, str, int]]]:
    shares = [_hash_share(relative) for _, relative, _ in rows]
    chosen = {i for i, share in enumerate(shares) if share < validation_fraction}
    # A handful of files may all fall on one side; neither split is left empty unless asked for.
    if not chosen and validation_fraction > 0 and len(rows) > 1:
        chosen = {min(range(len(rows)), key=shares.__getitem__)}
    elif len(chosen) == len(rows) and validation_fraction < 1:
        chosen.remove(max(range(len(rows)), key=shares.__getitem__))
    return {
        "train": [row for i, row in enumerate(rows) if i not in chosen],
        "validation": [row for i, row in enumerate(rows) if i in chosen],
    }


def _hash_share(relative_path: str) -> float:
    """A number in [0, 1) from the file's name alone, the same on every system."""
    name = unicodedata.normalize("NFC", relative_path.replace(os.sep, "/"))
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _folders(path: str) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _is_text(name: str) -> bool:
    """Whether a file's name is UTF-8: other bytes come as surrogates, which cannot be written."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)
