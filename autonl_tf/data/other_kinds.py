"""Images of kinds, and of forms of kinds, that TensorFlow does not decode as viewers show them: Pillow decodes them."""

from __future__ import annotations

import io
import re

import numpy as np
import tensorflow as tf
from PIL import Image, ImageFile, ImageOps
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from autonl_tf.data import headers
from autonl_tf.data.reading import CUT_SHORT, DAMAGED, EMPTY, IS_NOT_READ, NOT_AN_IMAGE, Reading
from autonl_tf.data.signatures import kind_of

# Opened as the kind that the bytes say: other readers of Pillow are not tried, and its own limit does not hold.
KINDS: dict[str, type[ImageFile.ImageFile]] = {
    "AVIF": AvifImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG 2000": Jpeg2KImageFile,
    "PNM": PpmImageFile,
    "TIFF": TiffImageFile,
    "WebP": WebPImageFile,
}
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_NO_COLOURS = {"F": "floating-point numbers", "I": "numbers of 32 bits", "LAB": "Lab colours"}
# Tags of a TIFF.
_NEW_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _DNG_VERSION = 254, 258, 262, 50706


class UnusableImageError(ValueError):
    """Why an image cannot be used, in the words of `headers` and `reading`."""


def as_bmp(image_bytes: tf.Tensor, reading: Reading) -> tf.Tensor:
    """An encoded image (string scalar, in a graph) as a BMP file of 24 bits; its first picture where it has several.

    Raises `tf.errors.InvalidArgumentError` in the cases of `bmp_of`.
    """
    bitmap = tf.numpy_function(lambda data: bmp_of(data, reading), [image_bytes], tf.string, stateful=False)
    return tf.ensure_shape(bitmap, [])


def readable_in_graph(data: bytes, reading: Reading) -> bytes:
    """An encoded image that can be used, as one that a saved graph reads too."""
    return data if headers.header(tf.constant(data)).refusal == "" else bmp_of(data, reading)


def bmp_of(data: bytes, reading: Reading) -> bytes:
    """The same of bytes.

    Raises:
      UnusableImageError: a kind or form that is not read, too many pixels, or damage.
    """
    kind = kind_of(data)
    if kind not in KINDS:
        unknown = NOT_AN_IMAGE if data else EMPTY
        raise UnusableImageError(f"{kind}{IS_NOT_READ}" if kind else unknown)
    try:
        image = KINDS[kind](io.BytesIO(data))
        if image.width * image.height > reading.max_pixels:
            raise UnusableImageError(reading.too_large)
        if kind == "TIFF" and (image.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & 1 or _DNG_VERSION in image.tag_v2):
            raise UnusableImageError(f"camera's raw TIFF{IS_NOT_READ}")
        image.load()
    except UnusableImageError:
        raise
    except Exception as error:  # whatever a decoder finds to say of bytes that may be anything
        raise UnusableImageError(_reason(kind, str(error))) from error
    image = _eight_bits(image, kind)
    if reading.exif_orientation:
        image = _upright(image)
    out = io.BytesIO()
    (image if image.mode == "RGB" else image.convert("RGB")).save(out, "BMP")
    return out.getvalue()


def _reason(kind: str, said: str) -> str:
    if re.search("unsupported|not supported|unknown", said, re.IGNORECASE):
        return f"{kind} of this form ({' '.join(said.split())}){IS_NOT_READ}"
    return CUT_SHORT if re.search("truncated|not enough", said, re.IGNORECASE) else DAMAGED


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # viewers show a picture whose EXIF data are damaged as it is stored
        return image


def _eight_bits(image: Image.Image, kind: str) -> Image.Image:
    """16 bits (of a TIFF: 12 too) reduced to their upper 8, as of a PNG.

    Raises:
      UnusableImageError: more bits, or numbers that are no colours.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "PNM"):
        tags = image.tag_v2 if kind == "TIFF" else {}
        upper = np.asarray(image) >> (tags.get(_BITS, [16])[0] - 8)
        is_negative = tags.get(_PHOTOMETRIC) == 0  # white is 0, which Pillow heeds in fewer bits alone
        eight = Image.fromarray((255 - upper if is_negative else upper).astype(np.uint8))
        eight.info = image.info
        return eight
    if image.mode not in _EIGHT_BITS:
        raise UnusableImageError(f"{kind} of {_NO_COLOURS.get(image.mode, image.mode)}{IS_NOT_READ}")
    return image
