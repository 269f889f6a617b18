"""Images that set the ranges of an int8 network: a file that cannot be read is named, and nothing waits for ever."""

import os

import pytest

from autonl_tf.data.calibration import calibration_images, open_calibration
from autonl_tf.errors import UserError


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: os.symlink("nowhere.jpg", path), r"odd\.jpg cannot be read: No such file"),
        (os.mkfifo, r"odd\.jpg: not a regular file"),
    ],
    ids=["a link to nothing", "a pipe"],
)
def test_what_is_no_file_is_refused_by_name(make, said, tmp_path):
    make(tmp_path / "odd.jpg")
    paths = open_calibration(f"folder:{tmp_path}")
    with pytest.raises(UserError, match=rf"calibration image .*{said}"):
        calibration_images(paths, 4, image_size=32, crop_padding=32)
