"""Layers of networks and supernets. To import one registers all with tf_keras, whose files of networks need them."""

# These import the others.
from autonl_tf.layers import dropout, embedded_nl, gated, superkernel

__all__ = ["dropout", "embedded_nl", "gated", "superkernel"]
