"""Sizes, classes and crops of a run: those of the flags, else those of the data set or the checkpoint."""

from __future__ import annotations

from autonl_tf.checkpoint.checkpoint import Checkpoint
from autonl_tf.data import images
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.settings import agreement
from autonl_tf.settings.config import Config
from autonl_tf.settings.shared import check_batches_fit

# Crops where no flag gives them: as published, for images of this side and more. Smaller ones lose too much by them.
CROPPED_SIDE, MIN_CROP_AREA = 128, 0.08
SMALL_CROP_PADDING, SMALL_MIN_CROP_AREA = 0, 0.5


def resolved(config: Config, dataset: ImageDataset, start: Checkpoint | None = None) -> Config:
    """The config with sizes, classes and crops filled in, which depend on the dataset or a starting checkpoint; what
    depends on the number of images is filled in by `defaults.completed`.
    """
    config = config.replaced(
        input_image_size=agreement.image_size(config, dataset, start),
        num_label_classes=dataset.num_classes,
        depth_multiplier=config.depth_multiplier or (start.depth_multiplier if start else 1.0),
    )
    small = config.input_image_size < CROPPED_SIDE
    padding, area = (SMALL_CROP_PADDING, SMALL_MIN_CROP_AREA) if small else (images.CROP_PADDING, MIN_CROP_AREA)
    if start and start.image_size == config.input_image_size:
        padding = start.crop_padding
    check_batches_fit(config, config.input_image_size)
    return config.replaced(
        crop_padding=padding if config.crop_padding is None else config.crop_padding,
        min_crop_area=area if config.min_crop_area is None else config.min_crop_area,
    )
