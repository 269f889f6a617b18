"""Networks: an architecture to a Keras model, a space to a supernet, gates to an architecture and to its cost."""
