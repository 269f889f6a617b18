"""The images that set int8's ranges: of an export after training, and of what `--qat` starts from."""

from __future__ import annotations

import contextlib

import numpy as np

from autonl_tf import limits
from autonl_tf.data.calibration import calibration_images, open_calibration
from autonl_tf.data.datasets import ImageDataset
from autonl_tf.prepare import inputs
from autonl_tf.settings import agreement
from autonl_tf.settings.config import Config
from autonl_tf.settings.shared import check_pixels
from autonl_tf.streams import say


def images_for_ranges(config: Config, dataset: ImageDataset | None, size: int, padding: int) -> np.ndarray:
    """Those of `--calibration_dataset`, else training images of the dataset: float32 [N, S, S, 3], scale of 0 to 255.

    Raises:
      UserError: the dataset has no training images and no other is given; an image cannot be read or decoded.
    """
    check_pixels(config.calibration_images, size, "calibration_images", limits.MOST_CALIBRATION_PIXELS)
    name, skip, reading = config.calibration_dataset, config.skip_corrupt, inputs.reading_of(config)
    trained = agreement.ranges_from_training(config, dataset)
    # Only the images taken are read of a folder.
    source = dataset.files("train") or dataset if trained else open_calibration(name, config.data_dir, skip, reading)
    of_records = isinstance(source, ImageDataset)
    with inputs.naming_corrupt(source, "train") if of_records else contextlib.nullcontext():
        found = calibration_images(
            source,
            config.calibration_images,
            image_size=size,
            crop_padding=padding,
            skip_corrupt=skip,
            reading=reading,
        )
    say(f"int8: ranges from {len(found)} images of {name or config.dataset}")
    return found
