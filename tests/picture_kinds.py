"""Small pictures of every kind and form in the table of docs/data.md, and what a viewer shows of each."""

from __future__ import annotations

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

SIDE = 24


class Case(NamedTuple):
    """A file: its row in the table, its bytes, the pixels shown (None: it is refused everywhere), the word by which a
    SavedModel refuses it ("": it reads it), and whether its compression loses a little."""

    row: str
    data: bytes
    pixels: np.ndarray | None
    refused: str = ""
    lossy: bool = False


def _picture() -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, [5, 7, 3]).astype(np.uint8)
    return Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


RGB = _picture()
GREY = RGB.convert("L")
DEEP = Image.fromarray(np.asarray(GREY, np.uint16) * 250 + 77)
ALPHA = Image.merge("RGBA", [*RGB.split(), Image.linear_gradient("L").resize((SIDE, SIDE))])
PALETTE = RGB.quantize(64)
NEGATIVE = ImageOps.invert(RGB)


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def shown(data: bytes) -> np.ndarray:
    """Pillow's own RGB conversion, upright."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png(pixels: np.ndarray, depth: int, colour: int, width: int = SIDE, first: bytes = b"") -> bytes:
    """A PNG by hand: rows of uint16, no filter."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, len(pixels), depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + first
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def bmp(bits: int, rows: bytes, *, compression: int = 0, info: int = 40, masks=(), palette: bytes = b"") -> bytes:
    """A BMP by hand; the rows are from the bottom up, filled up to four bytes."""
    if info == 12:
        header = struct.pack("<IHHHH", 12, SIDE, SIDE, 1, bits)
    else:
        header = struct.pack("<IiiHHIIiiII", info, SIDE, SIDE, 1, bits, compression, len(rows), 0, 0, 0, 0)
    body = (header + struct.pack(f"<{len(masks)}I", *masks)).ljust(info, b"\0") + palette
    return b"BM" + struct.pack("<IHHI", 14 + len(body) + len(rows), 0, 0, 14 + len(body)) + body + rows


def _words(shifts: tuple[int, int, int], depths=(8, 8, 8), kind: str = "<u4") -> bytes:
    """Rows of a BMP whose pixels are one number each."""
    pixels = np.asarray(RGB, np.uint32)[::-1]
    packed = sum((pixels[..., i] >> (8 - depths[i])) << shifts[i] for i in range(3))
    return packed.astype(kind).tobytes()


def _deep_tiffs() -> list[bytes]:
    """Greys of 16 bits, the same with white as 0, and their upper 12 bits, two pixels in three bytes."""
    deep = np.asarray(DEEP)
    found = encoded(DEEP, "TIFF")
    white_is_zero = found.replace(b"\x06\x01\x03\0\1\0\0\0\1", b"\x06\x01\x03\0\1\0\0\0\0")
    first, second = (deep.reshape(-1, 2).T >> 4).astype(np.uint32)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8).tobytes()
    twelve = found.replace(b"\x02\x01\x03\0\1\0\0\0\x10", b"\x02\x01\x03\0\1\0\0\0\x0c")
    pixels = deep.astype("<u2").tobytes()
    return [
        found,
        white_is_zero.replace(pixels, (65535 - deep).astype("<u2").tobytes()),
        twelve.replace(pixels, packed.ljust(len(pixels), b"\0")),
    ]


