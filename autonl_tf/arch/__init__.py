"""Architectures as data: block strings, the shipped networks, search spaces, MACs and parameters. No TensorFlow."""
