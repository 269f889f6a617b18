"""Which architectures can be trained with simulated int8: those whose layers have an int8 form."""

from __future__ import annotations

from autonl_tf.arch.spec import NetworkSpec
from autonl_tf.errors import UserError


def check_quantizable(spec: NetworkSpec) -> None:
    """Raises UserError for an architecture with layers that `networks.quantized` cannot take, naming them."""
    blocks = spec.blocks
    found = [
        kind
        for kind, there in (
            ("HardSwish (hswish)", "hswish" in {spec.activation, *(block.activation for block in blocks)}),
            ("ChannelShuffle (shuffle=on)", any(block.shuffle_groups > 1 for block in blocks)),
            ("ZeroPadding2D (padding=symmetric)", spec.padding == "symmetric"),
            ("EmbeddedProduct (embedded)", any(block.embedded is not None for block in blocks)),
            ("MaxPooling2D (embedded's stride)", any(block.embedded and block.embedded.stride > 1 for block in blocks)),
        )
        if there
    ]
    if found:
        raise UserError(
            f"{spec.source}: quantization-aware training has no int8 form of {', '.join(found)}; accepted: swish, "
            "relu, relu6, squeeze-excite, LightNL, grouped convolutions, padding=same"
        )
