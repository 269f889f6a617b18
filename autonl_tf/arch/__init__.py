"""Architectures as data: block strings, the shipped networks, MACs and parameters. No TensorFlow."""
