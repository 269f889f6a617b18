"""How encoded images are read, and why one may not be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from autonl_tf.errors import UserError

MAX_PIXELS = 120_000_000
CROP_PADDING = 32  # the evaluation crop leaves this many pixels, at the network's scale, outside

# Why an image cannot be used, as messages say and reports count it. For a kind or form that is not read the reason is
# its name and `IS_NOT_READ`; for an image that is too large, `Reading.too_large`.
EMPTY = "empty"
NOT_AN_IMAGE = "not an image of a known kind"
CUT_SHORT = "cut short"
DAMAGED = "damaged"
UNREADABLE, MISSING = "cannot be read", "missing"
CORRUPT = (EMPTY, NOT_AN_IMAGE, CUT_SHORT, DAMAGED)
TOO_SMALL = "too small to leave a crop"
IS_NOT_READ = " is not read"

KINDS = ("JPEG", "PNG", "GIF", "BMP", "WebP", "TIFF", "JPEG 2000", "AVIF", "PNM")
IN_GRAPH = "JPEG, PNG, GIF whose first picture fills it, BMP of 24 or 32 bits or 256 greys, WebP that does not move"


@dataclass(frozen=True)
class Reading:
    """Limits and choices that hold wherever an image is read.

    Attributes:
      max_pixels: images of more (height * width) are refused before they are decoded; a decoded pixel takes 3 bytes.
      exif_orientation: whether an image is turned as its EXIF data say, and viewers show it; the release does not.
      with_pillow: whether Pillow decodes what TensorFlow cannot; there is no Python in a saved graph.
    """

    max_pixels: int = MAX_PIXELS
    exif_orientation: bool = True
    with_pillow: bool = True

    @property
    def too_large(self) -> str:
        """Why an image of more pixels is not used."""
        return f"more than {self.max_pixels} pixels (--max_pixels)"

    @property
    def accepted(self) -> str:
        return ", ".join(KINDS) if self.with_pillow else IN_GRAPH


AS_SHOWN = Reading()


class BadExample(NamedTuple):
    """One image that cannot be used: its position in the stream, its name, and why."""

    position: int
    name: str
    reason: str

    @property
    def is_corrupt(self) -> bool:
        return self.reason in CORRUPT

    def told(self, reading: Reading) -> str:
        """What is wrong with it, in a line; of a kind that is not read, which kinds are."""
        accepted = f"; accepted: {reading.accepted}" if self.reason.endswith(IS_NOT_READ) else ""
        return f"{'corrupt ' * self.is_corrupt}image {self.name}: {self.reason}{accepted}"


def check_bad(bad: Sequence[BadExample], count: int, skip: bool, reading: Reading = AS_SHOWN) -> None:
    """Raises UserError for the first of the files that cannot be used; where such are skipped, if all `count` are."""
    if bad and not skip:
        raise UserError(f"{bad[0].told(reading)} (--skip_corrupt leaves it out)")
    if bad and len(bad) == count:
        raise UserError(f"none of {count} images can be used; the first: {bad[0].told(reading)}")
