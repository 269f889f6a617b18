"""What the bytes of an encoded image say before it is decoded: its kind, its size, and why it is not read.

Every function takes an encoded image (string scalar) and runs eagerly, inside `tf.data` and inside a saved graph. None
decodes pixels.

TensorFlow decodes five kinds, and some forms of them to other pixels than viewers show: it takes a BMP's palette for
grey values and a GIF's first picture for all of its canvas. `header` refuses such forms as it refuses other kinds.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from autonl_tf.data.reading import CUT_SHORT, DAMAGED, EMPTY, IS_NOT_READ, NOT_AN_IMAGE
from autonl_tf.data.signatures import HEAD, JPEG, PATTERNS, PNG, SIGNATURES, TGA

_FRAMES = (*(marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC)), 0xF7)  # of a JPEG, of JPEG-LS
_READ_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # baseline, extended, progressive; the latter two, arithmetic
_MOST_SEGMENTS = 10_000
_SCAN = b"\xff\xda\0"  # starts a JPEG's first scan; pixels and appended data follow
_ADOBE = b"\xff\xee\0\x0eAdobe\0\x64" + bytes(5)
_GREYS = b"".join(bytes([value, value, value, 0]) for value in range(256))
_RED_GREEN_BLUE = b"".join(mask.to_bytes(4, "little") for mask in (0xFF0000, 0xFF00, 0xFF))
_ORIENTATION, _LONG = 0x0112, 4  # a tag of EXIF data, and one of the types that its value may have
_MOST_TAGS = 512


class Header(NamedTuple):
    """`refusal`: empty where the image can be decoded in a graph, else the reason; height and width: int64."""

    refusal: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor


class Picture(NamedTuple):
    """The first picture of a GIF: whether it is all there and has a palette, its box, and where in the file it is."""

    whole: tf.Tensor
    has_palette: tf.Tensor
    box: tf.Tensor  # left, top, width, height
    start: tf.Tensor  # of the blocks, behind the palette that all pictures share
    begin: tf.Tensor
    end: tf.Tensor


def is_jpeg(image_bytes: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(image_bytes, 0, len(JPEG)) == JPEG


def is_webp(image_bytes: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(_padded(image_bytes, 16), 8, 7) == b"WEBPVP8"


def is_png(image_bytes: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(image_bytes, 0, len(PNG)) == PNG


def kind_of(image_bytes: tf.Tensor) -> tf.Tensor:
    """The name of the kind, string scalar; empty where it is none that is known."""
    head = _padded(image_bytes, HEAD)
    names, offsets, signatures = zip(*SIGNATURES, strict=True)
    found = tf.strings.substr(tf.fill([len(names)], head), offsets, [len(signature) for signature in signatures])
    matches = [found == signatures]
    matches += [tf.strings.regex_full_match(head, f"(?s){pattern}")[tf.newaxis] for _, pattern in PATTERNS]
    matches += [tf.strings.regex_full_match(image_bytes, f"(?s){TGA}")[tf.newaxis], [True]]
    first = tf.argmax(tf.cast(tf.concat(matches, 0), tf.int32))
    return tf.gather([*names, *(name for name, _ in PATTERNS), "TGA", ""], first)


def header(image_bytes: tf.Tensor) -> Header:
    """What is known of an image before it is decoded.

    Raises `tf.errors.InvalidArgumentError` for a JPEG in which no size can be found.
    """
    cases = [(is_jpeg(image_bytes), lambda: _of_jpeg(image_bytes)), (is_png(image_bytes), lambda: _of_png(image_bytes))]
    return tf.case(cases, default=lambda: _of_other(image_bytes))


def plain(image_bytes: tf.Tensor) -> tf.Tensor:
    """The bytes that TensorFlow's decoder is to get of an image that is not refused: of a GIF the first picture alone,
    without transparency; of a BMP what follows the pixels left out."""
    start = tf.strings.substr(image_bytes, 0, 2)

    def trimmed_bmp() -> tf.Tensor:
        return tf.strings.substr(image_bytes, 0, _bmp_end(_padded(image_bytes, 54)))

    cases = [(start == b"GI", lambda: _first_of_gif(image_bytes)), (start == b"BM", trimmed_bmp)]
    return tf.case(cases, default=lambda: image_bytes)


def with_inks_inverted(image_bytes: tf.Tensor) -> tf.Tensor:
    """A CMYK JPEG with Adobe's marker added. Viewers read every CMYK JPEG as Adobe stores it; TensorFlow does so only
    with the marker. A marker of the file's own comes later and counts."""
    return tf.strings.join([JPEG[:2], _ADOBE, _from(image_bytes, 2)])


