"""Image folders: one folder a class, directly or within those of splits (train/ and val/, Training/ and Testing/)."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import itertools
import logging
import math
import os
import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from autonl_tf.data.labels import LabelFile, class_name, labelled
from autonl_tf.data.manifest import Entry
from autonl_tf.data.tree import EXTENSIONS, ImageFile, check_directory, folders, images_below, images_in
from autonl_tf.errors import UserError, listed

# What a word of a split's name says, the word in lower case.
_WORDS = {
    "train": re.compile(r"(train(ing|val)?|trn)(set|data|images?|imgs?|split)?"),
    "validation": re.compile(
        r"(val(id(ation)?)?|dev(el(opment)?)?|eval(uation)?|holdout)(set|data|images?|imgs?|split)?"
    ),
    "test": re.compile(r"(test(ing)?|tst)(set|data|images?|imgs?|split)?"),
}
# Words that say no more than that there are images.
_FILLERS = frozenset(("set", "data", "dataset", "image", "images", "imgs", "pictures", "photos", "split", "folder"))
# What folders are called that hold images beside what is known of them, in lower case.
_IMAGES = frozenset(("image", "images", "img", "imgs", "jpegimages", "photos", "pictures", "rgb"))
_ANNOTATIONS = frozenset(
    (
        *("annotation", "annotations", "bbox", "bboxes", "depth", "ground_truth", "groundtruth", "gt", "label"),
        *("labels", "mask", "masks", "segmentation", "segmentations", "segmentationclass", "segmentationobject"),
        "trimaps",
    )
)
_NAMED = 5  # at most so many names of a list are shown
_COMPARED = 100  # at most so many files are compared byte by byte
_SIZES_READ = 100  # at most, of so many images the size is read
_SIZED = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


class LabelledFile(NamedTuple):
    """An `ImageFile` and its label."""

    path: str
    size: int
    time: int
    label: int


class Listing(NamedTuple):
    """What an image folder holds: its class names in label order and the files of each split, sorted; the directories
    that hold the class folders; what there is to tell of it, each text with its logging level; and the side in pixels
    of its images where all that were looked at are squares of one size, else None."""

    class_names: tuple[str, ...]
    splits: dict[str, list[LabelledFile]]
    directories: list[str]
    notes: list[tuple[int, str]]
    image_size: int | None

    def entries(self, root: str) -> dict[str, list[Entry]]:
        """The files of each split for a manifest, named relative to `root`."""
        start = len(os.path.join(root, ""))

        def entry(split: str, file: LabelledFile) -> Entry:
            name = os.fsencode(file.path[start:]).decode(errors="surrogateescape")  # in UTF-8, whatever the locale says
            return Entry(split, name, file.size, file.time, self.class_names[file.label])

        return {split: [entry(split, file) for file in files] for split, files in self.splits.items()}

    def held(self) -> list[str]:
        return [split for split, files in self.splits.items() if files]


def split_kind(name: str) -> str | None:
    """'train', 'validation' or 'test' for a folder of a usual name: Training, val, seg_test, train_images, devSet."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    kinds = [next((kind for kind, word_of in _WORDS.items() if word_of.fullmatch(word)), None) for word in words]
    if len(set(filter(None, kinds))) != 1:
        return None
    return kinds[-1] or (kinds[0] if set(words[1:]) <= _FILLERS else None)