def _bmp_cases() -> list[Case]:
    grey = np.asarray(GREY)[::-1]
    colours = np.random.default_rng(1).integers(0, 256, [256, 4]).astype(np.uint8)
    run_lengths = b"".join(b"".join(bytes([1, value]) for value in row) + b"\0\0" for row in grey.tolist()) + b"\0\1"
    nibbles = ((grey[:, ::2] >> 4) << 4 | grey[:, 1::2] >> 4).astype(np.uint8).tobytes()
    bgr = np.asarray(RGB)[::-1, :, ::-1].tobytes()
    usual, other = (0xFF0000, 0xFF00, 0xFF), (0xFF000000, 0xFF0000, 0xFF00, 0xFF)
    found = {
        "BMP of 24 or 32 bits, or 256 greys": [
            encoded(RGB, "BMP"),
            encoded(RGB, "BMP") + b"behind the pixels",
            encoded(GREY, "BMP"),
            bmp(32, _words((16, 8, 0)), compression=3, info=56, masks=usual),
            bmp(24, bgr, info=124),
        ],
        "BMP with a palette": [
            encoded(PALETTE, "BMP"),
            encoded(RGB.convert("1"), "BMP"),
            bmp(8, grey.tobytes(), palette=colours.tobytes()),
            bmp(4, nibbles, palette=colours[:16].tobytes()),
        ],
        "BMP of 16 bits or with colours in another order": [
            bmp(16, _words((10, 5, 0), (5, 5, 5), "<u2")),
            bmp(32, _words((24, 16, 8)), compression=3, info=108, masks=other),
        ],
        "BMP, compressed": [bmp(8, run_lengths, compression=1, palette=colours.tobytes())],
        "BMP of OS/2": [bmp(24, bgr, info=12), bmp(8, grey.tobytes(), info=12, palette=colours[:, :3].tobytes())],
    }
    words = ("", "palette", "16 bits|another order", "compressed", "OS/2")
    return [
        Case(row, data, shown(data), word)
        for (row, files), word in zip(found.items(), words, strict=True)
        for data in files
    ]


