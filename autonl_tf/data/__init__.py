"""Data sets by name, image decoding and preprocessing, and batches of tensors."""
