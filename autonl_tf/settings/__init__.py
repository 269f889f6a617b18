"""Flags that several commands read, their checks, the files they name, and commands that are printed; no TensorFlow."""