def _cases() -> list[Case]:
    def of(row: str, *files: bytes, refused: str = "", lossy: bool = False) -> list[Case]:
        return [Case(row, data, shown(data), refused, lossy) for data in files]

    def none(row: str, *files: bytes, refused: str) -> list[Case]:
        return [Case(row, data, None, refused) for data in files]

    jpeg, deep = encoded(RGB, "JPEG"), np.asarray(DEEP)
    cmyk = encoded(RGB.convert("CMYK"), "JPEG")
    adobe = cmyk.index(b"\xff\xee\0\x0eAdobe")
    twelve, lossless = (
        jpeg.replace(b"\xff\xc0\0\x11\x08", new) for new in (b"\xff\xc0\0\x11\x0c", b"\xff\xc3\0\x11\x08")
    )
    colours = np.stack([deep, deep[::-1], deep.T], axis=-1)
    upper = np.repeat(deep[..., np.newaxis] >> 8, 3, axis=-1).astype(np.uint8)
    moving = {"save_all": True, "append_images": [NEGATIVE]}
    still_gif = encoded(RGB, "GIF")
    small_gif = still_gif[:6] + struct.pack("<HH", SIDE + 6, SIDE + 6) + still_gif[10:]
    turned = [_exif(orientation) for orientation in range(1, 9)]
    modes = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr")
    return [
        *of("JPEG, colour or grey", jpeg, encoded(GREY, "JPEG"), encoded(RGB, "JPEG", progressive=True), lossy=True),
        *of("JPEG, colour or grey", jpeg + encoded(RGB, "JPEG", exif=_exif(6)), lossy=True),
        *of("JPEG, CMYK", cmyk, cmyk[:adobe] + cmyk[adobe + 16 :], lossy=True),
        *of("JPEG with an EXIF orientation", *(encoded(RGB, "JPEG", exif=exif) for exif in turned), lossy=True),
        *of(
            "JPEG with an EXIF orientation",
            jpeg[:2] + b"\xff\xfe\0\x0cExif\0\0none" + encoded(RGB, "JPEG", exif=_exif(6))[2:],
            lossy=True,
        ),
        *none("JPEG of 12 bits, lossless JPEG", twelve, refused="12 bits"),
        *none("JPEG of 12 bits, lossless JPEG", lossless, jpeg.replace(b"\xff\xc0", b"\xff\xf7"), refused="lossless"),
        *of(
            "PNG of 1 to 8 bits",
            *(encoded(RGB.convert(mode), "PNG") for mode in ("1", "L", "RGB")),
            encoded(PALETTE, "PNG"),
        ),
        Case("PNG of 16 bits", encoded(DEEP, "PNG"), upper),
        Case("PNG of 16 bits", png(colours.reshape(SIDE, -1), 16, 2), (colours >> 8).astype(np.uint8)),
        *of("PNG with alpha or transparency", encoded(ALPHA, "PNG"), encoded(PALETTE, "PNG", transparency=3)),
        *of("PNG, animated", encoded(RGB, "PNG", **moving)),
        *of("PNG or WebP with an EXIF orientation", *(encoded(RGB, "PNG", exif=exif) for exif in turned)),
        *of(
            "PNG or WebP with an EXIF orientation", *(encoded(RGB, "WEBP", exif=exif, lossless=True) for exif in turned)
        ),
        *none("PNG in Apple's variant", png(deep, 16, 0, first=b"\0\0\0\4CgBI\0\0\0\0\0\0\0\0"), refused="CgBI"),
        *of("GIF; animated: the first picture", still_gif, encoded(PALETTE, "GIF", transparency=3)),
        *of("GIF; animated: the first picture", encoded(RGB, "GIF", **moving), still_gif[:-1]),
        *of("GIF whose first picture does not fill it", small_gif, refused="does not fill"),
        *_bmp_cases(),
        *of("WebP", encoded(RGB, "WEBP"), encoded(RGB, "WEBP", lossless=True)),
        *of("WebP", encoded(ALPHA, "WEBP"), encoded(ALPHA, "WEBP", lossless=True, exact=True)),
        *of(
            "WebP, animated: the first picture", encoded(RGB, "WEBP", lossless=True, **moving), refused="animated WebP"
        ),
        *of(
            "TIFF of 1 or 8 bits; several pages: the first",
            *(encoded(RGB.convert(mode), "TIFF") for mode in modes),
            refused="TIFF",
        ),
        *of(
            "TIFF of 1 or 8 bits; several pages: the first",
            *(encoded(RGB, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_deflate", "packbits")),
            encoded(RGB, "TIFF", exif=_exif(6)),
            encoded(RGB, "TIFF", **moving),
            refused="TIFF",
        ),
        *(
            Case("TIFF, JPEG 2000, PNM of 12 or 16 bits", data, upper, "is not read")
            for data in (*_deep_tiffs(), encoded(DEEP, "JPEG2000"), encoded(DEEP, "PPM"))
        ),
        *none(
            "TIFF of 32 bits, Lab colours or a camera",
            *(encoded(GREY.convert(mode), "TIFF") for mode in ("F", "I")),
            refused="TIFF",
        ),
        *none("TIFF of 32 bits, Lab colours or a camera", encoded(RGB.convert("LAB"), "TIFF"), refused="TIFF"),
        *none("TIFF of 32 bits, Lab colours or a camera", encoded(RGB, "TIFF", tiffinfo={254: 1}), refused="TIFF"),
        *of("JPEG 2000", encoded(RGB, "JPEG2000"), encoded(GREY, "JPEG2000", no_jp2=True), refused="JPEG 2000"),
        *of("AVIF", encoded(RGB, "AVIF"), encoded(ALPHA, "AVIF"), encoded(RGB, "AVIF", exif=_exif(6)), refused="AVIF"),
        *of("PNM: PBM, PGM, PPM", *(encoded(RGB.convert(mode), "PPM") for mode in ("1", "L", "RGB")), refused="PNM"),
        *none("HEIC, JPEG XL", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), refused="HEIC"),
        *none("HEIC, JPEG XL", b"\xff\x0a" + bytes(99), refused="JPEG XL"),
        *none("TGA, ICO, QOI, DDS, PCX, SGI, PSD, EXR, PDF, SVG and others", encoded(RGB, "TGA"), refused="TGA"),
        *none("TGA, ICO, QOI, DDS, PCX, SGI, PSD, EXR, PDF, SVG and others", encoded(RGB, "ICO"), refused="ICO"),
        *none("TGA, ICO, QOI, DDS, PCX, SGI, PSD, EXR, PDF, SVG and others", encoded(RGB, "QOI"), refused="QOI"),
        *none(
            "TGA, ICO, QOI, DDS, PCX, SGI, PSD, EXR, PDF, SVG and others",
            b"<svg/>",
            b"<?xml version='1.0'?>\n<!DOCTYPE svg>\n<svg width='9'/>",
            refused="SVG",
        ),
        *none(
            "TGA, ICO, QOI, DDS, PCX, SGI, PSD, EXR, PDF, SVG and others", b"P7\nWIDTH 9\n" + bytes(99), refused="PAM"
        ),
        *none(
            "anything else",
            b"<html></html>",
            b"BMW is no bitmap, whatever it begins with " * 3,
            b"P1 and P2 are platforms",
            refused="not an image",
        ),
    ]


CASES = _cases()