def list_folder(
    root: str,
    label_file: LabelFile | None = None,
    validation_fraction: float = 0.1,
) -> Listing:
    """Lists an image folder: class names and the files of 'train', 'validation' and, where there is one, 'test'.

    Where there are folders of splits (see `split_kind`) that hold folders, these are the splits: a lone test folder is
    the validation split; with no folder to train on, 'train' is empty. Otherwise a file belongs to the validation split
    when the hash of its name (relative to the class folders) is below `validation_fraction`: adding files never moves
    others, but of each class an image is left to train on. Labels follow the sorted class names, or the label file.

    Raises `UserError` for a missing directory, one without images, with a single class, with a class folder
    the label file does not name, a class without training images, images that are in no class folder, a name that
    `class_name` refuses, and folders that look like something else than classes.
    """
    if "://" in root:
        raise UserError(f"folder:{root}: expected a local directory")
    check_directory(root, f"folder:{root}")
    notes: list[tuple[int, str]] = []
    bases = _split_folders(root, notes)
    found = _class_files(root, bases, notes)
    own_names = sorted({name for classes in found.values() for name in classes})
    _check_classes(root, own_names, found, named=label_file is not None)
    notes += _alike(root, own_names)
    class_names, labels = labelled(own_names, f"folder:{root}", label_file)
    label_of = dict(zip(own_names, labels, strict=True))

    def of_split(split: str) -> list[LabelledFile]:
        classes = sorted(found.get(split, {}).items())
        return [LabelledFile(*file, label_of[name]) for name, files in classes for file in files]

    if "validation" in found:
        splits = {"validation": of_split("validation"), "train": of_split("train")}
    else:
        splits = _split_by_hash(of_split("train"), bases["train"], validation_fraction)
    if "test" in found:
        splits["test"] = of_split("test")
    notes += [*_counted(root, class_names, splits), *_trained_on(root, splits)]
    return Listing(class_names, splits, list(bases.values()), notes, _square_side(splits))


def _split_folders(root: str, notes: list[tuple[int, str]]) -> dict[str, str]:
    """The directory of each split; without split folders all is 'train', to be divided later.

    A folder counts as a split when it holds folders: a class may well be called 'train'.
    """
    names = folders(root)
    by_kind: dict[str, list[str]] = {}
    for name in names:
        if (kind := split_kind(name)) and folders(os.path.join(root, name)):
            by_kind.setdefault(kind, []).append(name)
    if not by_kind:
        if names and all(map(split_kind, names)):
            raise UserError(f"folder:{root}: {_listed(names, '/')} are splits without class folders in them")
        _refuse_hidden_splits(root, names)
        return {"train": root}
    for kind, of_kind in by_kind.items():
        if len(of_kind) > 1:
            raise UserError(f"folder:{root}: {_listed(of_kind, '/')} are all for {kind}; accepted: one folder a split")
    if "validation" not in by_kind and "test" in by_kind:
        by_kind["validation"] = by_kind.pop("test")
    used = {split: by_kind[split][0] for split in ("train", "validation", "test") if split in by_kind}
    others = [name for name in names if name not in used.values()]
    if len(used) == 1:
        (split,) = used.values()
        for name in others:
            if not split_kind(name) and images_below(os.path.join(root, name))[0]:
                raise UserError(
                    f"folder:{root}: {split}/ holds folders, as a split does, and {name}/ beside it holds images, as a "
                    f"class does; give folder:{os.path.join(root, split)} if the classes are in there, or rename "
                    f"{split}/ if it is a class"
                )
    left = [*(f"{name}/" for name in others), *images_in(root)]
    said = ", ".join(f"{name}/ for {split}" for split, name in used.items())
    notes.append((logging.INFO, f"folder:{root}: {said}{f'; not used: {_listed(left)}' if left else ''}"))
    return {split: _innermost(os.path.join(root, name)) for split, name in used.items()}


def _innermost(base: str) -> str:
    """The inner folder of a split that was unpacked into one of its own name: seg_train/seg_train/."""
    while len(names := folders(base)) == 1 and not images_in(base):
        inner = os.path.join(base, names[0])
        if split_kind(names[0]) != split_kind(os.path.basename(base)) or not folders(inner):
            break
        base = inner
    return base


def _refuse_hidden_splits(root: str, names: list[str]) -> None:
    """Raises UserError where most of the folders hold nothing but folders, of the same names: these are the classes."""
    holding = {name: inner for name in names if (inner := _inside(os.path.join(root, name)))}
    if len(holding) < 2 or 2 * len(holding) <= len(names):
        return
    shared = sorted(set.intersection(*holding.values()))
    if len(shared) < 2:
        return
    said = f"folder:{root}: {_listed(sorted(holding), '/')} all hold {_listed(shared, '/')}"
    if all(split_kind(name) for name in shared):
        raise UserError(f"{said}: the splits are within the classes; accepted: the classes within train/ and val/")
    raise UserError(
        f"{said}: these look like the classes, and the folders that hold them like splits or sources; accepted: class "
        "folders, alone or within train/ and val/"
    )


