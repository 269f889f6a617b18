"""The order of axes, which is one everywhere: images and feature maps are [B, H, W, C]."""

from __future__ import annotations

NO_CHANNELS_FIRST = "TensorFlow on processors and TFLite have no convolutions of channels that come first"


def check_channels_last(what: str, data_format: str | None) -> None:
    """Raises ValueError for any order but Keras' "channels_last", which None stands for too."""
    if data_format not in (None, "channels_last"):
        raise ValueError(f"{what}: data_format={data_format!r}: accepted: 'channels_last'; {NO_CHANNELS_FIRST}")
