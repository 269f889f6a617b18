"""How encoded images are read, and why one may not be used."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PIXELS = 120_000_000

# Why an image cannot be used, as messages say and reports count it. For a kind or form that is not read the reason is
# its name and `IS_NOT_READ`; for an image that is too large, `Reading.too_large`.
EMPTY = "empty"
NOT_AN_IMAGE = "not an image of a known kind"
CUT_SHORT = "cut short"
DAMAGED = "damaged"
UNREADABLE = "cannot be read"
CORRUPT = (EMPTY, NOT_AN_IMAGE, CUT_SHORT, DAMAGED, UNREADABLE)
TOO_SMALL = "too small to leave a crop"
IS_NOT_READ = " is not read"

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
        """The kinds that are read."""
        return "JPEG, PNG, GIF, BMP, WebP, TIFF, JPEG 2000, AVIF, PNM" if self.with_pillow else IN_GRAPH


AS_SHOWN = Reading()
