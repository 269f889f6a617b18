"""A class folder of 20,000 files, 1% of them odd or broken: what stops, what is left out, and that nothing hangs.

Makes the files (names with blanks and Unicode, nine kinds of oddity in turn), then runs the command line on them, each
run with a time limit:

  default         names the first bad file and stops with code 2, nothing written
  --skip_corrupt  trains an epoch and evaluates; the counts per kind of fault must be those that were put in
  TFRecords       a flipped byte, a file cut short, a missing shard, a label out of range: each is named

Ends in one line of JSON with `as_expected`, and with code 1 where that is false.

    python benchmarks/bad_data.py [--files=20000] [--work=DIRECTORY] [--limit=1200]
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image
from support.main_py import main_py

CLASSES = ("Ameisen und Käfer", "bee", "猫 cat", "dog's breakfast")
ARCH = "r1_k3_s22_e1_i32_o8_noskip\nr1_k3_s22_e2_i8_o12_nonlocal0.25-2\n"
SIZE = 32
VALIDATION = 10  # one file in so many
BAD_ONE_IN = 100
LARGE_SIDE = 12_000

NOT_CORRUPT = "too small to leave a crop"
# Each oddity, and the fault it is counted as; None: the image is used. The one that is not corrupt is counted apart.
KINDS = {
    "truncated": "cut short",
    "zero byte": "empty",
    "png named JPEG": None,
    "html": "not an image of a known kind",
    "one pixel": NOT_CORRUPT,
    "12000 px": None,
    "exif rotated": None,
    "cmyk": None,
    "16 bit png": None,
}


def encoded(image: Image.Image, file_format: str = "JPEG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def odd_files(picture: Image.Image, large_side: int) -> dict[str, tuple[str, bytes]]:
    """Extension and content of one file of each kind."""
    whole = encoded(picture)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    deep = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257)
    return {
        "truncated": (".JPEG", whole[: len(whole) * 2 // 3]),
        "zero byte": (".JPEG", b""),
        "png named JPEG": (".JPEG", encoded(picture, "PNG")),
        "html": (".JPEG", b"<!DOCTYPE html><html><title>404 Not Found</title></html>\n"),
        "one pixel": (".png", encoded(Image.new("RGB", (1, 1)), "PNG")),
        "12000 px": (".jpg", encoded(picture.resize((large_side, large_side * 3 // 4)), quality=60)),
        "exif rotated": (".jpeg", encoded(picture, exif=exif)),
        "cmyk": (".JPG", encoded(picture.convert("CMYK"))),
        "16 bit png": (".png", encoded(deep, "PNG")),
    }


def write_files(root: pathlib.Path, count: int, large_side: int = LARGE_SIDE) -> dict[str, collections.Counter]:
    """Makes `count` files below train/ and val/; gives how many of which kind each split got ('good' among them)."""
    rng = np.random.default_rng(0)
    pictures = [
        Image.fromarray(rng.integers(0, 256, [6, 8, 3]).astype(np.uint8)).resize((120, 90), Image.Resampling.BILINEAR)
        for _ in range(64)
    ]
    good, odd = [encoded(picture) for picture in pictures], odd_files(pictures[0], large_side)
    folders = {(split, name): root / split / name for split in ("train", "val") for name in CLASSES}
    for folder in folders.values():
        folder.mkdir(parents=True)
    written = {"train": collections.Counter(), "val": collections.Counter()}
    kinds = list(KINDS)
    for number in range(count):
        kind, extension, data = "good", ".JPEG", good[number % len(good)]
        if number % BAD_ONE_IN == BAD_ONE_IN // 2:
            kind = kinds[number // BAD_ONE_IN % len(kinds)]
            extension, data = odd[kind]
        split = "val" if number // BAD_ONE_IN % VALIDATION == 0 else "train"
        folder = folders[split, CLASSES[number % 7 % len(CLASSES)]]
        (folder / f"bild ü {number:06d}{extension}").write_bytes(data)
        written[split][kind] += 1
    return written


def expected_counts(written: collections.Counter) -> dict[str, dict[str, int]]:
    """Fault -> count, of the kinds that cannot be used: of corrupt images, and of sound ones that are not read."""
    found = {fault: written[kind] for kind, fault in KINDS.items() if fault and written[kind]}
    return {
        "corrupt": {fault: count for fault, count in found.items() if fault != NOT_CORRUPT},
        "not_read": {fault: count for fault, count in found.items() if fault == NOT_CORRUPT},
    }


def first_bad(root: pathlib.Path, split: str = "train") -> str:
    """The first file in sorted order that cannot be used, told by its content."""
    for name in sorted(CLASSES):
        for path in sorted((root / split / name).iterdir()):
            data = path.read_bytes() if path.stat().st_size < 1 << 20 else b"\xff\xd8 a large one \xff\xd9"
            whole = data.endswith(b"\xff\xd9") or b"IEND" in data[-12:]
            if not whole or (data.startswith(b"\x89PNG") and data[16:24] == b"\0\0\0\1" * 2):
                return str(path)
    raise ValueError(f"{root}: no bad file")


def command(words: list[str], limit: float) -> dict:
    """Runs the command line: code (None: the limit has passed), error line, standard output, seconds."""
    try:
        done = main_py(*words, check=False, timeout=limit, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except subprocess.TimeoutExpired:
        return {"code": None, "error": "", "stdout": "", "seconds": limit}
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return {
        "code": done.code,
        "error": errors[0] if errors else "",
        "stdout": done.stdout,
        "seconds": round(done.seconds, 1),
    }


def try_folder(work: pathlib.Path, files: int, limit: float) -> dict:
    """The class folder: stopping, then skipping, then evaluation."""
    root = work / "pictures"
    written = write_files(root, files)
    print(f"made {files} files: {json.dumps(written)}", flush=True)
    (work / "arch.txt").write_text(ARCH, encoding="utf-8")
    fit = [f"--arch={work}/arch.txt", "--input_image_size=32", "--crop_padding=32"]  # by which one pixel is too small
    fit += ["--train_batch_size=64", "--train_epochs=1"]
    words = ["--mode=train", f"--dataset=folder:{root}", f"--model_dir={work}/run", *fit]
    stops = command(words, limit)
    stopped = stops["code"] == 2 and first_bad(root) in stops["error"] and not (work / "run").exists()
    print(f"default: code {stops['code']} after {stops['seconds']} s: {stops['error']}", flush=True)
    skips = command([*words, "--skip_corrupt"], limit)
    skipped = json.loads((work / "run" / "skipped.json").read_text(encoding="utf-8")) if skips["code"] == 0 else {}
    counts = {split: {group: found[group] for group in ("corrupt", "not_read")} for split, found in skipped.items()}
    wanted = {"train": expected_counts(written["train"]), "validation": expected_counts(written["val"])}
    print(f"--skip_corrupt: code {skips['code']} after {skips['seconds']} s: {counts} {skips['error']}", flush=True)
    words = ["--mode=eval", f"--dataset=folder:{root}", f"--model_dir={work}/run", "--skip_corrupt", "--json"]
    scored = command(words, limit)
    scores = json.loads(scored["stdout"]) if scored["code"] == 0 else {"count": None, "skipped": None}
    usable = sum(written["val"].values()) - sum(sum(group.values()) for group in wanted["validation"].values())
    return {
        "default_names_the_first": stopped,
        "default_seconds": stops["seconds"],
        "skip_corrupt_code": skips["code"],
        "skip_corrupt_seconds": skips["seconds"],
        "counts": counts,
        "counts_exact": counts == wanted,
        "evaluated": scores["count"],
        "evaluated_exact": scores["count"] == usable and scores["skipped"] == wanted["validation"],
    }


def write_records(root: pathlib.Path, labels: list[int]) -> list[pathlib.Path]:
    """Four shards a split, with an example of each label."""
    import tensorflow as tf

    root.mkdir(parents=True)
    image = encoded(Image.new("RGB", (60, 40), (200, 30, 90)))
    paths = []
    for split in ("train", "validation"):
        for shard in range(4):
            path = root / f"{split}-{shard:05d}-of-00004"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for label in labels:
                    features = {
                        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                    }
                    example = tf.train.Example(features=tf.train.Features(feature=features))
                    writer.write(example.SerializeToString())
            paths.append(path)
    return paths


def try_records(work: pathlib.Path, limit: float) -> dict[str, bool]:
    """Four faults of record sets: whether each is named, with --skip_corrupt too."""

    def flip_a_byte(path: pathlib.Path) -> None:
        data = bytearray(path.read_bytes())
        data[-40] ^= 0xFF  # within the last record's data
        path.write_bytes(data)

    culprit = "train-00002-of-00004"
    faults = {
        "flipped byte": (flip_a_byte, [1, 2, 3, 4], rf"corrupt TFRecord file .*{culprit}"),
        "cut short": (lambda path: os.truncate(path, path.stat().st_size - 9), [1, 2], rf"{culprit}: not a whole"),
        "missing shard": (lambda path: path.unlink(), [1, 2], rf"1 of 4 train shards missing, first {culprit}"),
        "label out of range": (lambda path: None, [1, 5], r"outside 1\.\.4.*-of-00004#1"),
    }
    (work / "labels.txt").write_text("ant\nbee\ncat\ndog\n", encoding="utf-8")
    named = {}
    for fault, (spoil, labels, pattern) in faults.items():
        root = work / "Aufnahmen ü" / fault
        paths = {path.name: path for path in write_records(root, labels)}
        spoil(paths[culprit])
        words = ["--mode=train", f"--dataset=imagenet_tfrecord:{root}", f"--label_file={work}/labels.txt"]
        words += [f"--arch={work}/arch.txt", f"--model_dir={work}/records", "--input_image_size=32"]
        done = command([*words, "--skip_corrupt"], limit)
        named[fault] = done["code"] == 2 and re.search(pattern, done["error"]) is not None
        print(f"{fault}: code {done['code']} after {done['seconds']} s: {done['error']}", flush=True)
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--work", help="where the files are made and kept; default: a temporary directory")
    parser.add_argument("--limit", type=float, default=1200.0, help="seconds one run may take")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(options.work or temporary).resolve()
        work.mkdir(parents=True, exist_ok=True)
        folder = try_folder(work, options.files, options.limit)
        records = try_records(work, options.limit)
    judged = [folder[name] for name in ("default_names_the_first", "counts_exact", "evaluated_exact")]
    as_expected = all(judged) and all(records.values())
    print(json.dumps({"files": options.files, **folder, "records_named": records, "as_expected": as_expected}))
    sys.exit(0 if as_expected else 1)


if __name__ == "__main__":
    main()
