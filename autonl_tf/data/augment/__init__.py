"""AutoAugment and RandAugment: their operations on images, and their policies."""
