"""Bounds that flags, files and networks share, as (least, most)."""

IMAGE_SIZE = (8, 4096)  # pixels
CROP_PADDING = (0, 4096)  # pixels
CLASSES = (2, 1_000_000)
DEPTH_MULTIPLIER = (0.05, 20.0)
BATCH = (1, 65_536)  # images over all replicas
STEPS = (1, 1_000_000_000)
EPOCHS = (0.001, 100_000.0)

MOST_PARAMETERS = 1_000_000_000  # of a network: 4 GB of weights, in training several times that
MOST_BATCH_PIXELS = 1 << 32  # of a batch over all replicas: 65,536 images of 256 px
MOST_CALIBRATION_PIXELS = 1 << 28  # of int8's images, held at once: 5,000 images of 224 px