def _inside(path: str) -> set[str]:
    """The folders that a directory without images holds; instead of a single one what that holds: amazon/images/."""
    names = set() if images_in(path) else set(folders(path))
    for name in names if len(names) == 1 else ():
        inner = os.path.join(path, name)
        return (not os.path.islink(inner) and _inside(inner)) or names
    return names


def _class_files(
    root: str, bases: dict[str, str], notes: list[tuple[int, str]]
) -> dict[str, dict[str, list[ImageFile]]]:
    """The images of each class of each split; folders whose names are spellings of one are one class."""
    found: dict[str, dict[str, list[ImageFile]]] = {}
    visited: dict[str, str] = {}
    for split, base in bases.items():
        names, loose = folders(base), images_in(base)
        if loose and names:
            raise UserError(f"folder:{base}: {loose[0]} is in no class folder")
        if loose:
            raise UserError(f"folder:{root}: no images in class folders; {base} holds images, {loose[0]} first")
        classes = found[split] = {}
        for folder in names:
            top = os.path.join(base, folder)
            name = class_name(_text(folder, root), f"folder:{root}")
            images, others = images_below(top, visited, above=(root, base))
            if others:
                files = "a file" if len(others) == 1 else f"{len(others)} files"
                notes.append((logging.WARNING, f"{top}: {files} left out, not named as images ({_listed(others)})"))
            classes[name] = sorted(classes.get(name, []) + images)
    return found


def _text(folder: str, root: str) -> str:
    """A folder's name, which is UTF-8 whatever the locale says."""
    try:
        return os.fsencode(folder).decode()
    except UnicodeDecodeError:
        raise UserError(f"folder:{root}: the name of the class folder {folder!r} is not UTF-8") from None


def _check_classes(root: str, names: list[str], found: dict[str, dict[str, list[ImageFile]]], named: bool) -> None:
    """`named`: a label file says the classes; one of them may then have validation images alone, which a network that
    was trained elsewhere knows."""
    accepted = f"expected class folders with images ({', '.join(EXTENSIONS)})"
    if not any(files for classes in found.values() for files in classes.values()):
        raise UserError(f"folder:{root}: no images in class folders; {accepted}")
    for split, classes in found.items():
        for name, files in sorted(classes.items()):
            if not files and (split == "train" or not found.get("train", {}).get(name)):
                raise UserError(f"folder:{root}: class folder {name!r} has no images{_of(split, found)}; {accepted}")
    lowered = {name.lower() for name in names}
    if lowered & _IMAGES and lowered - _IMAGES and lowered <= _IMAGES | _ANNOTATIONS:
        raise UserError(
            f"folder:{root}: {_listed(names, '/')} look like the images and the annotations of a data set, not like "
            f"classes; {accepted}"
        )
    if len(names) == 1:
        inner = os.path.join(root, names[0])
        hint = f"; give folder:{inner} if the classes are in there" if os.path.isdir(inner) and folders(inner) else ""
        raise UserError(f"folder:{root}: only one class, {names[0]!r}; at least two are needed{hint}")
    if "train" not in found:
        return
    for split in () if named else ("validation", "test"):
        for name in sorted(set(found.get(split, ())) - set(found["train"])):
            alike = [other for other in found["train"] if other.casefold() == name.casefold()]
            hint = f" (it has {alike[0]!r})" if alike else ""
            raise UserError(f"folder:{root}: the training split has no class {name!r} of the {split} split{hint}")


def _of(split: str, found: dict) -> str:
    return f" in the {'training' if split == 'train' else split} split" if len(found) > 1 else ""


