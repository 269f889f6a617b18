"""What kind of image a file is by its first bytes: one table, for `headers` in a graph and for files here."""

from __future__ import annotations

import re

from autonl_tf.data.reading import EMPTY, IS_NOT_READ, KINDS, MISSING, NOT_AN_IMAGE, UNREADABLE
from autonl_tf.reading import Unreadable, read_ends

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Kind, offset and bytes.
SIGNATURES = (
    *(("JPEG", 0, JPEG), ("PNG", 0, PNG)),
    *(("GIF", 0, b"GIF87a"), ("GIF", 0, b"GIF89a"), ("WebP", 8, b"WEBPVP8")),
    *(("TIFF", 0, start) for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    *(("JPEG 2000", 0, start) for start in (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")),
    *(("HEIC", 4, b"ftyp" + brand) for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc")),
    *(("JPEG XL", 0, b"\xff\x0a"), ("JPEG XL", 0, b"\0\0\0\x0cJXL "), ("JPEG XR", 0, b"II\xbc")),
    *(("ICO", 0, b"\0\0\1\0"), ("ICNS", 0, b"icns"), ("PSD", 0, b"8BPS"), ("XCF", 0, b"gimp xcf")),
    *(("QOI", 0, b"qoif"), ("DDS", 0, b"DDS "), ("PCX", 0, b"\x0a\5\1"), ("SGI", 0, b"\1\xda")),
    *(("OpenEXR", 0, b"\x76\x2f\x31\1"), ("Radiance HDR", 0, b"#?RADIANCE"), ("PFM", 0, b"PF\n"), ("PFM", 0, b"Pf\n")),
    *(("FITS", 0, b"SIMPLE  ="), ("DICOM", 128, b"DICM"), ("NumPy", 0, b"\x93NUMPY")),
    *(("PDF", 0, b"%PDF"), ("PostScript", 0, b"%!PS")),
)
PATTERNS = (  # of RE2, whose \C is any byte
    ("PNM", r"P[1-6][ \t\r\n]+[0-9#]\C*"),
    ("PAM", r"P7\n\C*"),
    ("SVG", r"(\xef\xbb\xbf)?\s*<(\?xml\C*<(!DOCTYPE )?)?svg\C*"),
    ("AVIF", r"\C{4}ftyp(m(if|sf)1\C{4,})?avi[fs]\C*"),
    ("HEIF", r"\C{4}ftypm(if|sf)1\C*"),
    ("BMP", r"BM\C{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00\C*"),
)
HEAD = 160  # bytes of a file that every kind can be told by
TGA = r"\C*TRUEVISION-XFILE\.\x00"


def kind_of(head: bytes, end: bytes | None = None) -> str:
    """The name of the kind, by the first `HEAD` bytes and the last 18, or by the whole file; empty where it is none
    that is known."""
    end = head[-18:] if end is None else end
    head = head[:HEAD].ljust(HEAD, b"\0")
    for kind, offset, signature in SIGNATURES:
        if head.startswith(signature, offset):
            return kind
    for kind, pattern in (*PATTERNS, ("TGA", TGA)):
        of_any_byte = pattern.replace(r"\C", ".").encode("latin-1")
        if re.fullmatch(of_any_byte, end if kind == "TGA" else head, re.DOTALL):
            return kind
    return ""


def fault_of(path: str) -> str | None:
    """Why a file cannot be used as an image, as far as its first bytes tell, in the words of `reading`."""
    try:
        head, end = read_ends(path, HEAD, 18)
    except FileNotFoundError:
        return MISSING
    except Unreadable as error:
        return f"{UNREADABLE}: {error.reason}"
    kind = kind_of(head, end)
    if kind in KINDS:
        return None
    return f"{kind}{IS_NOT_READ}" if kind else NOT_AN_IMAGE if head else EMPTY
