"""Search spaces: what may be chosen in each block, what every choice costs. No TensorFlow until a supernet is built."""
