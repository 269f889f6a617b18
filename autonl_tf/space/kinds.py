"""The kinds of gates a search has, in the order of a block's gates."""

from __future__ import annotations

from autonl_tf.space.gate_kind import Kind
from autonl_tf.space.kernel_expansion import Expansion, Kernel
from autonl_tf.space.light_nl import LightNL
from autonl_tf.space.squeeze_excite import SqueezeExcite

KINDS: tuple[Kind, ...] = (Kernel(), Expansion(), SqueezeExcite(), LightNL())
