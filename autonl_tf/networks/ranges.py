"""Ranges of activations from images: what int8 after training takes, and where quantization-aware training starts.

A tensor's range goes from a low quantile over images of an image's least value to a high one of its greatest. A network
with LightNL has a few images with far larger values than all others: to cover those would cost the others their
precision, and the usual moving average clips every second image; `benchmarks/int8_ranges.py` compares.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from autonl_tf.errors import UserError

COVERED = 0.95  # of the images, by every range


def covering(extremes: Mapping[str, np.ndarray], covered: float = COVERED) -> dict[str, tuple[float, float]]:
    """Name -> (low, high), the quantiles 1 - covered and covered of the least and greatest values of images.

    Args:
      extremes: of one or more tensors, name -> [N, 2], an image's least and greatest value a row; the same N images.
      covered: share of them that every range is to cover.

    Raises:
      UserError: of more images than need not be covered a value is not finite; the others are left out.
      ValueError: no images.
    """
    count = len(next(iter(extremes.values()), ()))
    if not count:
        raise ValueError("ranges need at least one calibration image")
    finite = np.all([np.isfinite(rows).all(axis=1) for rows in extremes.values()], axis=0)
    if finite.sum() < covered * count:
        raise UserError(
            f"on {count - finite.sum()} of {count} calibration images the network's values are not finite; "
            "no int8 ranges can be found"
        )
    return {
        name: (float(np.quantile(rows[finite, 0], 1 - covered)), float(np.quantile(rows[finite, 1], covered)))
        for name, rows in extremes.items()
    }


def addable(term: tuple[float, float], total: tuple[float, float]) -> tuple[float, float]:
    """The range of a term of a sum, at least 1/256 as wide as the sum's.

    The CPU delegate does not take an int8 addition with a term whose step is less than 1/1024 of the sum's: a LightNL
    that adds next to nothing, as a new one does. A coarser step there is still far below the sum's own.
    """
    low, high = term
    least = (total[1] - total[0]) / 256
    return (low - least / 2, high + least / 2) if high - low < least else term