def _alike(root: str, names: list[str]) -> Iterator[tuple[int, str]]:
    for first, second in itertools.pairwise(sorted(names, key=str.casefold)):
        if first.casefold() == second.casefold():
            text = f"folder:{root}: {first!r} and {second!r} are two classes: their names differ in case"
            yield logging.WARNING, text


def _counted(
    root: str, class_names: tuple[str, ...], splits: dict[str, list[LabelledFile]]
) -> Iterator[tuple[int, str]]:
    """What was found, so that a folder taken for something else is seen."""
    counts = {split: len(files) for split, files in splits.items()}
    labels = sorted({file.label for files in splits.values() for file in files})
    text = (
        f"folder:{root}: {len(labels)} classes ({_listed([class_names[label] for label in labels])}), "
        f"{counts['train']} images to train on, {counts['validation']} to validate on"
    )
    yield logging.INFO, text + (f", {counts['test']} to test on" if "test" in counts else "")
    absent = sorted(set(labels) - {file.label for file in splits["validation"]})
    if absent and splits["validation"]:
        names = _listed([class_names[i] for i in absent])
        yield logging.WARNING, f"folder:{root}: no image to validate on of {names}"


def _trained_on(root: str, splits: dict[str, list[LabelledFile]]) -> Iterator[tuple[int, str]]:
    """Where images to score are also training images: alike in class, name and size, then in content."""
    train = defaultdict(list)
    for file in splits["train"]:
        train[_look(file)].append(file.path)
    for split in ("validation", "test"):
        files = splits.get(split, [])
        alike = [(file.path, train[_look(file)]) for file in files if _look(file) in train]
        same = [path for path, others in alike[:_COMPARED] if any(_same_content(path, other) for other in others)]
        if same:
            count = f"{'at least ' * (len(alike) > _COMPARED)}{len(same)} of {len(files)}"
            said = f"{count} {split} images are also training images ({same[0]} first): the score will be too high"
            yield logging.WARNING, f"folder:{root}: {said}"


def _look(file: LabelledFile) -> tuple:
    return os.path.basename(file.path), file.size, file.label


def _same_content(path: str, other: str) -> bool:
    with contextlib.suppress(OSError):  # told where the image is read
        return filecmp.cmp(path, other, shallow=False)
    return False


def _square_side(splits: dict[str, list[LabelledFile]]) -> int | None:
    """The side in pixels of some of the images, spread over all splits, if these are squares of one size.

    An image whose size cannot be read is passed over: where images are decoded its fault is told.
    """
    from PIL import Image  # which other data do without

    files = [file for of_split in splits.values() for file in of_split]
    side = None
    for file in files[:: math.ceil(len(files) / _SIZES_READ)]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(file.path, formats=_SIZED) as image:
                    width, height = image.size
        except Exception:
            continue
        if width != height or side not in (None, width):
            return None
        side = width
    return side


def _listed(names: list[str], end: str = "") -> str:
    return listed([f"{name}{end}" for name in names], _NAMED)


def _split_by_hash(files: list[LabelledFile], base: str, validation_fraction: float) -> dict[str, list[LabelledFile]]:
    start = len(os.path.join(base, ""))
    shares = [_hash_share(file.path[start:]) for file in files]
    chosen = {i for i, share in enumerate(shares) if share < validation_fraction}
    # A handful of files may all fall on one side: of each class one is trained on, and one of all is held out.
    if 0 < validation_fraction < 1:
        ascending = sorted(range(len(files)), key=shares.__getitem__)
        kept = {files[i].label: i for i in ascending}  # of each class the last
        free = [i for i in ascending if kept[files[i].label] != i]
        chosen = (chosen & set(free)) or set(free[:1])
    return {
        "train": [file for i, file in enumerate(files) if i not in chosen],
        "validation": [file for i, file in enumerate(files) if i in chosen],
    }


def _hash_share(relative_path: str) -> float:
    """A number in [0, 1) from the file's name alone, the same on every system."""
    name = unicodedata.normalize("NFC", relative_path.replace(os.sep, "/"))
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
