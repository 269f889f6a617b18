"""`--mode=predict`: classifies image files with a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autonl_tf.data import imagenet
from autonl_tf.files import in_place
from autonl_tf.plain_text import in_a_line, shown, write_table
from autonl_tf.prepare import checkpointed
from autonl_tf.settings.config import Config
from autonl_tf.settings.files import matching
from autonl_tf.streams import say
from autonl_tf.strict_json import json_line

BEST = 5


def run(config: Config) -> None:
    """Prints the five best labels of every image, or, where `--output` takes them, where they are. What
    `--skip_corrupt` leaves out is listed on standard error.

    With `--json` one object a line in any case: file, and labels with their probabilities.
    """
    files, out = matching(config.images), config.output
    network = checkpointed.load(config)
    names = [imagenet.titled(name) for name in network.class_names]
    files, batches = checkpointed.images_for(config, network, files)
    logits = np.concatenate(
        [network.model(images, training=False).numpy()[weights.numpy() > 0] for images, weights in batches]
    )
    if out:
        save(out, files, logits, names)
    for file, scores in zip(files, logits, strict=True):
        if not np.isfinite(scores).all():
            say(f"warning: the logits of {in_a_line(file)} are not finite")
    for file, best in zip(files, best_classes(logits, names), strict=True):
        if config.json:
            print(json_line({"file": file, "best": best}))
        elif not out:
            print(f"{in_a_line(file)}: " + ", ".join(f"{name} {score:.2%}" for name, score in best))
    if out and not config.json:
        print(f"written: {shown(out)}, {len(files)} images")


def best_classes(logits: np.ndarray, class_names: Sequence[str]) -> list[list[tuple[str, float]]]:
    """The best classes of each image with their probabilities, the best first, by logits [N, K]."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return [[(class_names[k], float(row[k])) for k in np.argsort(-row, kind="stable")[:BEST]] for row in probabilities]


def save(path: str, files: Sequence[str], logits: np.ndarray, class_names: Sequence[str]) -> None:
    """Writes an archive of `files` [N] and `logits` float32 [N, K]; or a table, a row an image: file, the best classes
    with their probabilities."""
    with in_place(path) as aside:
        if path.endswith(".csv"):
            # File names that are no text come out as the bytes they are.
            with open(aside, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                write_table(file, rows(files, logits, class_names))
        else:
            with open(aside, "wb") as file:
                np.savez(file, files=np.array(files), logits=logits.astype(np.float32))


def rows(files: Sequence[str], logits: np.ndarray, class_names: Sequence[str]) -> list[list]:
    """A heading, and for each image its file and the best classes, each followed by its probability."""
    table = [["file"]]
    for rank in range(1, min(BEST, len(class_names)) + 1):
        table[0] += [f"class {rank}", f"probability {rank}"]
    for file, best in zip(files, best_classes(logits, class_names), strict=True):
        table.append([file, *(cell for name, probability in best for cell in (name, f"{probability:.6f}"))])
    return table
