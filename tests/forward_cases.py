"""Our network against the NumPy forward pass, block by block, its weights loaded from an official checkpoint."""

import math

import tf_keras as keras
from golden_data import VALUES, relative_l2
from numpy_forward import Forward, Weights, read_block
from official_checkpoints import with_the_rest, write_checkpoint

from autonl_tf.arch import blockstring
from autonl_tf.checkpoint.opening import open_checkpoint
from autonl_tf.checkpoint.tf1 import AVERAGE_SUFFIX
from autonl_tf.networks.network import build_network


def size_for(lines):
    """So many pixels that the last feature map has four a side: batch norm's statistics are taken from the batch, and
    those of a single pixel would magnify rounding, in float32 NumPy just as well, through every LightNL that follows.
    """
    return max(64, 8 * math.prod(read_block(line)["s"] for line in lines))


def compare(lines, tmp_path, *, size, classes, batch=2, multiplier=None):
    """Relative L2 of every block's output and, last, of the logits; the weights go through an official checkpoint."""
    images = VALUES.inputs(1, batch, size)
    weights = Weights(VALUES.value, AVERAGE_SUFFIX)
    expected = Forward(lines, images, classes, weights, multiplier)
    prefix = write_checkpoint(tmp_path / "bestmodel.ckpt", with_the_rest(weights.values))
    spec = blockstring.parse("\n".join(lines))
    model = build_network(spec, image_size=size, num_classes=classes, depth_multiplier=multiplier or 1.0)
    open_checkpoint(str(prefix), spec, depth_multiplier=multiplier).load_into(model)
    ends = [last_layer(model, f"block{index}_") for index in range(len(expected.blocks))]
    *blocks, logits = keras.Model(model.input, [*ends, model.output])(images)
    errors = [relative_l2(x, wanted) for x, wanted in zip(blocks, expected.blocks, strict=True)]
    return [*errors, relative_l2(logits, expected.logits)], weights.values


def last_layer(model, prefix):
    return [layer.output for layer in model.layers if layer.name.startswith(prefix)][-1]
