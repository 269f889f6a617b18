"""Puts this directory on the path, so that tests share `golden_data`."""
