"""Bounds that flags, files and networks share, as (least, most)."""

IMAGE_SIZE = (8, 4096)  # pixels
CROP_PADDING = (0, 4096)  # pixels
CLASSES = (2, 1_000_000)
DEPTH_MULTIPLIER = (0.05, 20.0)
STEPS = (1, 1 << 40)
