"""Checkpoints under the official names: the release's own small one, and others that tests make up."""

import hashlib
import shutil

import numpy as np
import tensorflow as tf
from golden_data import TESTDATA, VALUES

from autonl_tf.checkpoint.location import location_of
from autonl_tf.checkpoint.ours import first_readable
from autonl_tf.checkpoint.tf1 import AVERAGE_SUFFIX, SLOT_SUFFIXES

TINY_STEP = 12345
TINY_CLASSES, TINY_SIZE = 10, 64
_TINY = TESTDATA / "tiny_checkpoint"
# The data file that TensorFlow 1.14 wrote is too large to keep: its bytes are made again.
_TINY_SHA256 = "08d52127c2b32a6fc44810c81dfafabf0be4d8003edcb52bc8575a9d1d6ceb32"


def checkpoint_at(path):
    """The prefix that a path of TensorFlow's checkpoints means."""
    return first_readable(location_of(str(path)).prefixes)


def statistics_of(path):
    """Batch-norm statistics by official name."""
    with np.load(path) as stored:
        return {key.replace("|", "/"): stored[key] for key in stored.files}


def tiny_checkpoint(directory):
    """The prefix of tiny's checkpoint, byte for byte as TensorFlow 1.14 wrote it, made in `directory`.

    The index is the original, with every tensor's place and checksum; the data file holds the tensors in the order of
    their names, which are all known.
    """
    prefix = directory / "bestmodel.ckpt"
    index, data = (prefix.with_name(prefix.name + end) for end in (".index", ".data-00000-of-00001"))
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_TINY / "bestmodel.ckpt.index", index)
    shutil.copyfile(TESTDATA / "tiny.arch.txt", directory / "arch.txt")
    statistics = statistics_of(TESTDATA / "forward" / "tiny_moving_statistics.npz")
    statistics |= statistics_of(_TINY / "plain_moving_statistics.npz")
    shapes = tf.train.load_checkpoint(str(prefix)).get_variable_to_shape_map()
    values = {"global_step": np.int64(TINY_STEP), **statistics}
    content = b"".join(values.get(name, VALUES.value(name, shapes[name])).tobytes() for name in sorted(shapes))
    assert hashlib.sha256(content).hexdigest() == _TINY_SHA256
    data.write_bytes(content)
    return prefix


def write_checkpoint(prefix, values, step=7):
    """Writes {name: array} as TensorFlow 1's saver does, with `global_step` unless that is None."""
    values = dict(values) if step is None else {**values, "global_step": np.int64(step)}
    prefix.parent.mkdir(parents=True, exist_ok=True)
    names = list(values)
    tensors = [tf.constant(values[name]) for name in names]
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
    return prefix


def with_the_rest(averages):
    """Averages (official name + suffix -> array), and what a training's checkpoint holds beside them."""
    values = dict(averages)
    for key, average in averages.items():
        name = key.removesuffix(AVERAGE_SUFFIX)
        values[name] = VALUES.value(name, average.shape)
        if "/moving_" not in name:
            values |= {name + slot: np.ones_like(average) for slot in SLOT_SUFFIXES}
    return values
