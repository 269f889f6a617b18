"""The network a supernet decodes to, with the supernet's own weights: exactly the supernet with those gates."""

from __future__ import annotations

import numpy as np
import tf_keras as keras

from autonl_tf.arch.spec import BlockSpec, NetworkSpec
from autonl_tf.networks.network import build_network
from autonl_tf.networks.supernet import SuperBlock, Supernet
from autonl_tf.space.kind import batch_norm_weights


def inherited_network(supernet: Supernet, gates: np.ndarray, *, image_size: int, num_classes: int) -> keras.Model:
    """Builds the decoded network and copies the shared weights into it, sliced to what each choice uses.

    Args:
      supernet: where the weights come from.
      gates: 0 or 1, [G].
      image_size, num_classes: as the supernet's.

    Returns:
      The network of `supernet.table.decode(gates)`; in inference it computes what `supernet(x, gates=gates)` does.
    """
    table = supernet.table
    spec = table.decode(gates)
    model = build_network(spec, image_size=image_size, num_classes=num_classes)
    weights = {
        name: getattr(supernet, name).get_weights()
        for name in ("stem_conv", "stem_bn", "head_conv", "head_bn", "logits")
    }
    index = 0
    for block, space_block, choice in zip(supernet.blocks, table.space.blocks, table.choices(gates), strict=True):
        member = space_block.block(choice)
        if member is None:
            continue
        if isinstance(block, SuperBlock):
            layers = _sliced(block, member)
        else:
            layers = {layer.name.partition("_")[2]: layer.get_weights() for layer in block.layers}
        weights |= {f"block{index}_{name}": values for name, values in layers.items() if values}
        index += 1
    _assign(model, weights, spec)
    return model


def _assign(model: keras.Model, weights: dict[str, list[np.ndarray]], spec: NetworkSpec) -> None:
    with_weights = {layer.name for layer in model.layers if layer.weights}
    if with_weights != weights.keys():
        raise RuntimeError(f"{spec.source}: layers without a source or a use: {sorted(with_weights ^ weights.keys())}")
    for name, values in weights.items():
        model.get_layer(name).set_weights(values)


def _sliced(block: SuperBlock, member: BlockSpec) -> dict[str, list[np.ndarray]]:
    """Weights of one block's layers in the decoded network, by layer name without the block's prefix."""
    kept = slice(member.expanded_filters)
    border = (block.depthwise.kernel_sizes[-1] - member.kernels[0]) // 2
    taps = slice(border, border + member.kernels[0])
    return {
        "expand_conv": [block.expand_conv.kernel.numpy()[..., kept]],
        "expand_bn": batch_norm_weights(block.expand_bn, kept),
        "depthwise": [block.depthwise.depthwise_kernel.numpy()[taps, taps, kept]],
        "depthwise_bn": batch_norm_weights(block.depthwise_bn, kept),
        "project_conv": [block.project_conv.kernel.numpy()[:, :, kept]],
        "project_bn": batch_norm_weights(block.project_bn),
        **block.inserted_weights(member),
    }
