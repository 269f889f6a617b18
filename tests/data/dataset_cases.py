"""What the tests of data sets share."""

from __future__ import annotations

import tensorflow as tf


def listing(dataset, split):
    """[(file name within the set, label)] of a split in natural order."""
    rows = [(e["name"].numpy().decode(), int(e["label"])) for e in dataset.examples(split)]
    return [("/".join(name.split("/")[-2:]), label) for name, label in rows]


def numbered(record, name):
    """An example of a record that holds its label."""
    return {"image": record, "label": tf.strings.to_number(record, tf.int32), "name": name}


def two_classes(*extra, count=20):
    files = {f"{c}/{i}.jpg": None for c in ("ant", "bee") for i in range(count)}
    return files | dict.fromkeys(extra)


def write_labels(tmp_path, text: str | bytes) -> str:
    path = tmp_path / "labels.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)
