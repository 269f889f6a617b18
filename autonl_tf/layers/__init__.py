"""Keras layers: tensors in, tensors out; no files, no flags, no cost."""
