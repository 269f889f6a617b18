"""Mixed precision: variables stay float32, layers compute in a shorter type.

LightNL is cubic in its input and overflows float16 (65504) where its input is but a few tens: its product, its
depthwise convolution and its batch norm are made with `wide_dtype`, and only what they add to the input, which batch
norm has scaled, is cast to the short type. Batch-norm statistics, logits and losses are float32 everywhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tf_keras as keras

from autonl_tf.flag_values import POLICIES


@contextlib.contextmanager
def precision_scope(precision: str) -> Iterator[None]:
    """Layers created within compute in `precision` (float32, bfloat16 or float16) and keep float32 variables."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(POLICIES[precision])
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def wide_dtype(policy: keras.mixed_precision.Policy | None = None) -> str:
    """The type for values that a short one would lose: that of the policy's variables, but at least float32."""
    dtype = (policy or keras.mixed_precision.global_policy()).variable_dtype
    return "float32" if dtype in ("float16", "bfloat16", None) else dtype
