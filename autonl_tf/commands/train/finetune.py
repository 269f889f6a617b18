"""Fine-tuning: what of a network moves, how fast, and what its classes count."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable

import numpy as np
import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch.parts import BATCH_NORM, NON_LOCAL, PREFIXES, blocks_of, named
from autonl_tf.checkpoint.blocks import Block, block_of, told
from autonl_tf.commands.train.flags import lr_multipliers, weights_by_class
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.data.folder import Listing
from autonl_tf.engine.batch_norm import unique
from autonl_tf.errors import UserError

UNEQUAL = 10  # times as many images: a network that is trained on all alike hardly ever names the smaller class


def layers_of(model: keras.Model, part: str, where: str) -> list[keras.layers.Layer]:
    """The layers of one part (see `arch.parts`) of a network of `network.build_network`. Raises UserError, which names
    the flag `where`, for a part or a block that the network has not."""
    block_of = {layer.name: int(m[1]) for layer in model.layers if (m := re.match(r"block(\d+)_", layer.name))}
    numbers = blocks_of(part, max(block_of.values()) + 1, where)
    non_local = [layer for layer in model.layers if any(piece in layer.name for piece in NON_LOCAL)]
    if part == "nonlocal":
        return non_local
    if part == "batch_norm":
        return [layer for layer in model.layers if layer.name.endswith(BATCH_NORM) and layer not in non_local]
    if numbers is None:
        return [layer for layer in model.layers if layer.name.startswith(PREFIXES[part])]
    return [layer for layer in model.layers if block_of.get(layer.name) in numbers]


def freeze(model: keras.Model, text: str | None, added: Collection[Block] = ()) -> list[str]:
    """Freezes the parts of `--freeze`; gives the lines to tell. Call it before optimizers see the model.

    Non-local blocks that were `added` to trained weights are trained in any case: frozen, they would stay the identity.
    """
    parts = named(text)
    if not parts:
        return []
    whole, kept = _size(model.trainable_variables), set()
    for part in parts:
        for layer in layers_of(model, part, f"--freeze={text}"):
            block = block_of(layer.name)
            layer.trainable = block in added
            kept |= {block} & set(added)
    but = f" without {told(kept)}, new and trained" if kept else ""
    return [f"frozen: {text}{but}; {_size(model.trainable_variables):,} of {whole:,} parameters are trained"]


def _size(variables: Iterable[tf.Variable]) -> int:
    return sum(v.shape.num_elements() for v in variables)


def groups(model: keras.Model, text: str | None, make_optimizer: Callable[[float], object]) -> list[tuple]:
    """The pairs (optimizer, variables) of `--lr_multipliers`, one a factor; factor 1 for what it does not name."""
    if not text:
        return [(make_optimizer(1.0), model.trainable_variables)]
    factors: dict[str, float] = {}
    for part, factor in lr_multipliers(text):
        layers = layers_of(model, part, f"--lr_multipliers={text}")
        factors |= {layer.name: factor for layer in layers}
    by_factor: dict[float, list[tf.Variable]] = {}
    for layer in model.layers:
        if layer.trainable_variables:
            by_factor.setdefault(factors.get(layer.name, 1.0), []).extend(layer.trainable_variables)
    return [(make_optimizer(factor), unique(variables)) for factor, variables in sorted(by_factor.items())]


def unequal(listing: Listing) -> str | None:
    """What to tell of a class folder whose largest class has ten times the training images of the smallest, or more."""
    counts = Counter(file.label for file in listing.splits["train"]).most_common()
    (most, largest), (least, smallest) = counts[0], counts[-1]
    if largest < UNEQUAL * smallest:
        return None
    names = listing.class_names
    return (
        f"classes have {smallest} ({names[least]}) to {largest} ({names[most]}) images to train on; "
        "--class_weights=balanced would count every class the same"
    )


def class_weights(text: str | None, dataset: ImageDataset) -> np.ndarray | None:
    """The weights of `--class_weights`, [K] float32 with mean 1 over the training images; None without.

    Raises:
      UserError: as `weights_by_class`; for `balanced`, a class without training images.
    """
    if not text:
        return None
    counts = np.zeros(dataset.num_classes)
    for example in dataset.examples("train").map(lambda example: example["label"]).batch(1024):
        counts += np.bincount(example.numpy(), minlength=dataset.num_classes)
    if text == "balanced":
        if not counts.all():
            empty = dataset.class_names[int(np.argmin(counts))]
            raise UserError(f"--class_weights=balanced: class {empty!r} has no training image")
        weights = 1 / counts
    else:
        weights = np.array(weights_by_class(text, dataset.class_names))
    return (weights * counts.sum() / (weights @ counts)).astype(np.float32)