def orientation(image_bytes: tf.Tensor) -> tf.Tensor:
    """The EXIF orientation of a JPEG, PNG or WebP, int32 scalar 1 to 8; 1 (as stored) where there is none, and of an
    animated WebP, which Pillow turns."""
    jpeg, png = is_jpeg(image_bytes), is_png(image_bytes)
    # What begins the EXIF data: in a JPEG behind the block's own marker and length, in a WebP before its length.
    mark = tf.where(jpeg, b"Exif\0\0", tf.where(png, b"eXIf", b"EXIF"))
    searched = tf.cond(jpeg, lambda: _split(image_bytes, _SCAN, 1)[0], lambda: image_bytes)
    pieces = _split(searched, mark)[:-1]  # each ends where the mark stands

    def of_block() -> tf.Tensor:
        start = _padded(image_bytes, 24)
        webp = (tf.strings.substr(start, 8, 8) == b"WEBPVP8X") & (_integer(start, 20, 1) & 2 == 0)
        before = tf.strings.join([b"    ", pieces])
        ends = tf.strings.length(before) - 4
        marked = tf.strings.substr(before, ends, tf.fill(tf.shape(ends), 2)) == b"\xff\xe1"
        marked |= png | webp
        count = tf.argmax(tf.cast(marked, tf.int32), output_type=tf.int32) + 1
        offset = tf.reduce_sum(tf.strings.length(pieces[:count])) + count * tf.strings.length(mark)
        block = tf.strings.substr(image_bytes, offset, 1 << 16)
        block = tf.where(webp, _from(block, 4), block)
        value = _of_exif(tf.strings.regex_replace(block, r"^Exif\x00\x00", ""))
        return tf.where(tf.reduce_any(marked), value, 1)

    # Most images have none: these few operations are all that they cost.
    return tf.cond(tf.size(pieces) > 0, of_block, lambda: tf.constant(1))


def _of_jpeg(image_bytes: tf.Tensor) -> Header:
    length = tf.strings.length(image_bytes)

    def before_frame(offset, marker, depth):
        return (offset + 10 <= length) & ~_is_one_of(marker, (*_FRAMES, 0xD9, 0xDA))

    def next_segment(offset, marker, depth):
        found = tf.unstack(_numbers(tf.strings.substr(image_bytes, offset, 10), 10))
        filling = (found[0] != 0xFF) | (found[1] == 0xFF)
        alone = _is_one_of(found[1], (0x01, *range(0xD0, 0xD9)))
        step = tf.where(filling, 1, tf.where(alone, 2, 2 + 256 * found[2] + found[3]))
        return offset + step, tf.where(filling, 0, found[1]), found[4]

    start = (tf.constant(2), tf.constant(0), tf.constant(8))
    offset, marker, depth = tf.while_loop(before_frame, next_segment, start, maximum_iterations=_MOST_SEGMENTS)
    is_frame = _is_one_of(marker, _FRAMES)
    refusal = tf.where(is_frame & (depth != 8), _not_read(tf.strings.format("JPEG of {} bits a sample", depth)), "")
    unusual = is_frame & ~_is_one_of(marker, _READ_FRAMES)
    refusal = tf.where(unusual, _not_read("lossless or hierarchical JPEG"), refusal)
    ends = tf.strings.substr(image_bytes, length - 2, 2) == b"\xff\xd9"
    refusal = tf.where(~is_frame & ~ends & (offset + 10 > length), CUT_SHORT, refusal)
    shape = tf.cond(
        refusal == "", lambda: tf.image.extract_jpeg_shape(image_bytes)[:2], lambda: tf.zeros([2], tf.int32)
    )
    return _header(refusal, shape[0], shape[1])


