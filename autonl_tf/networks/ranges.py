"""Ranges of activations from images: what int8 after training takes, and where quantization-aware training starts.

A tensor's range goes from a low quantile over images of an image's least value to a high one of its greatest. How many
images it should cover differs from tensor to tensor: a network with LightNL has a few images with far larger values
than all others, and to cover those costs the others their precision; elsewhere every value counts. A tensor therefore
takes that of a few shares whose int8 values are nearest to its own, image by image. `benchmarks/int8_ranges.py`
compares this with one share for all tensors.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from autonl_tf.errors import UserError

_FINITE = 0.95  # of the images, at least
SHARES = (1.0, 0.99, 0.97, 0.95, 0.9, 0.8, 0.65, 0.5)  # of the images, by the ranges a tensor may take
_STEPS = 255
_SAMPLE = 4096  # values of a tensor an image, by which ranges are compared
_TINY = 1e-30


def finite_images(extremes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which images have finite values alone, bool [N]: ranges are of those.

    Args:
      extremes: of one or more tensors, name -> [N, 2], an image's least and greatest value a row; the same N images.

    Raises:
      UserError: less than 95% have.
      ValueError: no images.
    """
    count = len(next(iter(extremes.values()), ()))
    if not count:
        raise ValueError("ranges need at least one calibration image")
    finite = np.all([np.isfinite(rows).all(axis=1) for rows in extremes.values()], axis=0)
    if finite.sum() < _FINITE * count:
        raise UserError(
            f"on {count - finite.sum()} of {count} calibration images the network's values are not finite; "
            "no int8 ranges can be found"
        )
    return finite


class ClosestRanges:
    """Chooses the range of each tensor by the error that int8 makes in it.

    With q_s(x) the int8 value of x by the range that covers a share s of the images, whose ends are the quantiles 1 - s
    and s of the images' least and greatest values, a tensor takes the s with the least

        e(s) = mean over images of sqrt(sum (q_s(x) - x)^2 / sum x^2),

    the sums over at most 4096 of an image's values, the same of every image. An image counts by its relative error, so
    that one with far larger values counts no more than another; of equal errors the wider range is taken. A tensor
    whose range is to be symmetric is compared like the others.

    Args:
      extremes: name -> [N, 2] as of `finite_images`, finite.
      shares: those to choose from, the widest first.
    """

    def __init__(self, extremes: Mapping[str, np.ndarray], shares: Sequence[float] = SHARES):
        high = np.array(shares)
        self._ends = {
            name: np.stack([np.quantile(rows[:, 0], 1 - high), np.quantile(rows[:, 1], high)], axis=1)
            for name, rows in extremes.items()
        }
        self._errors = {name: np.zeros(len(high)) for name in self._ends}

    def see(self, name: str, values: np.ndarray) -> None:
        """Notes the errors in a tensor's values on some images, [B, ...]; every image is to be seen once."""
        rows = values.reshape(len(values), -1)
        rows = rows[:, _positions(rows.shape[1])].astype(np.float64)  # whose squares are finite
        power = np.maximum(np.square(rows).sum(axis=1), _TINY)
        for number, (low, high) in enumerate(self._ends[name]):
            lost = np.square(_as_int8(rows, low, high) - rows).sum(axis=1)
            self._errors[name][number] += np.sqrt(lost / power).sum()

    def chosen(self) -> dict[str, tuple[float, float]]:
        """Name -> (low, high)."""
        best = {name: ends[self._errors[name].argmin()] for name, ends in self._ends.items()}
        return {name: (float(low), float(high)) for name, (low, high) in best.items()}


@functools.lru_cache
def _positions(size: int) -> np.ndarray:
    """The values of an image that are compared: at random, since a regular step could meet few channels."""
    if size <= _SAMPLE:
        return np.arange(size)
    return np.random.default_rng(0).choice(size, _SAMPLE, replace=False)


def _as_int8(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """The values as int8 by a range, which always includes 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = max((high - low) / _STEPS, _TINY)
    zero = np.round(-low / step)
    return (np.clip(np.round(values / step) + zero, 0, _STEPS) - zero) * step


def addable(term: tuple[float, float], total: tuple[float, float]) -> tuple[float, float]:
    """The range of a term of a sum, at least 1/256 as wide as the sum's.

    The CPU delegate does not take an int8 addition with a term whose step is less than 1/1024 of the sum's: a LightNL
    that adds next to nothing, as a new one does. A coarser step there is still far below the sum's own.
    """
    low, high = term
    least = (total[1] - total[0]) / 256
    return (low - least / 2, high + least / 2) if high - low < least else term
