"""A network trained with simulated int8 (`networks.quantized`) as the int8 file that was simulated.

The converter takes weights and ranges as they were trained. Two things are done for it: LightNL's products, which it
would make int8 in a form that the CPU delegate does not take, are given to it in float32 and made int8 after it, by
their trained ranges (`int8_products`); and its int8 softmax becomes float32 (`rewrite.float_softmax`).
"""

from __future__ import annotations

from pathlib import Path

import tf_keras as keras

from autonl_tf.arch.spec import Normalization
from autonl_tf.export import int8_products, rewrite, tflite
from autonl_tf.networks.quantized import nothing_too_small, products_left_float


def convert_qat(
    model: keras.Model,
    path: str | Path,
    *,
    image_size: int,
    normalization: Normalization,
) -> None:
    """Writes the file; its input stays float32.

    Args:
      model: of `networks.quantized.quantized_network`, its ranges known.
      image_size: S.
      normalization: what the model's images were normalised by.

    Raises:
      ValueError: S is not the model's.
    """
    with products_left_float(model) as ranges, nothing_too_small(model):
        tflite.convert_simulated(model, path, image_size=image_size, normalization=normalization)
    rewrite.float_softmax(path)
    int8_products.quantize_products(path, int8_products.trained(ranges))
