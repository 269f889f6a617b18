"""Directories of images as they are found on disks: links are followed once, what systems keep there is passed by."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

from autonl_tf.errors import UserError

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp"),
    *(".tif", ".tiff", ".jp2", ".j2k", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"),
)
# Photographs of kinds that are not read are listed too, to be told as such and not passed over.
_NOT_READ = (".heic", ".heif", ".jxl", ".tga")

# What file systems, storage boxes, archives and programs put beside a user's own files, in lower case.
_OF_THE_SYSTEM = frozenset(
    {
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),
        *("$recycle.bin", "$extend", "recycler", "system volume information", "thumbs.db", "ehthumbs.db"),
        *("desktop.ini", "__macosx", "network trash folder", "temporary items", "thevolumesettingsfolder", "icon\r"),
        *("lost+found", "__pycache__"),
    }
)


class ImageFile(NamedTuple):
    """A file named as an image: its path, its length in bytes and its time of change in nanoseconds (both 0 where it
    cannot be asked)."""

    path: str
    size: int
    time: int


def is_of_the_system(name: str) -> bool:
    """Whether a file or folder is hidden, or one that no user has made."""
    name = name.lower()
    return name[0] == "." or name in _OF_THE_SYSTEM or (name.startswith("found.") and name[6:].isdecimal())


def is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith((*EXTENSIONS, *_NOT_READ))


def check_directory(path: str, source: str) -> None:
    """Raises UserError, which begins with `source`, for what is no directory, or cannot be looked at."""
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            return
        reason = "is not a directory"
    except FileNotFoundError:
        reason = "no such directory"
    except OSError as error:
        reason = error.strerror
    raise UserError(f"{source}: {reason}")


def folders(path: str) -> list[str]:
    """The names of a directory's folders, sorted.

    Raises:
      UserError: a link to nothing, which may stand for a disk that is not there.
    """
    found = []
    with os.scandir(path) as entries:
        for entry in entries:
            if is_of_the_system(entry.name):
                continue
            if entry.is_dir():
                found.append(entry.name)
            elif entry.is_symlink() and not os.path.exists(entry.path) and not os.path.splitext(entry.name)[1]:
                raise UserError(f"{entry.path}: a link to nothing ({os.readlink(entry.path)})")
    return sorted(found)


def images_in(path: str) -> list[str]:
    """The names of the images that lie in a directory itself."""
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if is_image(entry.name) and not entry.is_dir())


def images_below(
    top: str, visited: dict[str, str] | None = None, above: Iterable[str] = ()
) -> tuple[list[ImageFile], list[str]]:
    """The images below a directory, sorted by path, and the names of other files there.

    Args:
      visited: real directory -> the top it was reached from, of earlier calls; this one adds its own.
      above: directories around `top`, into which no link is followed.

    Raises:
      UserError: a directory that was reached from another top, or a pipe, socket or device named as an image, which
        could be waited on for ever.
    """
    visited = {} if visited is None else visited
    around = {os.path.realpath(path) for path in above}

    def is_new(directory: str) -> bool:
        real = os.path.realpath(directory)
        if real in around or visited.get(real) == top:
            return False  # a link that leads back, or to what is visited anyway
        before = visited.setdefault(real, top)
        if before != top:
            raise UserError(f"{directory} and {before} are one directory: its images would be there twice")
        return True

    found, others = [], []
    waiting = [top] if is_new(top) else []
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            # Directories before links to them.
            for entry in sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name)):
                if is_of_the_system(entry.name):
                    continue
                if entry.is_dir():
                    if is_new(entry.path):
                        waiting.append(entry.path)
                elif is_image(entry.name):
                    found.append(_image_file(entry))
                else:
                    others.append(entry.name)
    return sorted(found), others


def _image_file(entry: os.DirEntry) -> ImageFile:
    """A link to nothing passes: it is found among the files that cannot be used."""
    try:
        status = entry.stat()
    except OSError:
        return ImageFile(entry.path, 0, 0)
    if not entry.is_file():
        raise UserError(f"{entry.path}: named as an image but not a regular file")
    return ImageFile(entry.path, status.st_size, status.st_mtime_ns)