def size_of_png(image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width, int64, of a PNG whose first chunk is its header."""
    head = _padded(image_bytes, 24)
    return _integer(head, 20, 4, big=True), _integer(head, 16, 4, big=True)


def _of_png(image_bytes: tf.Tensor) -> Header:
    first = tf.strings.substr(_padded(image_bytes, 33), 12, 4)
    refusal = tf.where(first == b"CgBI", _not_read("PNG in Apple's variant (CgBI)"), DAMAGED)
    refusal = tf.where(first == b"IHDR", "", refusal)
    refusal = tf.where(tf.strings.length(image_bytes) < 33, CUT_SHORT, refusal)
    return _header(refusal, *size_of_png(image_bytes))


def _of_other(image_bytes: tf.Tensor) -> Header:
    kind = kind_of(image_bytes)

    def refused() -> Header:
        reason = tf.where(kind == "", NOT_AN_IMAGE, _not_read(kind))
        return _header(tf.where(tf.strings.length(image_bytes) == 0, EMPTY, reason), 0, 0)

    readers = {"GIF": _of_gif, "BMP": _of_bmp, "WebP": of_webp}
    cases = [(kind == name, lambda read=read: read(image_bytes)) for name, read in readers.items()]
    return tf.case(cases, default=refused)


def _of_gif(image_bytes: tf.Tensor) -> Header:
    head = _padded(image_bytes, 13)
    width, height = _integer(head, 6, 2), _integer(head, 8, 2)
    found = _first_picture(image_bytes)
    left, top, wide, high = tf.unstack(tf.cast(found.box, tf.int64))
    fills = (left == 0) & (top == 0) & (wide == width) & (high == height)
    refusal = tf.where(fills, "", _not_read("GIF whose first picture does not fill it"))
    refusal = tf.where(found.has_palette, refusal, _not_read("GIF without a palette"))
    refusal = tf.where(found.whole, refusal, CUT_SHORT)
    return _header(refusal, tf.maximum(height, top + high), tf.maximum(width, left + wide))


def _first_picture(image_bytes: tf.Tensor) -> Picture:
    numbers = _numbers(tf.strings.join([image_bytes, bytes(32)]))
    end = tf.strings.length(image_bytes)
    last = end + 16

    def at(offset: tf.Tensor) -> tf.Tensor:
        return tf.gather(numbers, tf.minimum(offset, last))

    def palette(flags: tf.Tensor) -> tf.Tensor:
        return tf.where(flags >= 128, tf.bitwise.left_shift(6, flags & 7), 0)

    # A step for every block, and as many as a file has that is cut into pieces of 64 bytes: more are no GIF's.
    def behind_pieces(offset: tf.Tensor, left: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        offset, left = tf.while_loop(
            lambda offset, left: (at(offset) > 0) & (left > 0),
            lambda offset, left: (offset + 1 + at(offset), left - 1),
            (offset, left),
        )
        return offset + 1, left - 1

    start = 13 + palette(at(10))
    begin, left = tf.while_loop(
        lambda offset, left: (at(offset) == 0x21) & (left > 0),
        lambda offset, left: behind_pieces(offset + 2, left),
        (start, 1024 + end // 64),
    )
    fields = tf.gather(numbers, tf.minimum(begin, last - 9) + tf.range(10))
    flags = fields[9]
    stop, left = behind_pieces(begin + 11 + palette(flags), left)
    return Picture(
        whole=(fields[0] == 0x2C) & (stop <= end) & (left > 0),
        has_palette=(start > 13) | (flags >= 128),
        box=tf.gather(fields, [1, 3, 5, 7]) + 256 * tf.gather(fields, [2, 4, 6, 8]),
        start=start,
        begin=begin,
        end=stop,
    )


def _first_of_gif(image_bytes: tf.Tensor) -> tf.Tensor:
    found = _first_picture(image_bytes)
    picture = tf.strings.substr(image_bytes, found.begin, found.end - found.begin)
    return tf.strings.join([tf.strings.substr(image_bytes, 0, found.start), picture, b";"])


def _of_bmp(image_bytes: tf.Tensor) -> Header:
    head = _padded(image_bytes, 54)
    info, bits, compression = (_integer(head, *field) for field in ((14, 4), (28, 2), (30, 4)))
    width, height = _signed(head, 18), _signed(head, 22)
    masks = tf.strings.substr(_from(image_bytes, 54), 0, 12)
    palette = tf.strings.substr(_from(image_bytes, 14 + info), 0, 1024)
    packed = (compression == 0) | ((compression == 3) & (bits == 32) & (masks == _RED_GREEN_BLUE))
    is_grey = (bits == 8) & (palette == _GREYS) & (_integer(head, 10, 4) == 1038 + info)
    form = tf.where(packed, "BMP of an unusual depth", "BMP with its colours in another order")
    form = tf.where(bits <= 8, "BMP with a palette", tf.where(bits == 16, "BMP of 16 bits a pixel", form))
    form = tf.where((compression == 0) | (compression == 3) | (compression == 6), form, "compressed BMP")
    readable = packed & ((bits == 24) | (bits == 32) | is_grey)
    refusal = tf.where(readable, "", _not_read(form))
    refusal = tf.where(readable & (tf.strings.length(image_bytes) < _bmp_end(head)), CUT_SHORT, refusal)
    within_header = _integer(head, 10, 4) < 14 + info
    refusal = tf.where(readable & ((width <= 0) | (height == 0) | within_header), DAMAGED, refusal)
    refusal = tf.where(info < 40, _not_read("BMP of OS/2"), refusal)
    return _header(refusal, tf.abs(height), width)


def _bmp_end(head: tf.Tensor) -> tf.Tensor:
    """Where the pixels end: rows are filled up to four bytes."""
    row = (_integer(head, 28, 2) * _integer(head, 18, 4) + 31) // 32 * 4
    end = _integer(head, 10, 4) + row * tf.abs(_signed(head, 22))
    return tf.cast(tf.minimum(end, tf.int32.max), tf.int32)


def of_webp(image_bytes: tf.Tensor) -> Header:
    """`header` of a WebP."""
    head = _padded(image_bytes, 30)
    form = tf.strings.substr(head, 12, 4)
    lossless = _integer(head, 21, 4)
    width, height = _integer(head, 26, 2) & 0x3FFF, _integer(head, 28, 2) & 0x3FFF
    width = tf.where(form == b"VP8L", 1 + (lossless & 0x3FFF), width)
    height = tf.where(form == b"VP8L", 1 + (tf.bitwise.right_shift(lossless, 14) & 0x3FFF), height)
    width = tf.where(form == b"VP8X", 1 + _integer(head, 24, 3), width)
    height = tf.where(form == b"VP8X", 1 + _integer(head, 27, 3), height)
    moves = (form == b"VP8X") & (_integer(head, 20, 1) & 2 > 0)
    refusal = tf.where(moves, _not_read("animated WebP"), "")
    length = tf.cast(tf.strings.length(image_bytes), tf.int64)
    refusal = tf.where(tf.maximum(_integer(head, 4, 4) + 8, 30) > length, CUT_SHORT, refusal)
    return _header(refusal, height, width)


def _of_exif(block: tf.Tensor) -> tf.Tensor:
    """The orientation in an EXIF block (a TIFF file without pixels), int32 scalar."""
    block = tf.strings.join([block, bytes(16)])
    is_little = tf.strings.substr(block, 0, 4) == b"II*\0"
    is_big = tf.strings.substr(block, 0, 4) == b"MM\0*"
    offset = tf.where(is_little, _integer(block, 4, 4), _integer(block, 4, 4, big=True))
    # The directory: a number of entries, then of each its tag, its type, a count of two shorts and a value of two.
    directory = _padded(_from(block, offset), 2 + 12 * _MOST_TAGS)
    little, big = (tf.io.decode_raw(directory, tf.uint16, little_endian=order) for order in (True, False))
    shorts = tf.cast(tf.where(is_little, little, big), tf.int32)
    tag, kind, _, _, high, low = tf.unstack(tf.reshape(shorts[1:], [_MOST_TAGS, 6]), axis=1)
    is_one = (tag == _ORIENTATION) & (tf.range(_MOST_TAGS) < shorts[0])
    value = tf.reduce_max(tf.where(is_one, tf.where((kind == _LONG) & is_big, low, high), 0))
    return tf.where((is_little | is_big) & (value >= 1) & (value <= 8), value, 1)


def _header(refusal: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> Header:
    return Header(tf.convert_to_tensor(refusal), tf.cast(height, tf.int64), tf.cast(width, tf.int64))


def _not_read(form: tf.Tensor | str) -> tf.Tensor:
    return tf.strings.join([form, IS_NOT_READ])


def _padded(image_bytes: tf.Tensor, size: int) -> tf.Tensor:
    """The first `size` bytes, zeros where there are fewer."""
    return tf.strings.substr(tf.strings.join([tf.strings.substr(image_bytes, 0, size), bytes(size)]), 0, size)


def _split(text: tf.Tensor, mark: tf.Tensor | bytes, most: int = -1) -> tf.Tensor:
    """The pieces of a string between the marks in it, the first `most` of them."""
    return tf.raw_ops.StringSplitV2(input=text[tf.newaxis], sep=mark, maxsplit=most).values


def _from(text: tf.Tensor, offset: tf.Tensor | int) -> tf.Tensor:
    """The bytes from an offset on; none where it lies outside."""
    length = tf.strings.length(text)
    offset = tf.cast(tf.clip_by_value(tf.cast(offset, tf.int64), 0, tf.cast(length, tf.int64)), tf.int32)
    return tf.strings.substr(text, offset, length - offset)


def _numbers(text: tf.Tensor, size: int | None = None) -> tf.Tensor:
    return tf.ensure_shape(tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32), [size])


def _integer(text: tf.Tensor, offset: int, size: int, big: bool = False) -> tf.Tensor:
    """Up to 7 bytes as an unsigned number, int64 scalar, the least significant first unless `big`."""
    digits, zeros = tf.strings.substr(text, offset, size), bytes(8 - size)
    whole = tf.strings.join([zeros, digits] if big else [digits, zeros])
    return tf.reshape(tf.io.decode_raw(whole, tf.int64, little_endian=not big), [])


def _signed(text: tf.Tensor, offset: int) -> tf.Tensor:
    value = _integer(text, offset, 4)
    return tf.where(value >= 1 << 31, value - (1 << 32), value)


def _is_one_of(value: tf.Tensor, values: tuple[int, ...]) -> tf.Tensor:
    return tf.reduce_any(value == tf.constant(values))
