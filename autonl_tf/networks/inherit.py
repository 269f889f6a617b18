"""Shared weights and a network's own: out of a supernet into the network it decodes to, and the other way.

Either way nothing is computed: the supernet with the gates of a network is that network, to float rounding, and a
network's weights that went into a supernet come out of it as the same bits.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras

from autonl_tf.arch.spec import BlockSpec
from autonl_tf.layers.superkernel import ring_indicators
from autonl_tf.networks.network import build_network
from autonl_tf.networks.supernet import SuperBlock, Supernet
from autonl_tf.space.gate_kind import WeightSlice, batch_norm_slices

RING_SCALE = 0.1  # of the root mean square of a kernel's trained core: what a new ring around it begins with


def inherited_network(supernet: Supernet, gates: np.ndarray, *, image_size: int, num_classes: int) -> keras.Model:
    """Builds the decoded network and copies the shared weights into it, sliced to what each option uses.

    Args:
      gates: 0 or 1, [G].

    Returns:
      The network of `supernet.table.decode(gates)`; in inference it computes what `supernet(x, gates=gates)` does.
    """
    model = build_network(supernet.table.decode(gates), image_size=image_size, num_classes=num_classes)
    for layer, slices in _shared(supernet, gates, model):
        layer.set_weights([slice_.read() for slice_ in slices])
    return model


def take_over(supernet: Supernet, model: keras.Model, gates: np.ndarray) -> None:
    """Gives the supernet the weights of a network of its space, and starts its gates' values from them.

    Parts that the network lacks keep their initial weights, except where opening their gate would disturb the network:
    the outgoing weights of further channels are 0, and so is the last batch norm's gamma of a dropped block (LightNL's
    is 0 anyway), so that they come in as the identity and learn from there. A new ring of a kernel cannot be 0, since
    its gate compares its norm: it is a tenth of the core.

    Args:
      supernet: just built, its classes as many as the network's.
      model: of `supernet.table.decode(gates)`, with its weights.
      gates: 0 or 1, [G].
    """
    pairs = _shared(supernet, gates, model)
    members = _members(supernet, gates)
    for block, member in members:
        if isinstance(block, SuperBlock):
            follows = block.project_conv.kernel if member else block.project_bn.gamma
            follows.assign(tf.zeros_like(follows))
    for layer, slices in pairs:
        for slice_, values in zip(slices, layer.get_weights(), strict=True):
            slice_.write(values)
    for block, member in members:
        if isinstance(block, SuperBlock) and member:
            _scale_rings(block, member.kernels[0])
    supernet.start_at(gates)


def _members(supernet: Supernet, gates: np.ndarray) -> list[tuple[keras.layers.Layer, BlockSpec | None]]:
    """Each block of the supernet, and the network's, None where the gates drop it."""
    table = supernet.table
    members = [of.block(chosen) for of, chosen in zip(table.space.blocks, table.selections(gates), strict=True)]
    return list(zip(supernet.blocks, members, strict=True))


def _shared(
    supernet: Supernet, gates: np.ndarray, model: keras.Model
) -> list[tuple[keras.layers.Layer, list[WeightSlice]]]:
    """Every layer of the decoded network that has weights, and where in the supernet they are, in Keras' order."""
    slices = {
        name: _whole(getattr(supernet, name)) for name in ("stem_conv", "stem_bn", "head_conv", "head_bn", "logits")
    }
    kept = [(block, member) for block, member in _members(supernet, gates) if member]
    for index, (block, member) in enumerate(kept):
        if isinstance(block, SuperBlock):
            layers = _sliced(block, member)
        else:
            layers = {layer.name.partition("_")[2]: _whole(layer) for layer in block.layers}
        slices |= {f"block{index}_{name}": of for name, of in layers.items() if of}
    with_weights = {layer.name for layer in model.layers if layer.weights}
    if with_weights != slices.keys():
        raise RuntimeError(f"layers without a source or a use: {sorted(with_weights ^ slices.keys())}")
    return [(model.get_layer(name), of) for name, of in slices.items()]


def _whole(layer: keras.layers.Layer) -> list[WeightSlice]:
    return [WeightSlice(variable) for variable in layer.weights]


def _sliced(block: SuperBlock, member: BlockSpec) -> dict[str, list[WeightSlice]]:
    """Where the weights of one block's layers are, by layer name in the decoded network without the block's prefix."""
    kept, every = slice(member.expanded_filters), slice(None)
    border = (block.depthwise.kernel_sizes[-1] - member.kernels[0]) // 2
    taps = slice(border, border + member.kernels[0])
    slices = {
        "depthwise": [WeightSlice(block.depthwise.depthwise_kernel, (taps, taps, kept))],
        "depthwise_bn": batch_norm_slices(block.depthwise_bn, kept),
        "project_conv": [WeightSlice(block.project_conv.kernel, (every, every, kept))],
        "project_bn": batch_norm_slices(block.project_bn),
        **block.inserted_slices(member),
    }
    if block.expands:
        slices["expand_conv"] = [WeightSlice(block.expand_conv.kernel, (every, every, every, kept))]
        slices["expand_bn"] = batch_norm_slices(block.expand_bn, kept)
    return slices


def _scale_rings(block: SuperBlock, kernel_size: int) -> None:
    """The rings around a kernel of a member's size, as they were drawn, to a tenth of its root mean square."""
    kernel, sizes = block.depthwise.depthwise_kernel.numpy(), block.depthwise.kernel_sizes
    known = sizes.index(kernel_size) + 1
    if known == len(sizes):
        return
    rings = ring_indicators(sizes)
    core, new = (slice_.sum(0) > 0 for slice_ in (rings[:known], rings[known:]))
    deviation = [np.sqrt(np.mean(np.square(kernel[mask[..., 0, 0]]))) for mask in (core, new)]
    factor = RING_SCALE * deviation[0] / deviation[1]
    block.depthwise.depthwise_kernel.assign(np.where(new, factor * kernel, kernel))
